"""Everybody who may lie in a bed within the horizon, as rows of daily hazards, and where the rows are at each census.

Rows are the patients now in, the scheduled admissions, and one for each unit and day on which unscheduled patients
may come. R rows, D calendar days from today, K census days, U units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve.beds.arrays import Flags, Floats, Ints, logit, sigmoid
from serve.beds.arrivals import LEADS
from serve.beds.census import ScheduledArrival, Stay
from serve.beds.clock import CensusDay, HospitalClock
from serve.beds.model import BedModel
from serve.beds.patient_days import NO_DAY, SCHEDULED, SCORED, UNSCHEDULED, stay_columns
from serve.beds.plans import NO_PLAN
from serve.beds.stay_length import CLASSES, class_of

NOW = -1
"""Entry day of a patient who is in already."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """When the forecast is made and what it covers: `hour` is now's, `ends` (K,) each census in days from today."""

    hour: float
    weekdays: Ints
    """(D,)"""
    ends: Ints
    census_hour: float

    @property
    def days(self) -> int:
        return len(self.weekdays)


@dataclass(frozen=True, slots=True)
class Rows:
    """`hazards` (R, D): P(leaves on the day | in at its start, or now); 0 before entry.

    `first_share` (R, K): share of the hazard of the entry day, or of today, that is used up by each census.
    `arrived` (R, K): share that has come by each census. `scale`: P(comes at all), or the expected number of Poisson
    rows.
    """

    unit: Ints
    entry: Ints
    hazards: Floats
    came_today: Flags
    """Patients who are in already and came today."""
    first_share: Floats
    later_share: Floats
    """(K,) of a day's departures that have happened by the census hour"""
    arrived: Floats
    scale: Floats
    ends: Ints

    def present(self, hazards: Floats) -> Floats:
        """Share of each row in a bed at each census, (R, K), under these hazards; `scale` is left out."""
        return np.stack([self.present_at(hazards, k) for k in range(len(self.ends))], axis=1)

    def present_at(self, hazards: Floats, k: int) -> Floats:
        """The same at census k under hazards (..., R, D): (..., R)."""
        end = int(self.ends[k])
        arrived, on_day = self.arrived[:, k], hazards[..., end]
        later = np.prod(1 - hazards[..., :end], axis=-1) * (1 - on_day * self.later_share[k]) * arrived
        first = np.maximum(self.entry, 0) == end
        return np.asarray(np.where(first, np.maximum(arrived - on_day * self.first_share[:, k], 0.0), later))


def horizon_of(clock: HospitalClock, census_days: tuple[CensusDay, ...], now_day: int, hour: float) -> Horizon:
    """The calendar days and census days that begin now."""
    ends = np.array([day.ordinal - now_day for day in census_days])
    return Horizon(hour, clock.weekdays(now_day + np.arange(int(ends[-1]) + 1)), ends, census_days[0].hour)


def patient_rows(model: BedModel, stays: list[Stay], clock: HospitalClock, now_day: int, horizon: Horizon) -> Rows:
    """Patients now in. Bayes: still in at this hour, after this many midnights."""
    columns = stay_columns(stays, clock, CLASSES)
    unit = model.units.codes(stay.unit for stay in stays)
    midnights = (now_day - columns.admitted)[:, None] + np.arange(horizon.days)
    base = model.stay_length.base_hazards(midnights)
    scored = columns.kind == SCORED
    base[scored] = model.stay_length.class_hazards(columns.probabilities[scored], midnights[scored])
    ahead = 1 - horizon.hour / 24
    came_today = columns.admitted == now_day
    new, old = (paths[:-1].transpose(1, 0, 2) for paths in model.transfers.paths_from_now(ahead, horizon.days))
    where = np.where(came_today[:, None, None], new[unit], old[unit])
    hazards = _with_effects(model, base, midnights, columns.kind, where, horizon.weekdays)

    hours = model.hours
    passed = np.where(came_today, hours.leave_same_day.happened(horizon.hour), hours.leave.happened(horizon.hour))
    by_census = np.where(
        came_today, hours.leave_same_day.happened(horizon.census_hour), hours.leave.happened(horizon.census_hour)
    )
    ahead_of = np.where(columns.planned < NO_DAY, columns.planned - now_day, NO_PLAN)
    hazards = model.plans.apply(hazards, ahead_of, ~came_today)
    today = hazards[:, 0]
    hazards[:, 0] = today * (1 - passed) / (1 - today * passed)
    with np.errstate(invalid="ignore", divide="ignore"):
        used = np.where(passed < 1, (by_census - passed) / (1 - passed), 1.0)
    return _rows(
        model, horizon, unit, np.full(len(stays), NOW), hazards, used, np.ones((len(stays), 1)), 1.0, came_today
    )


