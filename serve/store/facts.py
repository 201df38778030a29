"""The hospital's beds as the facts tell of them: who is in, who left, who is expected, and how their stays scored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, or_, select

from fhir_adapters.outcomes.elements import literal_variants, to_ms
from fhir_adapters.outcomes.encounter import OPEN_STATUSES
from lang1.tasks import Task
from serve.outcomes.context import DAY_MS, LabelContext
from serve.outcomes.graph import chunks, encounters_named, links_of
from serve.outcomes.keys import Role
from serve.store.facts_tables import EncounterRow
from serve.store.tables import Prediction
from serve.store.transaction import Transaction

_PLANNED = "planned"
_CANCELLED = "cancelled"
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CensusMove:
    """At `at_ms` the patient left unit `left` for the next one."""

    at_ms: int
    left: str | None


@dataclass(frozen=True, slots=True)
class CensusStay:
    """An inpatient stay. Times are milliseconds since 1970 UTC; `encounter` is a reference, and PHI."""

    source: str
    encounter: str
    unit: str | None
    """Where the patient is, or was last."""
    admitted_ms: int
    discharged_ms: int | None
    probabilities: tuple[float, ...] | None
    """Of the task asked for, in option order: the newest score that stands; None for a stay without one."""
    scored_ms: int | None
    planned_discharge_ms: int | None
    planned_recorded_ms: int | None
    """When the plan was last set to what it is, or was before the discharge."""
    status: str
    moves: tuple[CensusMove, ...]
    scheduled: bool
    booked_ms: int | None
    """When the booking became known; None for a stay that was never booked here."""


@dataclass(frozen=True, slots=True)
class CensusArrival:
    """A booked admission. `came` is None while it lies ahead, then whether the patient was admitted."""

    unit: str | None
    at_ms: int
    came: bool | None


@dataclass(frozen=True, slots=True)
class Census:
    """The hospital at `now_ms`."""

    now_ms: int
    stays: tuple[CensusStay, ...]
    """Begun and not over."""
    history: tuple[CensusStay, ...]
    """Ended at or after `history_from_ms`, whenever they began."""
    scheduled: tuple[CensusArrival, ...]
    """Booked for a time from `history_from_ms` on."""
    history_from_ms: int
    last_update_ms: int | None
    """When the newest version of an encounter came."""


def census(
    transaction: Transaction,
    context: LabelContext,
    task: Task,
    now_ms: int,
    history_days: int,
    source: str | None = None,
) -> Census:
    """The hospital at a moment, as of what is known of its encounters; of one source or of all.

    Stays and visits that are no inpatient stays, cancelled ones and those entered in error hold no bed.
    """
    since_ms = now_ms - history_days * DAY_MS
    row = EncounterRow
    stays_in = and_(or_(row.status.in_(sorted(OPEN_STATUSES)), and_(row.status == _UNKNOWN, row.ended_ms.is_(None))),
                    row.started_ms <= now_ms)  # fmt: skip
    over = and_(row.status.in_(("finished", _UNKNOWN)), row.ended_ms >= since_ms, row.ended_ms <= now_ms)
    inside = _rows(transaction, source, row.inpatient.is_(True), stays_in)
    left = _rows(transaction, source, row.inpatient.is_(True), over)
    bookings = _rows(
        transaction, source, or_(row.inpatient.is_(True), row.booked.is_(True)),
        row.status.in_((_PLANNED, _CANCELLED)), row.started_ms >= since_ms,
    )  # fmt: skip
    scores = _scores(transaction, context, task, [*inside, *left])
    received = select(func.max(row.received_ms)).where(*([row.source == source] if source is not None else []))
    return Census(
        now_ms=now_ms,
        stays=tuple(_stay(each, scores.get(each.id)) for each in inside),
        history=tuple(_stay(each, scores.get(each.id)) for each in left),
        scheduled=tuple(_arrivals(bookings, [*inside, *left], now_ms, since_ms)),
        history_from_ms=since_ms,
        last_update_ms=transaction.connection.execute(received).scalar_one(),
    )


def _rows(transaction: Transaction, source: str | None, *conditions: ColumnElement[bool]) -> list[Row[Any]]:
    statement = select(EncounterRow.__table__).where(EncounterRow.removed.is_(False), *conditions)
    if source is not None:
        statement = statement.where(EncounterRow.source == source)
    return list(transaction.connection.execute(statement.order_by(EncounterRow.started_ms, EncounterRow.id)))


def _stay(row: Row[Any], score: tuple[tuple[float, ...], int] | None) -> CensusStay:
    planned_ms, recorded_ms = _plan(row)
    booked_ms = _booked_ms(row)
    return CensusStay(
        source=row.source,
        encounter=row.reference,
        unit=row.unit,
        admitted_ms=row.started_ms,
        discharged_ms=row.ended_ms,
        probabilities=None if score is None else score[0],
        scored_ms=None if score is None else score[1],
        planned_discharge_ms=planned_ms,
        planned_recorded_ms=recorded_ms,
        status=row.status,
        moves=tuple(_moves(row)),
        scheduled=row.planned or booked_ms is not None,
        booked_ms=booked_ms,
    )


def _plan(row: Row[Any]) -> tuple[int | None, int | None]:
    """The expected discharge and since when it is known: of a stay that is over, the last that was expected."""
    seen = [each for each in row.sightings if each[2] not in ("finished", _PLANNED, _CANCELLED)]
    if not seen or seen[-1][4] is None:
        return row.planned_end_ms, None
    plan = seen[-1][4]
    since_ms = seen[-1][0]
    for updated_ms, _, _, _, planned_ms in reversed(seen):
        if planned_ms != plan:
            break
        since_ms = updated_ms
    return plan, since_ms


def _booked_ms(row: Row[Any]) -> int | None:
    return next((updated_ms for updated_ms, _, status, _, _ in row.sightings if status == _PLANNED), None)


def _moves(row: Row[Any]) -> Iterable[CensusMove]:
    """Changes of unit by Encounter.location, or by the versions of an encounter that names its present unit alone."""
    places = [(unit, from_ms) for unit, from_ms, _ in row.units]
    if len({unit for unit, _ in places}) < 2:
        places = [(unit, seen_ms) for seen_ms, _, status, unit, _ in row.sightings
                  if unit is not None and status not in (_PLANNED, _CANCELLED)]  # fmt: skip
    for (left, _), (unit, at_ms) in pairwise(places):
        if unit != left and at_ms is not None and at_ms >= row.started_ms:
            yield CensusMove(at_ms, left)


def _arrivals(
    bookings: Sequence[Row[Any]], stays: Sequence[Row[Any]], now_ms: int, since_ms: int
) -> Iterable[CensusArrival]:
    for row in bookings:
        if row.status == _PLANNED:
            yield CensusArrival(row.unit, row.started_ms, None if row.started_ms > now_ms else False)
        elif _booked_ms(row) is not None and row.started_ms <= now_ms:
            yield CensusArrival(row.unit, row.started_ms, False)
    for row in stays:
        if _booked_ms(row) is not None and row.started_ms >= since_ms:
            first = next((unit for _, _, _, unit, _ in row.sightings if unit is not None), row.unit)
            yield CensusArrival(first, row.started_ms, True)


def _scores(
    transaction: Transaction, context: LabelContext, task: Task, stays: Sequence[Row[Any]]
) -> Mapping[str, tuple[tuple[float, ...], int]]:
    """Encounter id to the probabilities of its newest standing score of the task, and when it was given."""
    source_of = {row.id: row.source for row in stays}
    names: dict[str, set[str]] = defaultdict(set)
    for link in links_of(transaction, source_of):
        if link.role == Role.ENCOUNTER:
            names[source_of[link.owner]].add(link.name)
    found: dict[str, tuple[tuple[float, ...], int]] = {}
    for source, own in names.items():
        owner = {
            written: own_id
            for name, own_id in encounters_named(transaction, source, own).items()
            for written in literal_variants(name, context.base_url)
        }
        newest: dict[str, int] = {}
        for part in chunks(sorted(owner)):
            rows = transaction.connection.execute(
                select(Prediction.source, Prediction.encounter, Prediction.last_updated_ms, Prediction.payload).where(
                    Prediction.encounter.in_(part),
                    Prediction.task == task.name,
                    Prediction.superseded.is_(False),
                    Prediction.retracted.is_(False),
                )
            )
            for row in rows:
                own_id = owner[str(row.encounter)]
                of_task = row.payload.get("note_type_match") and context.record_of(row.source) == source
                if of_task and row.last_updated_ms > newest.get(own_id, -1):
                    newest[own_id] = row.last_updated_ms
                    stated = row.payload.get("occurrence")
                    scored_ms = row.last_updated_ms if stated is None else to_ms(datetime.fromisoformat(stated))
                    found[own_id] = (tuple(row.payload["probabilities"]), scored_ms)
    return found
