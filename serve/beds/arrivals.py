"""How many come: unscheduled admissions by unit and weekday, late bookings, and how often the scheduled ones come.

Counts scatter more than Poisson's; a gamma-distributed shock a day makes them negative binomial, fitted by moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve.beds.arrays import Flags, Floats, Ints

WEEKDAYS = 7
LEADS = 15
"""Days ahead for which late bookings are counted, 0 to 14."""
_LEVEL_DAYS = 7.0
"""Days at the hospital's rate spread evenly that a unit's rate starts with."""
_WEEKDAY_WEEKS = 4.0
_DEFAULT_DISPERSION = 0.02
_DISPERSION_DAYS = 14.0
_SHOW_PRIOR = (19.0, 1.0)


@dataclass(frozen=True, slots=True)
class ArrivalRates:
    """`rate` (L, U, 7): expected admissions of a day that are not known of L days before, by unit and weekday.

    `dispersion` and `unit_dispersion`: variance = mean + dispersion * mean^2, of the hospital's count and of a
    unit's.
    `unscheduled_share` (U, 7) of the rate with lead 0.
    """

    rate: Floats
    dispersion: float
    unit_dispersion: float
    show_rate: float


@dataclass(frozen=True, slots=True)
class PastArrivals:
    """N admissions within the window. `lead` is the days from booking to admission; 0 for an unscheduled one."""

    day: Ints
    unit: Ints
    lead: Ints
    unscheduled: Flags


def fit_arrivals(
    past: PastArrivals, days: Ints, weekdays: Ints, weight: Floats, units: int, came: int, stayed_away: int
) -> ArrivalRates:
    """`days` (D,) of the window with their weekdays and weights; `came` and `stayed_away` count past bookings."""
    show = (_SHOW_PRIOR[0] + came) / (sum(_SHOW_PRIOR) + came + stayed_away)
    counts = np.stack([_counts(past, past.unscheduled | (past.lead < lead), days, units) for lead in range(LEADS)])
    rate = np.stack([_rates(each, weekdays, weight) for each in counts])
    # Dispersion of what is not known a week ahead: the widest of the leads that matter.
    expected = rate[0][:, weekdays].T
    total, of_units = _dispersions(counts[0], expected, weight)
    return ArrivalRates(rate, total, of_units, float(show))


def _counts(past: PastArrivals, chosen: Flags, days: Ints, units: int) -> Floats:
    """(D, U)"""
    if not len(days):
        return np.zeros((0, units))
    cell = (past.day[chosen] - days[0]) * units + past.unit[chosen]
    return np.bincount(cell, minlength=len(days) * units).reshape(len(days), units).astype(np.float64)


def _rates(counts: Floats, weekdays: Ints, weight: Floats) -> Floats:
    """(U, 7): level of the unit times the hospital's week, drawn towards that where a unit's week differs."""
    units = counts.shape[1]
    seen = float(weight.sum())
    total = weight @ counts
    even = total.sum() / units / max(seen, 1.0)
    level = (total + _LEVEL_DAYS * even) / (seen + _LEVEL_DAYS)
    week_weight = np.bincount(weekdays, weight, minlength=WEEKDAYS)
    week_total = np.bincount(weekdays, weight * counts.sum(axis=1), minlength=WEEKDAYS)
    prior = _WEEKDAY_WEEKS * level.sum()
    week = (week_total + prior) / (week_weight * level.sum() + prior) if level.sum() > 0 else np.ones(WEEKDAYS)
    own = np.stack([np.bincount(weekdays, weight * counts[:, unit], minlength=WEEKDAYS) for unit in range(units)])
    return np.asarray((own + _WEEKDAY_WEEKS * level[:, None] * week) / (week_weight + _WEEKDAY_WEEKS))


def _dispersions(counts: Floats, expected: Floats, weight: Floats) -> tuple[float, float]:
    """Moments: variance beyond Poisson's over the squared mean, of the total and pooled over units."""
    if not len(counts):
        return _DEFAULT_DISPERSION, _DEFAULT_DISPERSION
    used = weight.sum() ** 2 / (weight**2).sum()
    # A mean for each weekday was fitted on these counts, and its error comes on top in the days to come.
    freedom = min((used + WEEKDAYS) / max(used - WEEKDAYS, 1.0), 3.0)

    def dispersion(count: Floats, mean: Floats) -> float:
        square = mean**2
        prior = _DISPERSION_DAYS * square.mean(axis=0)
        excess = weight @ (freedom * (count - mean) ** 2 - mean) + _DEFAULT_DISPERSION * prior
        return float(max(excess.sum() / max((weight @ square + prior).sum(), 1e-12), 0.0))

    return dispersion(counts.sum(axis=1)[:, None], expected.sum(axis=1)[:, None]), dispersion(counts, expected)