def scheduled_rows(
    model: BedModel, arrivals: list[ScheduledArrival], clock: HospitalClock, now_day: int, horizon: Horizon
) -> Rows:
    """Planned admissions within the horizon; one that is overdue today may come at any moment."""
    day, hour = clock.day_and_hour(arrival.at for arrival in arrivals)
    entry = day - now_day
    hour = np.where(entry == 0, np.maximum(hour, horizon.hour), hour)
    unit = model.units.codes(arrival.unit for arrival in arrivals)
    arrived = _by_census(entry, horizon, (hour[:, None] <= horizon.census_hour).astype(np.float64))
    same_day = model.hours.leave_same_day.happened(horizon.census_hour)
    return _entering(model, horizon, unit, entry, SCHEDULED, same_day, arrived, model.arrivals.show_rate)


def unscheduled_rows(model: BedModel, horizon: Horizon, surge_today: float) -> Rows:
    """One row a unit and day, `scale` the expected number; `surge_today` is how busy today has been so far."""
    units = len(model.units)
    entry = np.repeat(np.arange(horizon.days), units)
    unit = np.tile(np.arange(units), horizon.days)
    came = float(model.hours.come.happened(horizon.hour))
    rate = model.arrivals.rate[np.minimum(entry, LEADS - 1), unit, horizon.weekdays[entry]]
    rate = np.where(entry == 0, rate * (1 - came) * surge_today, rate)
    by_census = float(model.hours.come.happened(horizon.census_hour))
    today = (by_census - came) / (1 - came) if came < 1 else 1.0
    arrived = _by_census(entry, horizon, np.where(entry == 0, today, by_census)[:, None])
    same_day = float(model.hours.leave_same_day.happened(horizon.census_hour))
    return _entering(model, horizon, unit, entry, UNSCHEDULED, same_day, arrived, rate)


def _by_census(entry: Ints, horizon: Horizon, on_entry_day: Floats) -> Floats:
    """(R, K): 0 before the day of entry, `on_entry_day` at its census, 1 later."""
    after = horizon.ends[None, :] - entry[:, None]
    return np.where(after < 0, 0.0, np.where(after == 0, on_entry_day, 1.0))


def _entering(
    model: BedModel,
    horizon: Horizon,
    unit: Ints,
    entry: Ints,
    kind: int,
    same_day: Floats | float,
    arrived: Floats,
    scale: Floats | float,
) -> Rows:
    offset = np.arange(horizon.days)[None, :] - entry[:, None]
    midnights = np.maximum(offset, 0)
    where = model.transfers.paths(horizon.days).transpose(1, 0, 2)[unit[:, None], midnights]
    kinds = np.full(len(entry), kind)
    base = model.stay_length.base_hazards(midnights)
    hazards = _with_effects(model, base, midnights, kinds, where, horizon.weekdays)
    # Who comes late in the day rarely leaves on it.
    came, left = (profile.happened(horizon.hour) for profile in (model.hours.come, model.hours.leave_same_day))
    late = float(np.clip((1 - left) / max(float(1 - came), 1e-6), 0.0, 1.0))
    hazards = np.where(entry[:, None] == 0, np.where(offset == 0, hazards * late, hazards), hazards)
    return _rows(model, horizon, unit, entry, np.where(offset < 0, 0.0, hazards), same_day, arrived, scale)


def _rows(
    model: BedModel,
    horizon: Horizon,
    unit: Ints,
    entry: Ints,
    hazards: Floats,
    first_share: Floats | float,
    arrived: Floats,
    scale: Floats | float,
    came_today: Flags | bool = False,
) -> Rows:
    count, ends = len(unit), len(horizon.ends)
    first = np.broadcast_to(np.asarray(first_share, dtype=np.float64), (count,))
    return Rows(
        unit,
        entry,
        hazards,
        np.broadcast_to(np.asarray(came_today), (count,)),
        np.minimum(np.broadcast_to(first[:, None], (count, ends)), 1.0),
        np.full(ends, float(model.hours.leave.happened(horizon.census_hour))),
        np.broadcast_to(arrived, (count, ends)),
        np.broadcast_to(np.asarray(scale, dtype=np.float64), (count,)),
        horizon.ends,
    )


def _with_effects(model: BedModel, base: Floats, midnights: Ints, kind: Ints, where: Floats, weekdays: Ints) -> Floats:
    """Hazards (N, D) with weekday and place; `where` (N, D, U): in which unit each day starts."""
    score = logit(base) + model.effects.weekday[kind[:, None], weekdays]
    place = model.effects.place.transpose(1, 2, 0)[kind[:, None], class_of(midnights)]
    return np.asarray((sigmoid(score[..., None] + place) * where).sum(axis=-1))
