"""The forecast's model, fitted on a hospital's own past; defaults take the place of what the past does not show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from serve.beds.arrivals import ArrivalRates, PastArrivals, fit_arrivals
from serve.beds.census import HospitalCensus, Stay
from serve.beds.clock import HospitalClock
from serve.beds.day_shocks import DayShocks, fit_day_shocks
from serve.beds.discharge_effects import DischargeEffects, fit_discharge_effects
from serve.beds.hours import Hours, fit_hours
from serve.beds.patient_days import StayColumns, UnitIndex, index_units, is_in, is_past, patient_days
from serve.beds.patient_days import stay_columns as columns_of
from serve.beds.plans import Plans, fit_plans
from serve.beds.stay_length import CLASSES, StayLength, fit_stay_length
from serve.beds.transfers import Transfers, fit_transfers

HALF_LIFE_DAYS = 90.0
"""After so many days a past day counts half: hospitals change."""
_LONG_BOOKED = 10_000


@dataclass(frozen=True, slots=True)
class BedModel:
    """Everything that a forecast needs beside the census of the moment."""

    units: UnitIndex
    stay_length: StayLength
    effects: DischargeEffects
    shocks: DayShocks
    hours: Hours
    transfers: Transfers
    arrivals: ArrivalRates
    plans: Plans
    fitted_at: datetime
    history_days: int
    past_stays: int


def fit_bed_model(census: HospitalCensus, clock: HospitalClock) -> BedModel:
    """Fit on the whole days between `history_from` and today. Raises ValueError for probabilities of a wrong length."""
    units = index_units(census)
    stays = [stay for stay in census.history if is_past(stay, census)]
    past = len(stays)
    stays += [stay for stay in census.stays if is_in(stay, census)]
    columns = columns_of(stays, clock, CLASSES)
    today = int(clock.day_and_hour([census.now])[0][0])
    first = _first_day(census, clock, today)
    rows = patient_days(stays, columns, units, clock, first, today, HALF_LIFE_DAYS)
    stay_length = fit_stay_length(rows)

    effects, hazard = fit_discharge_effects(rows, columns, stay_length, clock, len(units))
    return BedModel(
        units,
        stay_length,
        effects,
        fit_day_shocks(rows, hazard, len(units)),
        _hours(columns, first, today),
        fit_transfers(rows, len(units)),
        _arrivals(census, stays, columns, units, clock, first, today),
        fit_plans(rows, columns, hazard, today),
        census.now,
        today - first,
        past,
    )


def _first_day(census: HospitalCensus, clock: HospitalClock, today: int) -> int:
    """The first whole day of the history; today without one."""
    if census.history_from is None or not census.history:
        return today
    day, hour = clock.day_and_hour([census.history_from])
    return min(int(day[0]) + int(hour[0] > 0), today)


def _hours(columns: StayColumns, first: int, today: int) -> Hours:
    over = (columns.left >= first) & (columns.left < today)
    came = (columns.admitted >= first) & (columns.admitted < today)
    came &= ~columns.scheduled
    return fit_hours(columns.left_hour[over], (columns.left == columns.admitted)[over], columns.admitted_hour[came])


def _arrivals(
    census: HospitalCensus,
    stays: list[Stay],
    columns: StayColumns,
    units: UnitIndex,
    clock: HospitalClock,
    first: int,
    today: int,
) -> ArrivalRates:
    chosen = (columns.admitted >= first) & (columns.admitted < today)
    unscheduled = ~columns.scheduled
    lead = np.where(unscheduled, 0, _LONG_BOOKED)
    booked = [index for index, stay in enumerate(stays) if stay.scheduled and stay.booked is not None]
    booked_day, _ = clock.day_and_hour(b for stay in stays if stay.scheduled and (b := stay.booked) is not None)
    lead[booked] = np.maximum(columns.admitted[booked] - booked_day, 0)
    past = PastArrivals(
        columns.admitted[chosen], units.codes(stay.entry_unit for stay in stays)[chosen], lead[chosen],
        unscheduled[chosen],
    )  # fmt: skip
    days = np.arange(first, today)
    over = [arrival.came for arrival in census.scheduled if arrival.came is not None and arrival.at < census.now]
    return fit_arrivals(
        past, days, clock.weekdays(days), 0.5 ** ((today - 1 - days) / HALF_LIFE_DAYS), len(units),
        sum(over), len(over) - sum(over),
    )  # fmt: skip
