"""The census of the database, for the bed forecast."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from lang1.label_rules import length_of_stay
from lang1.tasks import Task
from serve.beds.census import HospitalCensus, Move, ScheduledArrival, Stay
from serve.errors import Problem, ServiceError
from serve.outcomes.context import label_context
from serve.pipeline import Pipeline
from serve.settings import Settings
from serve.store.facts import Census, CensusStay, census


class RecordedCensus:
    """Of one ingress replica."""

    def __init__(self, settings: Settings, pipeline: Pipeline) -> None:
        self._settings = settings
        self._pipeline = pipeline

    async def census(self, now: datetime, history_days: int) -> HospitalCensus:
        """The hospital at `now`, of all sources. Raises ServiceError: 501 without a length-of-stay task; 503."""
        registry = await self._pipeline.model.registry()
        task = stay_task(registry.values())
        context = label_context(self._settings, registry)
        found = await self._pipeline.read(census, context, task, round(now.timestamp() * 1000), history_days)
        return hospital_census(found)


def stay_task(tasks: Iterable[Task]) -> Task:
    """The task whose answer is the length of a stay. Raises ServiceError 501 where there is none."""
    for task in tasks:
        if task.label_rule == length_of_stay.__name__:
            return task
    raise ServiceError(
        Problem(501, "not-supported", "the loaded model has no length-of-stay task; load a bundle that has one")
    )


def hospital_census(found: Census) -> HospitalCensus:
    """The same facts with times as datetimes. An encounter's reference is unique within its source alone."""
    return HospitalCensus(
        now=_time(found.now_ms),
        stays=tuple(_stay(each) for each in found.stays),
        history=tuple(_stay(each) for each in found.history),
        scheduled=tuple(ScheduledArrival(each.unit, _time(each.at_ms), each.came) for each in found.scheduled),
        staffed_beds={},
        history_from=_time(found.history_from_ms),
        last_update=None if found.last_update_ms is None else _time(found.last_update_ms),
    )


def _stay(found: CensusStay) -> Stay:
    return Stay(
        encounter=f"{found.source}|{found.encounter}",
        unit=found.unit,
        admitted=_time(found.admitted_ms),
        discharged=_maybe(found.discharged_ms),
        los_probabilities=found.probabilities,
        planned_discharge=_maybe(found.planned_discharge_ms),
        status=found.status,
        moves=tuple(Move(_time(each.at_ms), each.left) for each in found.moves),
        scored=_maybe(found.scored_ms),
        scheduled=found.scheduled,
        booked=_maybe(found.booked_ms),
        planned_recorded=_maybe(found.planned_recorded_ms),
    )


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _maybe(ms: int | None) -> datetime | None:
    return None if ms is None else _time(ms)
