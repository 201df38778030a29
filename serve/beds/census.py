"""What a bed forecast is made from: plain facts of encounters, read from the record by someone else.

Every datetime is aware. Nothing here is logged or answered: an encounter's reference is PHI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

# Encounter.status (R4) of somebody who lies in a bed, or holds one.
STATUSES_IN = frozenset({"arrived", "triaged", "in-progress", "onleave", "unknown"})
STATUSES_VOID = frozenset({"planned", "cancelled", "entered-in-error"})


@dataclass(frozen=True, slots=True)
class Move:
    """A transfer within a stay: at `at` the patient left unit `left` for the next one."""

    at: datetime
    left: str | None


@dataclass(frozen=True, slots=True)
class Stay:
    """An inpatient stay. `unit` is where the patient is, or was last; None when the record does not say.

    `los_probabilities` are those of the length-of-stay task, in option order, None for a stay that has no score.
    `scored` is when they became known; unset, on the day of admission. `scheduled` says that the admission was
    planned,
    `booked` when it became known to the record. `planned_recorded` is when `planned_discharge` was last set; without
    it a past plan teaches nothing.
    """

    encounter: str
    unit: str | None
    admitted: datetime
    discharged: datetime | None
    los_probabilities: tuple[float, ...] | None
    planned_discharge: datetime | None
    status: str
    moves: tuple[Move, ...] = ()
    """In order of time."""
    scored: datetime | None = None
    scheduled: bool = False
    booked: datetime | None = None
    planned_recorded: datetime | None = None

    @property
    def entry_unit(self) -> str | None:
        return self.moves[0].left if self.moves else self.unit


@dataclass(frozen=True, slots=True)
class ScheduledArrival:
    """A planned admission. `came` is None while it lies ahead, then whether the patient was admitted that day."""

    unit: str | None
    at: datetime
    came: bool | None = None


@dataclass(frozen=True, slots=True)
class HospitalCensus:
    """The hospital at `now`.

    `stays`: patients now in. `history`: closed stays discharged at or after `history_from`, whenever they were
    admitted.
    `scheduled`: planned admissions from now on, and those since `history_from` with what became of them.
    `staffed_beds`: beds by unit, in the order in which units are shown. `last_update`: the newest change of an
    encounter.
    """

    now: datetime
    stays: tuple[Stay, ...]
    history: tuple[Stay, ...]
    scheduled: tuple[ScheduledArrival, ...]
    staffed_beds: Mapping[str, int]
    history_from: datetime | None = None
    last_update: datetime | None = None


class CensusSource(Protocol):
    """Reads the record."""

    async def census(self, now: datetime, history_days: int) -> HospitalCensus:
        """The hospital at `now`, with the stays closed in the `history_days` before it."""
        ...
