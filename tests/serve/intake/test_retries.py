"""When is tried again, and how a server that is away is told from a resource that cannot be had."""

from __future__ import annotations

import pytest

from fhir_adapters.client.errors import ErrorKind, FhirServerError
from serve.errors import Problem
from serve.intake.retries import ServerState, after_fetch_error, after_taking
from serve.intake.rows import MAX_TRIES, LeasedRow, Settled
from serve.intake.take_in import Taken


def row(attempts: int = 1) -> LeasedRow:
    return LeasedRow(1, "lease", "ehr", "DocumentReference/1", "v:1", attempts)


def error(kind: ErrorKind, status: int | None = None, retry_after_s: float | None = None) -> FhirServerError:
    return FhirServerError("x", kind=kind, status=status, retry_after_s=retry_after_s)


def fetched(attempts: int, failed: FhirServerError, *, away: bool = False) -> Settled:
    return after_fetch_error(row(attempts), failed, away=away, first_wait_s=5)


def taken(attempts: int, status: int, code: str, retry_after_s: int | None = None) -> Settled:
    problem = Problem(status, code, "x; y", retry_after_s=retry_after_s)
    return after_taking(row(attempts), Taken.failed(problem), first_wait_s=5)


def test_waits_grow_and_end_after_eight_tries() -> None:
    waits = [fetched(n, error(ErrorKind.UNAVAILABLE, 500)) for n in range(1, MAX_TRIES)]
    for place, settled in enumerate(waits):
        whole = min(3600, 5 * 3**place)
        assert settled.status == "pending"
        assert whole * 500 <= settled.wait_ms <= whole * 1000
    assert fetched(MAX_TRIES, error(ErrorKind.UNAVAILABLE, 500)).status == "dead"


def test_what_the_server_asks_for_is_waited() -> None:
    assert fetched(1, error(ErrorKind.THROTTLED, 429, 90)).wait_ms == 90_000


@pytest.mark.parametrize(
    "kind", [ErrorKind.FORBIDDEN, ErrorKind.REJECTED, ErrorKind.SECURITY, ErrorKind.TOO_LONG], ids=str
)
def test_what_will_never_be_had_is_dead_at_once(kind: ErrorKind) -> None:
    assert (fetched(1, error(kind)).status, fetched(1, error(kind)).code) == ("dead", str(kind))


def test_not_found_is_tried_a_second_time_and_no_third() -> None:
    assert [fetched(n, error(ErrorKind.NOT_FOUND, 404)).status for n in (1, 2)] == ["pending", "dead"]


def test_a_server_that_is_away_costs_no_try() -> None:
    settled = fetched(MAX_TRIES, error(ErrorKind.UNAVAILABLE), away=True)
    assert (settled.status, settled.charged) == ("pending", False)
    # A 500 is the resource's own, also while the server is away.
    assert fetched(MAX_TRIES, error(ErrorKind.UNAVAILABLE, 500), away=True).status == "dead"


@pytest.mark.parametrize(
    ("status", "code", "ends", "charged"),
    [
        (422, "structure", "dead", True), (424, "not-found", "dead", True), (422, "business-rule", "done", True),
        (422, "suppressed", "done", True), (503, "transient", "pending", True), (504, "timeout", "pending", True),
        (502, "transient", "pending", True), (503, "throttled", "pending", False), (503, "no-store", "pending", False),
    ],
)  # fmt: skip
def test_problems_of_a_resource_that_was_read(status: int, code: str, ends: str, charged: bool) -> None:
    settled = taken(1, status, code)
    assert (settled.status, settled.charged, settled.code) == (ends, charged, code)
    assert taken(MAX_TRIES, status, code).status == ("dead" if ends == "pending" and charged else ends)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_server_that_is_away_is_asked_once_a_pause_and_longer_each_time() -> None:
    time = Time()
    server = ServerState(1.0, time)
    for _ in range(2):
        server.answered(error(ErrorKind.UNAVAILABLE))
    assert not server.away
    server.answered(error(ErrorKind.NOT_FOUND, 404))  # an answer: it is there
    for _ in range(3):
        server.answered(error(ErrorKind.UNAVAILABLE))
    assert server.away
    assert not server.may_ask()
    pauses = []
    for _ in range(9):
        pauses.append(server.pause_s)
        time.now += server.pause_s
        assert server.may_ask()
        server.asking()
        assert not server.may_ask()
        server.answered(error(ErrorKind.UNAVAILABLE))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    server.answered()
    assert not server.away
    assert server.may_ask()
