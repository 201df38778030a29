"""From a request to the end of its job, over a real database: tries, leases, the schedule, and what dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve.errors import StoreUnavailableError
from serve.retraining import loop
from serve.retraining.jobs import JobsAwayError, JobState, JobView, try_name
from serve.retraining.loop import LEASE_MS, Retraining
from serve.retraining.requests import Request, ask, listed
from serve.store.core import Store
from tests.serve.retraining.parts import DAY_MS, DirectPipeline, Work, new, settings


class Clock:
    def __init__(self) -> None:
        self.ms = 1_790_000_000_000

    def __call__(self) -> int:
        return self.ms


class FakeJobs:
    """Jobs that end when they are told to. `begun` are the names, in order."""

    def __init__(self) -> None:
        self.views: dict[str, JobView] = {}
        self.away = False
        self.holder = "this"

    @property
    def begun(self) -> list[str]:
        return list(self.views)

    def begin(self, name: str, request: Request) -> None:
        self._check()
        self.views.setdefault(name, JobView(JobState.RUNNING))

    def look(self, name: str) -> JobView:
        self._check()
        return self.views.get(name, JobView(JobState.ABSENT))

    def end(self, name: str) -> None:
        self.views[name] = JobView(JobState.KILLED)

    def let_go(self, name: str) -> None:
        if self.views[name].state is JobState.RUNNING:
            self.views[name] = JobView(JobState.LET_GO)

    def last(self, state: JobState, code: int | None = None) -> None:
        self.views[self.begun[-1]] = JobView(state, code)

    def _check(self) -> None:
        if self.away:
            raise JobsAwayError("timeout")


class Rig:
    def __init__(self, folder: Path, work: Work, store: Store, clock: Clock, **more: Any) -> None:
        self.jobs, self.store, self.clock = FakeJobs(), store, clock
        self.pipeline: Any = DirectPipeline(store)
        self.settings = settings(folder, **work.settings(**({"retraining_retry_s": 60} | more)))
        self.loop = self.another()

    def another(self) -> Retraining:
        return Retraining(self.settings, self.pipeline, self.jobs)

    def turn(self, the_loop: Retraining | None = None) -> Request | None:
        asyncio.run((the_loop or self.loop).turn())
        found = self.store.read(listed, 1)
        return found[0] if found else None

    def later(self, seconds: float) -> None:
        self.clock.ms += round(seconds * 1000)


@pytest.fixture
def rig(
    tmp_path: Path, migrated_sqlite: Path, open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> Rig:
    return make_rig(tmp_path, open_store, monkeypatch)


def make_rig(tmp_path: Path, open_store: Callable[..., Store], patch: pytest.MonkeyPatch, **more: Any) -> Rig:
    clock = Clock()
    patch.setattr(loop, "_now_ms", clock)
    return Rig(tmp_path, Work(tmp_path), open_store(clock_ms=clock), clock, **more)


@pytest.fixture(params=["sqlite"])
def url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """SQLite alone: both databases are tested beneath, by test_requests.py."""
    (tmp_path / "store.sqlite3").write_bytes(migrated_sqlite.read_bytes())
    return f"sqlite:///{tmp_path / 'store.sqlite3'}"


def state(request: Request | None) -> tuple[str, int, str | None]:
    assert request is not None
    return request.status, request.attempts, request.code


def test_without_a_request_nothing_is_done(rig: Rig) -> None:
    assert rig.turn() is None
    assert rig.jobs.begun == []


@pytest.mark.parametrize(("code", "end"), [(0, "done"), (3, "held"), (2, "failed")])
def test_a_job_is_begun_followed_and_closed(rig: Rig, code: int, end: str) -> None:
    rig.store.write(ask, new(), 0)
    assert state(rig.turn()) == ("running", 1, None)
    rig.turn()
    assert len(rig.jobs.begun) == 1
    rig.jobs.last(JobState.ENDED, code)
    assert state(rig.turn())[0] == end
    rig.turn()
    assert len(rig.jobs.begun) == 1


@pytest.mark.parametrize(("how", "told"), [
    ((JobState.KILLED, None), "killed"), ((JobState.ENDED, -9), "killed"), ((JobState.ENDED, 1), "exit-1"),
])  # fmt: skip
def test_a_killed_or_failed_job_is_begun_again_later_and_not_for_ever(
    rig: Rig, how: tuple[JobState, int | None], told: str
) -> None:
    rig.store.write(ask, new(), 0)
    for attempt, wait_s in ((1, 60), (2, 120)):
        assert state(rig.turn())[:2] == ("running", attempt)
        rig.jobs.last(*how)
        assert state(rig.turn()) == ("requested", attempt, told)
        rig.later(wait_s - 1)
        rig.turn()
        assert len(rig.jobs.begun) == attempt
        rig.later(1)
    rig.turn()
    rig.jobs.last(*how)
    assert state(rig.turn()) == ("failed", 3, told)
    rig.later(DAY_MS)
    rig.turn()
    assert len(set(rig.jobs.begun)) == len(rig.jobs.begun) == 3


def test_a_job_that_takes_too_long_is_ended_and_counts(rig: Rig) -> None:
    rig.store.write(ask, new(), 0)
    rig.turn()
    rig.later(48 * 3600 + 1)
    assert state(rig.turn()) == ("requested", 1, "timeout")
    assert rig.jobs.look(rig.jobs.begun[0]).state is JobState.KILLED


def test_a_crash_between_the_count_and_the_begin_begins_that_very_try(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.store.write(ask, new(), 0)
    rig.jobs.away = True
    with pytest.raises(JobsAwayError):
        rig.turn()
    (row,) = rig.store.read(listed, 1)
    assert state(row) == ("running", 1, None)
    rig.jobs.away = False
    assert state(rig.turn(rig.another())) == ("running", 1, None)
    assert rig.jobs.begun == [try_name(row)]


def test_another_service_takes_over_only_when_the_lease_is_late(rig: Rig) -> None:
    rig.store.write(ask, new(), 0)
    rig.turn()
    rig.jobs.last(JobState.ENDED, 0)
    rig.jobs.holder = "another"
    other = rig.another()
    assert state(rig.turn(other))[0] == "running"
    rig.later(LEASE_MS / 1000 + 1)
    assert state(rig.turn(other))[0] == "done"


def test_a_service_that_stops_lets_its_job_go_and_the_next_goes_on_uncharged(rig: Rig) -> None:
    rig.store.write(ask, new(), 0)
    rig.turn()
    rig.later(5)
    # The store stops at the same time.
    rig.pipeline.broken = StoreUnavailableError("gone")
    asyncio.run(rig.loop.stop())
    rig.pipeline.broken = None
    assert rig.jobs.look(rig.jobs.begun[0]).state is JobState.LET_GO
    after = rig.another()
    assert state(rig.turn(after)) == ("requested", 0, "let-go")
    assert state(rig.turn(after))[:2] == ("running", 1)
    assert len(set(rig.jobs.begun)) == 2


def test_a_job_that_ended_while_the_service_stopped_keeps_its_end(rig: Rig) -> None:
    rig.store.write(ask, new(), 0)
    rig.turn()
    rig.jobs.last(JobState.ENDED, 0)
    asyncio.run(rig.loop.stop())
    assert state(rig.turn(rig.another()))[0] == "done"


def test_without_the_database_the_job_is_over_before_another_may_begin_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.store.write(ask, new(), 0)
    rig.turn()
    rig.pipeline.broken = StoreUnavailableError("OperationalError")
    with pytest.raises(StoreUnavailableError):
        rig.turn()
    assert rig.jobs.look(rig.jobs.begun[0]).state is JobState.RUNNING
    rig.loop._leased_at -= LEASE_MS / 1000 * 0.8
    with pytest.raises(StoreUnavailableError):
        rig.turn()
    assert rig.jobs.look(rig.jobs.begun[0]).state is JobState.LET_GO


def test_a_place_that_stays_away_is_a_failed_job_in_the_end(rig: Rig) -> None:
    rig.store.write(ask, new(), 0)
    rig.turn()
    rig.jobs.away = True
    with pytest.raises(JobsAwayError):
        rig.turn()
    assert state(rig.store.read(listed, 1)[0])[0] == "running"
    rig.later(48 * 3600 + 1)
    with pytest.raises(JobsAwayError):
        rig.turn()
    assert state(rig.store.read(listed, 1)[0]) == ("requested", 1, "away")


def test_without_a_spec_requests_wait(rig: Rig) -> None:
    rig.store.write(ask, new(), 0)
    asyncio.run(Retraining(rig.settings, rig.pipeline, None).turn())
    assert state(rig.store.read(listed, 1)[0]) == ("requested", 0, None)


def test_the_schedule_asks_by_itself(
    tmp_path: Path, open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig(tmp_path, open_store, monkeypatch, retraining_every_days=30)
    assert rig.turn() is None
    rig.later(30 * 86_400 - 1)
    assert rig.turn() is None
    rig.later(1)
    found = rig.turn()
    assert found is not None
    assert (found.origin, found.status) == ("schedule", "running")
    rig.jobs.last(JobState.ENDED, 0)
    rig.turn()
    rig.later(29 * 86_400)
    rig.turn()
    assert len(rig.store.read(listed, 9)) == 1
    rig.pipeline.away = True
    rig.later(86_400)
    with pytest.raises(Exception, match="scorer"):
        rig.turn()
    rig.pipeline.away = False
    rig.turn()
    assert len(rig.store.read(listed, 9)) == 2
