"""A forecast of beds by unit and day, as laws of counts; aggregate from here on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve.beds.arrays import Flags, Floats, Ints
from serve.beds.census import HospitalCensus, Stay
from serve.beds.clock import CensusDay, HospitalClock
from serve.beds.counts import Flow, Group, Laws, hospital_laws, unit_laws
from serve.beds.flows import Horizon, Rows, horizon_of, patient_rows, scheduled_rows, unscheduled_rows
from serve.beds.model import BedModel
from serve.beds.patient_days import UnitIndex, is_in
from serve.beds.shocks import NODES, ShockScale, shock_scales, shocked


@dataclass(frozen=True, slots=True)
class BedForecast:
    """Laws of units (U, K, L) and of the hospital (K, L); expectations (U, K), which add up to the hospital's.

    Departures of the first day are those from now on. `net_transfers` are moves in less moves out.
    """

    units: UnitIndex
    days: tuple[CensusDay, ...]
    unit_occupancy: Laws
    unit_departures: Laws
    occupancy: Laws
    departures: Laws
    expected_occupancy: Floats
    expected_departures: Floats
    expected_scheduled: Floats
    expected_unscheduled: Floats
    net_transfers: Floats


def forecast_beds(census: HospitalCensus, model: BedModel, clock: HospitalClock, days: int) -> BedForecast:
    """The next `days` census days. Raises KeyError for a unit that the model has not seen."""
    today, hour = clock.day_and_hour([census.now])
    now_day = int(today[0])
    census_days = clock.census_days(census.now, days)
    horizon = horizon_of(clock, census_days, now_day, float(hour[0]))
    stays = [stay for stay in census.stays if is_in(stay, census)]
    ahead = [
        arrival
        for arrival in census.scheduled
        if arrival.came is None
        and now_day <= arrival.at.astimezone(clock.timezone).toordinal() < now_day + horizon.days
    ]
    surge, dispersions = _surge_today(census, stays, model, clock, now_day, horizon.hour)
    known = _joined(
        patient_rows(model, stays, clock, now_day, horizon), scheduled_rows(model, ahead, clock, now_day, horizon)
    )
    unknown = unscheduled_rows(model, horizon, surge)
    return _Calculation(model, census_days, horizon, known, unknown, dispersions).forecast()


def _surge_today(
    census: HospitalCensus, stays: list[Stay], model: BedModel, clock: HospitalClock, now_day: int, hour: float
) -> tuple[float, tuple[float, float, float, float]]:
    """How busy today is, given who has come so far (gamma shock, Bayes): its mean, and what is left of its
    dispersion.

    Returns the mean, and the dispersions (of a unit today, later; of the hospital today, later).
    """
    came = [s for s in (*stays, *census.history) if not s.scheduled and s.admitted <= census.now]
    so_far = int((clock.day_and_hour(s.admitted for s in came)[0] == now_day).sum()) if came else 0
    weekday = int(clock.weekdays(np.array([now_day]))[0])
    expected = float(model.arrivals.rate[0, :, weekday].sum() * model.hours.come.happened(hour))
    total, of_unit = model.arrivals.dispersion, model.arrivals.unit_dispersion
    surge = (1 + total * so_far) / (1 + total * expected)
    left = total / (1 + total * so_far)
    return surge, (of_unit * left / total if total > 0 else of_unit, of_unit, left, total)


def _joined(one: Rows, other: Rows) -> Rows:
    def both(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.concatenate([getattr(one, name), getattr(other, name)])

    joined = {
        name: both(name) for name in ("unit", "entry", "hazards", "came_today", "first_share", "arrived", "scale")
    }
    return Rows(**joined, later_share=one.later_share, ends=one.ends)  # type: ignore[arg-type]


class _Calculation:
    """The laws of one forecast: `known` rows are Bernoulli, `unknown` ones Poisson."""

    def __init__(
        self,
        model: BedModel,
        census_days: tuple[CensusDay, ...],
        horizon: Horizon,
        known: Rows,
        unknown: Rows,
        dispersions: tuple[float, float, float, float],
    ) -> None:
        self._model, self._census_days, self._horizon = model, census_days, horizon
        self._known, self._unknown = known, unknown
        self._dispersions = dispersions
        self._units, self._days = len(model.units), len(census_days)
        every = _joined(known, unknown)
        present = every.present(every.hazards)
        self._for_unit, self._for_total = shock_scales(
            model.shocks, every.hazards, present, every.scale, every.unit, horizon.ends, self._units
        )
        self._where, self._where_before = self._places(every)
        self._count = len(known.unit)

    def forecast(self) -> BedForecast:
        unit_in, unit_out = (self._unit_laws(self._for_unit, leaving) for leaving in (False, True))
        all_in, all_out = (self._hospital_laws(self._for_total, leaving) for leaving in (False, True))
        occupancy, departures = self._expected(self._where, False), self._expected(self._where_before, True)
        scheduled, unscheduled = (self._entering(rows) for rows in (self._known, self._unknown))
        now = np.bincount(self._known.unit[self._known.entry < 0], minlength=self._units)[:, None].astype(np.float64)
        before = np.concatenate([now, occupancy[:, :-1]], axis=1)
        moved = occupancy - before + departures - scheduled - unscheduled
        return BedForecast(
            self._model.units, self._census_days, unit_in, unit_out, all_in, all_out,
            occupancy, departures, scheduled, unscheduled, moved,
        )  # fmt: skip

    def _places(self, rows: Rows) -> tuple[Floats, Floats]:
        """(R, K, U): in which unit a row is at each census, and at the start of each census day, if in at all."""
        horizon = self._horizon
        settled = self._model.transfers.paths(horizon.days + 1)
        new, old = self._model.transfers.paths_from_now(1 - horizon.hour / 24, horizon.days + 1)
        begun = horizon.census_hour / 24
        begun_today = (horizon.census_hour - horizon.hour) / max(24 - horizon.hour, 1e-9)
        where = np.zeros((len(rows.unit), self._days, self._units))
        for k, end in enumerate(horizon.ends):
            share = begun_today if end == 0 else begun
            came, before = ((1 - share) * paths[end] + share * paths[end + 1] for paths in (new, old))
            now = np.where(rows.came_today[:, None], came[rows.unit], before[rows.unit])
            crossed = np.clip(end - rows.entry, 0, None)
            later = (1 - begun) * settled[crossed, rows.unit] + begun * settled[crossed + 1, rows.unit]
            where[:, k] = np.where((rows.entry < 0)[:, None], now, later)
        own = np.eye(self._units)[rows.unit][:, None]
        earlier = np.concatenate([own, where[:, :-1]], axis=1)
        # Nobody has moved before coming.
        entered = rows.entry[:, None] >= np.concatenate([[0], horizon.ends[:-1]])[None, :]
        return where, np.where(entered[..., None], own, earlier)

    def _shares(self, rows: Rows, scale: ShockScale, leaving: bool) -> Floats:
        """(J, R, K): share of each row present at the census, or leaving in the census day, under each node."""
        horizon = self._horizon
        out = np.empty((len(NODES), len(rows.unit), self._days))
        for k, end in enumerate(horizon.ends):
            if not leaving:
                out[..., k] = rows.present_at(shocked(rows.hazards[:, : end + 1], float(scale.occupancy[k])), k)
                continue
            # The shock is that of the census day; at a midnight census the day before is over.
            begin = int(horizon.ends[k - 1]) + int(horizon.census_hour == 24) if k else 0
            hazards = np.repeat(rows.hazards[None, :, : end + 1], len(NODES), axis=0)
            hazards[:, :, begin:] = shocked(rows.hazards[:, begin : end + 1], float(scale.departures[k]))
            arrived_before = rows.arrived[:, k - 1] if k else 0.0
            stayed_before = rows.present_at(hazards, k - 1) if k else 0.0
            out[..., k] = rows.arrived[:, k] - arrived_before - rows.present_at(hazards, k) + stayed_before
        return np.maximum(out, 0.0)

    @staticmethod
    def _left(rows: Rows, present: Floats) -> Floats:
        """(R, K): share leaving in each census day."""
        gone = rows.arrived - present
        return np.diff(gone, axis=1, prepend=0.0)

    def _unit_laws(self, scale: ShockScale, leaving: bool) -> Laws:
        where = self._where_before if leaving else self._where
        known = self._shares(self._known, scale, leaving) * self._known.scale[:, None]
        key = (self._known.unit * (self._horizon.days + 1) + self._known.entry + 1) * 2 + self._known.came_today
        groups = [
            Group(known[:, rows], where[: self._count][rows[0]])
            for rows in (np.flatnonzero(key == each) for each in np.unique(key))
        ]
        return unit_laws(groups, self._flows(scale, leaving, where, self._dispersions[:2]), self._days, self._units)

    def _hospital_laws(self, scale: ShockScale, leaving: bool) -> Laws:
        where = self._where_before if leaving else self._where
        known = self._shares(self._known, scale, leaving) * self._known.scale[:, None]
        return hospital_laws(known, self._flows(scale, leaving, where, self._dispersions[2:]), self._days)

    def _flows(self, scale: ShockScale, leaving: bool, where: Floats, dispersion: tuple[float, float]) -> list[Flow]:
        shares = self._shares(self._unknown, scale, leaving) * self._unknown.scale[:, None]
        return [
            Flow(
                np.einsum("jrk,rku->jku", shares[:, rows], where[self._count :][rows], optimize=True),
                dispersion[min(day, 1)],
            )
            for day in range(self._horizon.days)
            if (rows := self._entering_on(day)).any()
        ]

    def _entering_on(self, day: int) -> Flags:
        return np.asarray(self._unknown.entry == day)

    def _expected(self, where: Floats, leaving: bool) -> Floats:
        """(U, K) without the shock, so that the units add up to the hospital."""
        every = _joined(self._known, self._unknown)
        present = every.present(every.hazards)
        shares = self._left(every, present) if leaving else present
        return np.asarray(np.einsum("rk,rku->uk", shares * every.scale[:, None], where, optimize=True))

    def _entering(self, rows: Rows) -> Floats:
        """(U, K): expected admissions within each census day."""
        came = np.diff(rows.arrived * rows.scale[:, None], axis=1, prepend=0.0)
        came = np.where((rows.entry < 0)[:, None], 0.0, came)
        unit: Ints = rows.unit
        return np.stack([np.bincount(unit, came[:, k], minlength=self._units) for k in range(self._days)], axis=1)
