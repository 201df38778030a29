"""The bed board of one ingress replica: reads the record, keeps the fitted model, makes forecasts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from serve.beds.answer import BedForecastOut, ModelOut
from serve.beds.census import CensusSource, HospitalCensus, Stay
from serve.beds.clock import HospitalClock
from serve.beds.forecast import forecast_beds
from serve.beds.model import BedModel, fit_bed_model
from serve.beds.patient_days import index_units, is_in
from serve.beds.report import bed_forecast_out
from serve.beds.settings import BedSettings
from serve.beds.stay_length import CLASSES
from serve.beds.units import load_units
from serve.errors import Problem, ServiceError, SettingsError

RECENT_DAYS = 2
"""Of past stays read for a forecast: those of today, wherever its midnight lies."""


@dataclass(frozen=True, slots=True)
class _Fitted:
    model: BedModel
    at: datetime


class BedBoard:
    """Forecasts for one hospital. Raises SettingsError for a units file or time zone that cannot be used."""

    def __init__(self, source: CensusSource, settings: BedSettings, timezone: str) -> None:
        self._source = source
        self._settings = settings
        self._units = load_units(settings.beds_units_file)
        try:
            zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise SettingsError("hospital_timezone is not an IANA time zone; give one as America/New_York") from None
        self._clock = HospitalClock(zone, settings.beds_census_hour, self._units.holidays)
        self._fitted: _Fitted | None = None
        self._fitting: asyncio.Lock | None = None

    async def forecast(
        self, now: datetime, days: int, units: Iterable[str] | None = None, identity: ModelOut | None = None
    ) -> BedForecastOut:
        """The next `days` days; `units` names those to answer. Raises ServiceError 404 for a unit that is not known."""
        census, left_open = self._checked(await self._source.census(now, RECENT_DAYS))
        model = await self._model(census)
        names = model.units.names
        wanted = list(units) if units is not None else None
        if wanted is not None and (unknown := [place for place, name in enumerate(wanted) if name not in names]):
            # The name is the caller's words, so it is not repeated.
            raise ServiceError(
                Problem(
                    404,
                    "not-found",
                    f"no such unit (entry {unknown[0]}); unit_names of an answer lists them",
                )
            )
        return await asyncio.to_thread(self._answer, census, model, days, wanted, identity, left_open)

    def _answer(
        self,
        census: HospitalCensus,
        model: BedModel,
        days: int,
        units: list[str] | None,
        identity: ModelOut | None,
        left_open: int,
    ) -> BedForecastOut:
        forecast = forecast_beds(census, model, self._clock, days)
        return bed_forecast_out(census, forecast, model, self._clock, self._settings, identity, left_open, units)

    def _checked(self, census: HospitalCensus) -> tuple[HospitalCensus, int]:
        """With the configured beds, and without encounters that nobody closed; how many those were."""
        oldest = census.now - timedelta(days=self._settings.beds_longest_stay_days)
        census = replace(census, stays=_fitting_scores(census.stays), history=_fitting_scores(census.history))
        kept = tuple(stay for stay in census.stays if stay.admitted >= oldest)
        lost = sum(is_in(stay, census) for stay in census.stays) - sum(is_in(stay, census) for stay in kept)
        beds = self._units.units or census.staffed_beds
        return replace(census, stays=kept, staffed_beds=beds), lost

    async def _model(self, census: HospitalCensus) -> BedModel:
        """The fitted model: fitted again when it is old, or when a unit appears that it does not know."""
        if self._fitting is None:
            self._fitting = asyncio.Lock()
        async with self._fitting:
            if (fitted := self._fitted) is None or self._is_old(fitted, census):
                past, _ = self._checked(await self._source.census(census.now, self._settings.beds_history_days))
                # Both censuses' units: a patient may have come between the two reads.
                past = replace(past, stays=tuple({s.encounter: s for s in (*past.stays, *census.stays)}.values()))
                self._fitted = fitted = _Fitted(await asyncio.to_thread(fit_bed_model, past, self._clock), census.now)
            return fitted.model

    def _is_old(self, fitted: _Fitted, census: HospitalCensus) -> bool:
        age = census.now - fitted.at
        old = not timedelta(0) <= age < timedelta(hours=self._settings.beds_refit_hours)
        return old or not set(index_units(census).names) <= set(fitted.model.units.names)


def _fitting_scores(stays: tuple[Stay, ...]) -> tuple[Stay, ...]:
    """Without the scores of a model that has other classes of stay: such patients are unscored, and counted as that."""
    return tuple(
        stay
        if stay.los_probabilities is None or len(stay.los_probabilities) == CLASSES
        else replace(stay, los_probabilities=None)
        for stay in stays
    )
