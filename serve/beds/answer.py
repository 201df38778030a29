"""The forecast as it is answered: aggregates by unit and day, no patient in it."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class Interval(_Out):
    """The fewest whole numbers from `low` to `high`, both included, that hold at least the level named by the field."""

    low: int = Field(ge=0)
    high: int = Field(ge=0)
    probability: float = Field(
        ge=0, le=1, description="What the interval does hold: more than its level, because counts are lumpy."
    )


class ForecastDay(_Out):
    """One day, which ends when beds are counted. The first begins now, so its departures are those still to come."""

    date: dt.date
    begins: dt.datetime
    census_at: dt.datetime = Field(description="When the occupancy is that of this row; the day's end.")
    expected_occupancy: float
    occupancy_80: Interval
    occupancy_95: Interval
    expected_departures: float
    departures_80: Interval
    departures_95: Interval
    expected_scheduled_arrivals: float = Field(
        description="Planned admissions known now, times the rate at which they come."
    )
    expected_unscheduled_arrivals: float = Field(description="Emergencies, and bookings not made yet.")
    expected_net_transfers: float = Field(description="Moves in less moves out; 0 for the hospital.")
    staffed_beds: int | None
    expected_free_beds: float | None = Field(description="Mean of the staffed beds left free, none counted as 0.")
    probability_over_staffed: float | None = Field(description="P(more patients than staffed beds).")


class Counts(_Out):
    """Patients in now. `today` is the calendar day so far."""

    patients_in: int
    scored: int
    unscored: int
    overdue: int = Field(description="Still in after the day of their planned discharge.")
    arrived_today: int
    departed_today: int


class UnitForecast(_Out):
    """A unit's days; `unit` is null for patients whose unit the record does not name."""

    unit: str | None
    staffed_beds: int | None
    counts: Counts
    days: list[ForecastDay]


class HospitalForecast(_Out):
    """The whole hospital, computed from the patients and not from the units' intervals."""

    staffed_beds: int | None
    counts: Counts
    days: list[ForecastDay]


class ModelOut(_Out):
    """The loaded model, whose scores of the patients now in the forecast is made from."""

    name: str
    version: str
    demo: bool = Field(description="A model trained on invented patients: not for care.")


class DataOut(_Out):
    """What the forecast was made from."""

    last_update: dt.datetime | None = Field(description="Newest change of an encounter.")
    age_s: int | None = Field(description="Seconds from that to `generated_at`.")
    stale: bool
    history_days: int = Field(description="Whole days of past stays that the forecast was fitted on.")
    past_stays: int
    fitted_at: dt.datetime


class Warning(_Out):
    """What a reader should know before relying on the numbers."""

    code: Literal["stale-data", "short-history", "unscored", "no-staffed-beds", "no-units", "open-encounters"]
    text: str


class BedForecastOut(_Out):
    """Answer of `GET /v1/beds/forecast`."""

    generated_at: dt.datetime
    timezone: str
    census_hour: int = Field(description="Hour of the hospital's clock at which beds are counted; 24 is midnight.")
    refresh_s: int = Field(description="Seconds after which a page should ask again.")
    model: ModelOut | None = Field(description="Null while no scorer answers; the forecast needs none.")
    data: DataOut
    warnings: list[Warning]
    hospital: HospitalForecast
    units: list[UnitForecast]
    unit_names: list[str | None] = Field(description="All units in display order, whichever were asked for.")
