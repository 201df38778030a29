"""A small hospital in memory, and the bed routes on a real port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from bench.beds_census import Record
from bench.beds_hospital import DAY, simulate
from lang1.scores import ModelIdentity
from serve.beds.census import HospitalCensus, ScheduledArrival, Stay
from serve.beds.settings import BedSettings
from serve.errors import Problem, ServiceError, scorer_away
from serve.http.answers import problem_response
from serve.routes import beds
from tests.serve.service import free_port

NOW = datetime(2026, 11, 20, 7, 30, tzinfo=UTC)  # a Friday
MORNING = 200 * DAY + 7 * 60 + 30


def stay(
    encounter: str = "e1",
    unit: str | None = "Ward",
    days_ago: float = 1.0,
    left_days_ago: float | None = None,
    los: tuple[float, ...] | None = None,
    **more: Any,
) -> Stay:
    """A stay that began `days_ago` before NOW."""
    left = None if left_days_ago is None else NOW - timedelta(days=left_days_ago)
    given = {"planned_discharge": None, "status": "in-progress" if left is None else "finished"} | more
    return Stay(encounter, unit, NOW - timedelta(days=days_ago), left, los, **given)


def census(*stays: Stay, history: tuple[Stay, ...] = (), **more: Any) -> HospitalCensus:
    given: dict[str, Any] = {"scheduled": (), "staffed_beds": {}, "history_from": NOW - timedelta(days=60)} | more
    return HospitalCensus(NOW, tuple(stays), history, last_update=NOW, **given)


def scheduled(unit: str | None = "Ward", hours_ahead: float = 26.0) -> ScheduledArrival:
    return ScheduledArrival(unit, NOW + timedelta(hours=hours_ahead))


@cache
def small_record() -> Record:
    """An invented hospital of some 70 beds, with 180 days before MORNING."""
    return Record(simulate(11, 216, admissions_a_day=15.0, fit_days=150))


@dataclass
class InventedSource:
    """A census source over the invented hospital; `shift` moves its clock to the present."""

    change: Callable[[HospitalCensus], HospitalCensus] = lambda found: found
    asked: list[int] = field(default_factory=list)

    async def census(self, now: datetime, history_days: int) -> HospitalCensus:
        self.asked.append(history_days)
        found = self.change(small_record().census(MORNING, history_days))
        return shifted(found, now - found.now)


def shifted(found: HospitalCensus, by: timedelta) -> HospitalCensus:
    """The same hospital at another time."""

    def moved(moment: datetime | None) -> Any:
        # In UTC: added to a zone's wall clock the hours of a change of clocks would be lost.
        return None if moment is None else moment.astimezone(UTC) + by

    def of_stay(each: Stay) -> Stay:
        names = ("admitted", "discharged", "planned_discharge", "scored", "booked", "planned_recorded")
        moves = tuple(replace(move, at=moved(move.at)) for move in each.moves)
        return replace(each, moves=moves, **{name: moved(getattr(each, name)) for name in names})

    return replace(
        found,
        now=moved(found.now),
        stays=tuple(map(of_stay, found.stays)),
        history=tuple(map(of_stay, found.history)),
        scheduled=tuple(replace(each, at=moved(each.at)) for each in found.scheduled),
        history_from=moved(found.history_from),
        last_update=moved(found.last_update),
    )


class _Model:
    def __init__(self, demo: bool, away: bool) -> None:
        self._demo, self._away = demo, away

    async def current(self) -> Any:
        if self._away:
            raise ServiceError(scorer_away())
        return SimpleNamespace(identity=ModelIdentity("lang1-demo", "1.2.3", "0" * 64, self._demo))


def bed_app(
    source: Any, demo: bool = True, away: bool = False, timezone: str = "America/New_York", **settings: Any
) -> FastAPI:
    """The bed routes alone, with the ingress's error answers."""
    values = BedSettings(**settings).model_dump() | {"hospital_timezone": timezone}
    services = SimpleNamespace(
        settings=SimpleNamespace(**values), beds=source, pipeline=SimpleNamespace(model=_Model(demo, away))
    )
    api = FastAPI()
    api.include_router(beds.router(services))  # type: ignore[arg-type]

    async def problem(request: Request, error: Exception) -> Response:
        found = error.problem if isinstance(error, ServiceError) else Problem(500, "exception", type(error).__name__)
        return problem_response(request.url.path, found)

    api.add_exception_handler(ServiceError, problem)
    return api


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """URL of the app on a port of this machine."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
