"""The writer between a store and a real HTTP server: each fault of the contract, and a crash at every step."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.clock import Clock
from fhir_adapters.client.errors import ErrorKind, FhirServerError
from serve.errors import StoreUnavailableError
from serve.outbox import letters
from serve.outbox.breaker import Breaker
from serve.outbox.verdicts import delay_s, judge
from serve.outbox.work import After
from serve.store import standing
from serve.store.core import Store
from tests.ehr.server import TestEhr
from tests.serve.outbox.rig import LocalStore, Rig, client_of, scored

TYPE = "RiskAssessment"


def identifiers(ehr: TestEhr, resource_type: str = TYPE) -> list[str]:
    return [each["identifier"][0]["value"] for each in ehr.resources(resource_type)]


def wanted(*documents: str, tasks: int = 2) -> list[str]:
    return sorted(str(p.identifier) for d in documents for p in scored(d, tasks=tasks).predictions)


@pytest.mark.parametrize(
    ("sink", "resource_type", "count"),
    [("risk-assessment", TYPE, 5), ("observation", "Observation", 5), ("document-report", "DocumentReference", 1)],
)
def test_every_sink_writes_and_withdraws(
    open_outbox: Callable[..., Store], sqlite_url: str, ehr: TestEhr, sink: str, resource_type: str, count: int
) -> None:
    rig = Rig(open_outbox(sqlite_url, sink), ehr.url)
    rig.store.commit([scored("a", tasks=5)])
    rig.write_all()
    assert [each["status"] for each in ehr.resources(resource_type)] == (
        ["current"] if sink == "document-report" else ["final"]
    ) * count
    rig.store.write(standing.retract, "test", "DocumentReference/a", "Patient/1")
    rig.write_all()
    assert [each["status"] for each in ehr.resources(resource_type)] == ["entered-in-error"] * count
    assert len(rig.audits()) == 2 * count
    assert {code for _, code in rig.ends} == {"created", "changed"}


def test_an_amended_note_cancels_the_old_scores_and_a_resend_writes_nothing(rig: Rig, ehr: TestEhr) -> None:
    rig.store.commit([scored("a")])
    rig.store.commit([scored("b", replaces=("DocumentReference/a",))])
    rig.write_all()
    by_status = {each["identifier"][0]["value"]: each["status"] for each in ehr.resources(TYPE)}
    assert by_status == dict.fromkeys(wanted("a"), "cancelled") | dict.fromkeys(wanted("b"), "final")
    versions = len(ehr.requests("POST"))
    rig.store.commit([scored("a"), scored("b")])
    rig.write_all()
    assert len(ehr.requests("POST")) == versions


@pytest.mark.parametrize("mode", ["conditional-create", "update-as-create"])
@pytest.mark.parametrize(
    "fault",
    [
        lambda faults, method: faults.drop_after(3, method=method),
        lambda faults, method: faults.drop_before(3, method=method),
        lambda faults, method: faults.truncate(2, method=method),
        lambda faults, method: faults.status(500, 3, method=method, code="exception"),
        lambda faults, method: faults.status(503, 3, method=method),
        lambda faults, method: faults.status(504, 2, method=method),
        lambda faults, method: faults.status(429, 2, method=method, retry_after_s=0.05),
        lambda faults, method: faults.status(409, 2, method=method, code="conflict"),
        lambda faults, method: faults.status(401, 1, method=method, code="login"),
        lambda faults, method: faults.delay(0.05, 3, method=method),
        lambda faults, method: faults.body(b"<html>busy</html>", 2, content_type="text/html"),
    ],
    ids=["drop-after", "drop-before", "truncate", "500", "503", "504", "429", "409", "401", "slow", "html"],
)  # fmt: skip
def test_after_any_passing_fault_there_is_one_resource_each(rig: Rig, ehr: TestEhr, fault: Any, mode: Any) -> None:
    fault(ehr.faults, "POST" if mode == "conditional-create" else "PUT")
    rig.store.commit([scored("a", tasks=4)])
    rig.write_all(mode=mode)
    assert sorted(identifiers(ehr)) == wanted("a", tasks=4)
    assert set(rig.statuses()) == {"done"}


def test_a_server_that_answers_too_late_has_done_it_once(rig: Rig, ehr: TestEhr) -> None:
    ehr.faults.drip(0.05, method="POST", path=TYPE)
    ehr.behaviour.bodies = "always"
    ehr.behaviour.location = "none"
    rig.store.commit([scored("a", tasks=1)])
    rig.write_all(client=client_of(ehr.url, total_s=0.3))
    assert identifiers(ehr) == wanted("a", tasks=1)


def test_a_refusal_is_a_dead_letter_at_once_and_holds_up_nobody(rig: Rig, ehr: TestEhr) -> None:
    ehr.faults.status(422, method="POST", code="business-rule")
    rig.store.commit([scored("a", tasks=3)])
    rig.write_all(concurrency=1)
    assert sorted(rig.statuses()) == ["dead", "done", "done"]
    (dead,) = rig.store.read(letters.letters, ["dead"], 10)
    assert (dead.error, dead.attempts) == ("rejected/422/business-rule", 1)
    assert rig.store.write(letters.replay, None) == [dead.id]
    rig.write_all()
    assert sorted(identifiers(ehr)) == wanted("a", tasks=3)


def test_eight_failures_of_a_row_are_a_dead_letter(rig: Rig, ehr: TestEhr) -> None:
    ehr.faults.status(500, 100, method="POST", code="exception")
    rig.store.commit([scored("a", tasks=1)])
    rig.write_all()
    (dead,) = rig.store.read(letters.letters, ["dead"], 10)
    assert (dead.attempts, dead.error) == (8, "unavailable/500/exception")
    assert len(ehr.requests("POST")) == 8


def test_an_outage_uses_no_tries_and_knocks_softly(rig: Rig, ehr: TestEhr) -> None:
    rig.store.commit([scored(f"n{i}", tasks=5) for i in range(10)])
    with ehr.down():
        rig.write_until(lambda: len(rig.ends) >= 15, probe_s=0.01)
        assert {row.attempts for row in rig.rows()} == {0}
        assert rig.store.read(letters.pause) == "unavailable/transient"
    rig.write_all(probe_s=0.01)
    assert len(identifiers(ehr)) == len(set(identifiers(ehr))) == 50
    assert rig.store.read(letters.pause) is None


def test_an_outage_of_a_long_time_makes_no_dead_letters(rig: Rig, ehr: TestEhr) -> None:
    ehr.faults.status(503, 60, method="POST")
    rig.store.commit([scored("a", tasks=2)])
    rig.write_until(lambda: len(rig.ends) >= 30, probe_s=0.001)
    assert "dead" not in rig.statuses()


def test_retry_after_is_waited_for_by_all_rows(rig: Rig, ehr: TestEhr) -> None:
    ehr.faults.status(429, method="POST", code="throttled", retry_after_s=0.6)
    rig.store.commit([scored("a", tasks=5)])
    with pytest.raises(TimeoutError):
        rig.write_all(concurrency=1, limit_s=0.4)
    assert len(ehr.requests("POST")) == 1
    assert rig.store.read(letters.pause) == "throttled/429/throttled"
    rig.write_all()
    assert {row.attempts for row in rig.rows()} == {0}


def test_a_server_that_does_not_know_the_resource_is_not_written_to(rig: Rig, ehr: TestEhr) -> None:
    ehr.behaviour.unsupported_types = {TYPE}
    rig.store.commit([scored("a", tasks=1)])
    rig.write_until(lambda: len(rig.ends) >= 2)
    assert not ehr.requests("POST")
    assert rig.store.read(letters.pause) == "not-supported"
    assert {row.attempts for row in rig.rows()} == {0}
    ehr.behaviour.unsupported_types = set()
    rig.write_all()
    assert identifiers(ehr) == wanted("a", tasks=1)


def test_a_server_that_shows_no_statement_is_written_to(rig: Rig, ehr: TestEhr) -> None:
    ehr.faults.status(404, 9, path="metadata", code="not-found")
    rig.store.commit([scored("a", tasks=1)])
    rig.write_all()
    assert identifiers(ehr) == wanted("a", tasks=1)


class Crash(BaseException):
    """The process is gone: nothing catches it."""


class Crashing:
    """Ends everything at the n-th step, before or after it is done. Steps: calls to the EHR and to the store."""

    def __init__(self, step: int, *, after: bool) -> None:
        self.left = step
        self.after = after
        self.dead = False
        self._lock = threading.Lock()

    def __call__(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            self.left -= 1
            mine = self.left == 0
        if self.dead or (mine and not self.after):
            self.dead = True
            raise Crash
        result = work(*args, **kwargs)
        if self.dead or mine:
            self.dead = True
            raise Crash
        return result


class CrashingStore(LocalStore):
    def __init__(self, store: Store, crash: Crashing) -> None:
        super().__init__(store)
        self._crash = crash

    async def run(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.to_thread(self._crash, self.store.write, work, *args)


class CrashingClient:
    def __init__(self, client: FhirClient, crash: Crashing) -> None:
        self._client = client
        self._crash = crash

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *args, **kwargs: self._crash(method, *args, **kwargs)


def run_until_crash(rig: Rig, crash: Crashing, **options: Any) -> None:
    client: Any = CrashingClient(client_of(rig.url), crash)
    with suppress(AssertionError, Crash):
        rig.write_until(
            lambda: crash.dead or not rig.statuses().count("pending"),
            client=client, store=CrashingStore(rig.store, crash), drain_s=0.0, **options,
        )  # fmt: skip


@pytest.mark.parametrize("mode", ["conditional-create", "update-as-create"])
def test_a_crash_at_any_step_leaves_one_resource_each_with_the_right_standing(
    open_outbox: Callable[..., Store], tmp_path: Any, mode: Any
) -> None:
    step, reached = 0, True
    while reached:
        step += 1
        for after in (False, True):
            with TestEhr() as ehr:
                store = open_outbox(f"sqlite:///{tmp_path / f'{step}-{after}.sqlite3'}")
                rig = Rig(store, ehr.url)
                store.commit([scored("a", tasks=1)])
                crash = Crashing(step, after=after)
                run_until_crash(rig, crash, mode=mode, lease_s=0.1)
                store.write(standing.retract, "test", "DocumentReference/a", "Patient/1")
                again = Crashing(step, after=after)
                run_until_crash(rig, again, mode=mode, lease_s=0.1)
                rig.write_all(mode=mode, lease_s=0.1)
                assert identifiers(ehr) == wanted("a", tasks=1), (step, after)
                assert ehr.resources(TYPE)[0]["status"] == "entered-in-error", (step, after)
                assert set(rig.statuses()) == {"done"}
                store.close()
                reached = crash.dead or again.dead
    assert step > 3


def test_a_store_that_is_away_loses_nothing(rig: Rig, ehr: TestEhr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.outbox.writer._STORE_PAUSE_S", 0.01)
    failures = iter([True] * 6)

    class Shaky(LocalStore):
        async def run(self, work: Callable[..., Any], *args: Any) -> Any:
            if next(failures, False):
                raise StoreUnavailableError("OperationalError")
            return await super().run(work, *args)

    rig.store.commit([scored("a", tasks=2)])
    rig.write_all(store=Shaky(rig.store), lease_s=0.1)
    assert sorted(identifiers(ehr)) == wanted("a", tasks=2)


def test_a_slow_write_keeps_its_lease(rig: Rig, ehr: TestEhr) -> None:
    ehr.faults.delay(0.5, method="POST")
    rig.store.commit([scored("a", tasks=1)])
    rig.write_all(lease_s=0.2)
    (row,) = rig.rows()
    assert row.attempts == 0
    assert rig.ends == [("risk-assessment", "created")]


def test_a_stop_ends_what_is_under_way(rig: Rig, ehr: TestEhr) -> None:
    ehr.faults.delay(0.2, method="POST")
    rig.store.commit([scored("a", tasks=1)])
    rig.write_until(lambda: bool(rig.rows()[0].lease))
    assert rig.statuses() == ["done"]


def test_a_task_that_nobody_knows_is_a_dead_letter(rig: Rig) -> None:
    async def none(_: str) -> dict[str, Any]:
        return {}

    rig.store.commit([scored("a", tasks=1)])
    original = rig.writer

    def ignorant(**options: Any) -> Any:
        writer = original(**options)
        writer._registry = none
        return writer

    rig.writer = ignorant  # type: ignore[method-assign]
    rig.write_all()
    assert rig.rows()[0].last_error == "unknown-task"


@pytest.mark.parametrize(
    ("kind", "status", "after"),
    [
        (ErrorKind.THROTTLED, 429, After.WAIT),
        (ErrorKind.UNAVAILABLE, None, After.WAIT),
        (ErrorKind.UNAVAILABLE, 503, After.WAIT),
        (ErrorKind.UNAVAILABLE, 500, After.TRY_AGAIN),
        (ErrorKind.UNAUTHORIZED, 401, After.WAIT),
        (ErrorKind.SECURITY, 307, After.WAIT),
        (ErrorKind.UNKNOWN_OUTCOME, None, After.TRY_AGAIN),
        (ErrorKind.CONFLICT, 409, After.TRY_AGAIN),
        (ErrorKind.PRECONDITION, 412, After.TRY_AGAIN),
        (ErrorKind.REJECTED, 422, After.DEAD),
        (ErrorKind.FORBIDDEN, 403, After.DEAD),
        (ErrorKind.NOT_FOUND, 404, After.DEAD),
        (ErrorKind.TOO_LONG, None, After.DEAD),
    ],
)
def test_what_a_failure_means(kind: ErrorKind, status: int | None, after: After) -> None:
    verdict = judge(FhirServerError("write: no", kind=kind, status=status))
    assert verdict.after is after
    assert verdict.error.startswith(kind)


def test_waits_double_to_a_bound_and_are_random() -> None:
    longest = [delay_s(n, 1.0, 60.0, Clock(random=lambda: 1.0)) for n in range(8)]
    assert longest == [1, 2, 4, 8, 16, 32, 60, 60]
    assert delay_s(3, 1.0, 60.0, Clock(random=lambda: 0.25)) == 2.0


def test_the_breaker_opens_after_failures_in_a_row_and_lets_one_write_through_at_a_time() -> None:
    now = [0.0]
    breaker = Breaker(5.0, threshold=3, clock=Clock(monotonic=lambda: now[0], random=lambda: 1.0))
    breaker.failed("a")
    breaker.failed("b")
    breaker.succeeded()
    assert breaker.slots(4, 1) == 3
    for _ in range(3):
        breaker.failed("unavailable")
    assert (breaker.code, breaker.slots(4, 0)) == ("unavailable", 0)
    now[0] = 5.0
    assert (breaker.slots(4, 0), breaker.slots(4, 1)) == (1, 0)
    breaker.failed("unavailable")
    now[0] = 14.9
    assert breaker.slots(4, 0) == 0, "the pause doubled"
    now[0] = 15.0
    assert breaker.slots(4, 0) == 1
    breaker.succeeded()
    assert (breaker.code, breaker.slots(4, 0)) == (None, 4)
