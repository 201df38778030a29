"""The record as patient-days: for each stay and each whole day in the window, whether the patient left on it.

Counting days at risk, and not stays, takes care of both ends: a patient still in counts for the days so far, and a
stay that began before the window counts from the window's start (delayed entry).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from serve.beds.arrays import Flags, Floats, Ints
from serve.beds.census import STATUSES_IN, STATUSES_VOID, HospitalCensus, Stay
from serve.beds.clock import HospitalClock

KINDS = ("scored", "unscheduled", "scheduled")
SCORED, UNSCHEDULED, SCHEDULED = range(len(KINDS))
"""What is known of a stay: its scores, whichever way it came, because they have read the note; or how it came."""


@dataclass(frozen=True, slots=True)
class UnitIndex:
    """The units in display order; None, for a patient of no known unit, comes last where it is needed."""

    names: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.names)

    def codes(self, units: Iterable[str | None]) -> Ints:
        code = {name: index for index, name in enumerate(self.names)}
        return np.array([code[unit] for unit in units], dtype=np.int64)


def index_units(census: HospitalCensus) -> UnitIndex:
    """Staffed units as configured, then others that the record names, then None if any patient has no unit."""
    seen: set[str | None] = set()
    for stay in (*census.stays, *census.history):
        seen.add(stay.unit)
        seen.update(move.left for move in stay.moves)
    seen.update(arrival.unit for arrival in census.scheduled)
    known: list[str | None] = list(census.staffed_beds)
    known += sorted(name for name in seen if name is not None and name not in census.staffed_beds)
    return UnitIndex((*known, None) if None in seen or not known else tuple(known))


def is_in(stay: Stay, census: HospitalCensus) -> bool:
    """Whether the stay holds a bed at `census.now`."""
    return stay.discharged is None and stay.status in STATUSES_IN and stay.admitted <= census.now


def is_past(stay: Stay, census: HospitalCensus) -> bool:
    """Whether the stay is over, with times that can be."""
    return (
        stay.discharged is not None
        and stay.status not in STATUSES_VOID
        and stay.admitted <= stay.discharged <= census.now
    )


@dataclass(frozen=True, slots=True)
class StayColumns:
    """N stays. Days are ordinals in the hospital's zone, hours wall-clock. `left` is NO_DAY for a patient now in."""

    admitted: Ints
    admitted_hour: Floats
    left: Ints
    left_hour: Floats
    scheduled: Flags
    probabilities: Floats
    """(N, C); rows of unscored stays are NaN."""
    scored: Ints
    """Day on which the score came; NO_DAY without one."""
    planned: Ints
    """Day of the planned discharge; NO_DAY without one."""
    plan_known: Floats
    """Day and share of the day at which the plan was entered; NO_DAY where that is not known."""

    @property
    def kind(self) -> Ints:
        """What is known of each stay now."""
        unscored = np.where(self.scheduled, SCHEDULED, UNSCHEDULED)
        return np.where(self.scored < NO_DAY, SCORED, unscored).astype(np.int64)


NO_DAY = np.int64(2**40)


def stay_columns(stays: Sequence[Stay], clock: HospitalClock, classes: int) -> StayColumns:
    """Raises ValueError when a stay's probabilities are not `classes` in number."""
    admitted, admitted_hour = clock.day_and_hour(stay.admitted for stay in stays)
    left, left_hour = _days_of(stays, lambda stay: stay.discharged, clock)
    probabilities = np.full((len(stays), classes), np.nan)
    for index, stay in enumerate(stays):
        if stay.los_probabilities is not None:
            if len(stay.los_probabilities) != classes:
                raise ValueError(f"a stay has {len(stay.los_probabilities)} probabilities for {classes} classes")
            probabilities[index] = stay.los_probabilities
    scheduled = np.array([stay.scheduled for stay in stays], dtype=np.bool_)
    scored, _ = _days_of(stays, lambda stay: stay.scored, clock)
    scored = np.where(np.isnan(probabilities[:, 0]), NO_DAY, np.where(scored == NO_DAY, admitted, scored))
    planned, _ = _days_of(stays, lambda stay: stay.planned_discharge, clock)
    known, known_hour = _days_of(stays, lambda stay: stay.planned_recorded if stay.planned_discharge else None, clock)
    return StayColumns(
        admitted, admitted_hour, left, left_hour, scheduled, probabilities, scored, planned, known + known_hour / 24
    )


def _days_of(
    stays: Sequence[Stay], moment: Callable[[Stay], datetime | None], clock: HospitalClock
) -> tuple[Ints, Floats]:
    """Day and hour of a moment of each stay; NO_DAY and 0 where there is none."""
    found = [(index, at) for index, stay in enumerate(stays) if (at := moment(stay)) is not None]
    days, hours = np.full(len(stays), NO_DAY), np.zeros(len(stays))
    rows = [index for index, _ in found]
    days[rows], hours[rows] = clock.day_and_hour(at for _, at in found)
    return days, hours


@dataclass(frozen=True, slots=True)
class PatientDays:
    """R rows: a stay, a day on which the patient was in at its start (or came), and what happened on it."""

    stay: Ints
    day: Ints
    midnights: Ints
    """Crossed since admission, at the start of the day; 0 on the day of admission."""
    unit: Ints
    """At the start of the day, or on entry."""
    next_unit: Ints
    """At the start of the next day; the same unit on the day the patient left."""
    left: Flags
    weight: Floats
    """1 for yesterday, halved every `half_life_days` before."""

    def __len__(self) -> int:
        return len(self.stay)

    def __getitem__(self, rows: Flags) -> PatientDays:
        return PatientDays(
            self.stay[rows], self.day[rows], self.midnights[rows], self.unit[rows], self.next_unit[rows],
            self.left[rows], self.weight[rows],
        )  # fmt: skip


def patient_days(
    stays: Sequence[Stay],
    columns: StayColumns,
    units: UnitIndex,
    clock: HospitalClock,
    first_day: int,
    today: int,
    half_life_days: float,
) -> PatientDays:
    """The days from `first_day` to yesterday: today is not over."""
    begin = np.maximum(columns.admitted, first_day)
    end = np.minimum(columns.left, today - 1)
    lengths = np.maximum(end - begin + 1, 0)
    stay = np.repeat(np.arange(len(stays)), lengths)
    starts = np.cumsum(lengths) - lengths
    day = begin[stay] + np.arange(len(stay)) - starts[stay]
    last_unit = units.codes(each.unit for each in stays)
    unit, next_unit = last_unit[stay], last_unit[stay]
    for index, each in enumerate(stays):
        if each.moves and lengths[index]:
            rows = slice(int(starts[index]), int(starts[index] + lengths[index]))
            moved, _ = clock.day_and_hour(move.at for move in each.moves)
            path = units.codes([*(move.left for move in each.moves), each.unit])
            # A day starts in the unit that the moves of earlier days led to; the day of entry starts in the first.
            unit[rows] = path[np.searchsorted(moved, day[rows], side="left")]
            next_unit[rows] = path[np.searchsorted(moved, day[rows], side="right")]
    left = day == columns.left[stay]
    next_unit = np.where(left, unit, next_unit)
    weight = 0.5 ** ((today - 1 - day) / half_life_days)
    return PatientDays(stay, day, day - columns.admitted[stay], unit, next_unit, left, weight)
