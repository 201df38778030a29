"""From the laws of counts to the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

import numpy as np

from serve.beds.answer import (
    BedForecastOut,
    Counts,
    DataOut,
    ForecastDay,
    HospitalForecast,
    Interval,
    ModelOut,
    UnitForecast,
    Warning,
)
from serve.beds.arrays import Floats
from serve.beds.census import HospitalCensus, Stay
from serve.beds.clock import HospitalClock
from serve.beds.counts import Laws
from serve.beds.forecast import BedForecast
from serve.beds.intervals import LEVELS, Intervals, narrowest
from serve.beds.model import BedModel
from serve.beds.patient_days import is_in
from serve.beds.settings import BedSettings

_FEW_DAYS = 56
"""Of history: under eight weeks a weekday has been seen less than eight times."""
_MANY_UNSCORED = 0.25


def bed_forecast_out(
    census: HospitalCensus,
    forecast: BedForecast,
    model: BedModel,
    clock: HospitalClock,
    settings: BedSettings,
    identity: ModelOut | None,
    left_open: int,
    units: Iterable[str | None] | None = None,
) -> BedForecastOut:
    """`units`: those to answer, None for all. `left_open`: encounters left out because nobody closed them."""
    names = forecast.units.names
    wanted = set(names if units is None else units)
    beds = {name: census.staffed_beds.get(name) if name is not None else None for name in names}
    known_beds = [count for count in beds.values() if count is not None]
    # A hospital's free beds are unknown while one of its units' are.
    all_beds = sum(known_beds) if known_beds and len(known_beds) == len(beds) - (None in beds) else None
    unit_in, unit_out = _intervals(forecast.unit_occupancy), _intervals(forecast.unit_departures)
    all_in, all_out = _intervals(forecast.occupancy), _intervals(forecast.departures)

    def days(index: int | None, staffed: int | None) -> list[ForecastDay]:
        def expected(values: Floats) -> Floats:
            return np.asarray(values.sum(axis=0) if index is None else values[index])

        laws = forecast.occupancy if index is None else _row(forecast.unit_occupancy, index)
        inside = all_in if index is None else [_of(each, index) for each in unit_in]
        out = all_out if index is None else [_of(each, index) for each in unit_out]
        free = laws.shortfall(staffed) if staffed is not None else None
        over = laws.above(staffed) if staffed is not None else None
        return [
            ForecastDay(
                date=day.date,
                begins=day.begins,
                census_at=day.ends,
                expected_occupancy=_number(expected(forecast.expected_occupancy)[k]),
                occupancy_80=_interval(inside[0], k),
                occupancy_95=_interval(inside[1], k),
                expected_departures=_number(expected(forecast.expected_departures)[k]),
                departures_80=_interval(out[0], k),
                departures_95=_interval(out[1], k),
                expected_scheduled_arrivals=_number(expected(forecast.expected_scheduled)[k]),
                expected_unscheduled_arrivals=_number(expected(forecast.expected_unscheduled)[k]),
                expected_net_transfers=_number(expected(forecast.net_transfers)[k]),
                staffed_beds=staffed,
                expected_free_beds=None if free is None else _number(free[k]),
                probability_over_staffed=None if over is None else round(float(over[k]), 4),
            )
            for k, day in enumerate(forecast.days)
        ]

    counted = _counter(census, clock)
    return BedForecastOut(
        generated_at=census.now.astimezone(clock.timezone),
        timezone=str(clock.timezone),
        census_hour=clock.census_hour,
        refresh_s=settings.beds_refresh_s,
        model=identity,
        data=_data(census, model, settings),
        warnings=_warnings(census, model, settings, beds, left_open),
        hospital=HospitalForecast(staffed_beds=all_beds, counts=counted(lambda _: True), days=days(None, all_beds)),
        units=[
            UnitForecast(
                unit=name,
                staffed_beds=beds[name],
                counts=counted(lambda unit, name=name: unit == name),  # type: ignore[misc]
                days=days(index, beds[name]),
            )
            for index, name in enumerate(names)
            if name in wanted
        ],
        unit_names=list(names),
    )


def _counter(census: HospitalCensus, clock: HospitalClock) -> Callable[[Callable[[str | None], bool]], Counts]:
    today = census.now.astimezone(clock.timezone).date()
    inside = [stay for stay in census.stays if is_in(stay, census)]
    left = [stay for stay in census.history if _left_on(stay, clock) == today]
    came = [s for s in (*inside, *left) if s.admitted.astimezone(clock.timezone).date() == today]
    overdue = [
        stay
        for stay in inside
        if stay.planned_discharge is not None and stay.planned_discharge.astimezone(clock.timezone).date() < today
    ]

    def counts(within: Callable[[str | None], bool]) -> Counts:
        here = [stay for stay in inside if within(stay.unit)]
        scored = sum(stay.los_probabilities is not None for stay in here)
        return Counts(
            patients_in=len(here),
            scored=scored,
            unscored=len(here) - scored,
            overdue=sum(within(stay.unit) for stay in overdue),
            arrived_today=sum(within(stay.entry_unit) for stay in came),
            departed_today=sum(within(stay.unit) for stay in left),
        )

    return counts


def _left_on(stay: Stay, clock: HospitalClock) -> object:
    return stay.discharged.astimezone(clock.timezone).date() if stay.discharged else None


def _data(census: HospitalCensus, model: BedModel, settings: BedSettings) -> DataOut:
    age = None if census.last_update is None else max(census.now - census.last_update, timedelta(0))
    return DataOut(
        last_update=census.last_update,
        age_s=None if age is None else int(age.total_seconds()),
        stale=age is None or age > timedelta(minutes=settings.beds_stale_minutes),
        history_days=model.history_days,
        past_stays=model.past_stays,
        fitted_at=model.fitted_at,
    )


def _warnings(
    census: HospitalCensus, model: BedModel, settings: BedSettings, beds: dict[str | None, int | None], left_open: int
) -> list[Warning]:
    found: list[Warning] = []
    data = _data(census, model, settings)
    if data.stale:
        since = (
            "no encounter has ever been updated"
            if data.age_s is None
            else f"the last came {data.age_s // 60} minutes ago"
        )
        found.append(Warning(code="stale-data", text=f"Encounter updates have stopped: {since}."))
    if model.history_days < _FEW_DAYS:
        text = "There is no history of stays yet: general defaults are used."
        if model.history_days and model.past_stays:
            text = f"Only {model.history_days} days of history: the forecast leans on general defaults."
        found.append(Warning(code="short-history", text=text))
    inside = [stay for stay in census.stays if is_in(stay, census)]
    unscored = sum(stay.los_probabilities is None for stay in inside)
    if inside and unscored / len(inside) > _MANY_UNSCORED:
        share = round(100 * unscored / len(inside))
        found.append(Warning(code="unscored", text=f"{share}% of the patients now in have no length-of-stay score."))
    without = [name for name, count in beds.items() if count is None and name is not None]
    if without:
        found.append(
            Warning(code="no-staffed-beds", text=f"{len(without)} of {len(beds)} units have no staffed beds set.")
        )
    homeless = sum(stay.unit is None for stay in inside)
    if homeless:
        found.append(Warning(code="no-units", text=f"{homeless} patients are in without a unit in the record."))
    if left_open:
        limit = settings.beds_longest_stay_days
        text = f"{left_open} encounters have been open for over {limit} days and are left out; close them in the EHR."
        found.append(Warning(code="open-encounters", text=text))
    return found


def _intervals(laws: Laws) -> list[Intervals]:
    return [narrowest(laws.mass, laws.start, level) for level in LEVELS]


def _row(laws: Laws, index: int) -> Laws:
    return Laws(laws.mass[index], laws.start[index])


def _of(intervals: Intervals, index: int) -> Intervals:
    return Intervals(intervals.low[index], intervals.high[index], intervals.probability[index])


def _interval(intervals: Intervals, k: int) -> Interval:
    return Interval(
        low=int(intervals.low[k]),
        high=int(intervals.high[k]),
        probability=round(min(float(intervals.probability[k]), 1.0), 4),
    )


def _number(value: float) -> float:
    """Two decimals; no minus zero."""
    return round(float(value), 2) + 0.0
