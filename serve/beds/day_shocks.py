"""How much more the departures of a day scatter than independent patients' would: a shock that a day's patients
share.

It has a part of the whole hospital and a part of each unit, normal in log odds; the variances are those that explain
the squared residuals of the daily counts (method of moments).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve.beds.arrays import Floats
from serve.beds.patient_days import PatientDays

_DEFAULT_VARIANCE = 0.03
"""Of each part, log odds squared, before there are data."""
_PRIOR_DAYS = 10.0
WEEKDAYS = 7


@dataclass(frozen=True, slots=True)
class DayShocks:
    """Variances, in log odds squared."""

    hospital: float
    unit: float


def fit_day_shocks(days: PatientDays, hazard: Floats, units: int) -> DayShocks:
    """E (count - expected)^2 = sum of h(1-h) + variance * (sum of h(1-h))^2, by unit and for the hospital."""
    if not len(days):
        return DayShocks(_DEFAULT_VARIANCE, _DEFAULT_VARIANCE)
    first = days.day.min()
    count = int(days.day.max() - first + 1)
    cell = (days.day - first) * units + days.unit

    def table(values: Floats) -> Floats:
        return np.bincount(cell, values, minlength=count * units).reshape(count, units).astype(np.float64)

    residual, spread = table(days.left - hazard), table(hazard * (1 - hazard))
    rows = np.maximum(np.bincount(days.day - first, minlength=count), 1)
    weight = np.bincount(days.day - first, days.weight, minlength=count) / rows  # one weight a day
    by_unit, together = (spread**2).sum(axis=1), spread.sum(axis=1) ** 2
    prior, prior_together = _PRIOR_DAYS * by_unit.mean(), _PRIOR_DAYS * together.mean()
    own = float(weight @ by_unit + prior)
    shared = float(weight @ together + prior_together)
    # The weekdays' effects were fitted on these residuals, and their error comes on top in the days to come.
    used = weight.sum() ** 2 / (weight**2).sum()
    residual = residual * np.sqrt(min((used + WEEKDAYS) / max(used - WEEKDAYS, 1.0), 3.0))
    excess_units = weight @ (residual**2 - spread).sum(axis=1) + 2 * _DEFAULT_VARIANCE * prior
    excess_total = weight @ (residual.sum(axis=1) ** 2 - spread.sum(axis=1))
    excess_total += _DEFAULT_VARIANCE * (prior_together + prior)
    # excess_units = (hospital + unit) * own; excess_total = hospital * shared + unit * own
    both = max(float(excess_units) / own, 0.0)
    if shared - own < 1e-9 * shared:
        return DayShocks(both, 0.0)  # one unit: the two parts cannot be told apart
    hospital = max((float(excess_total) - both * own) / (shared - own), 0.0)
    return DayShocks(hospital, max(both - hospital, 0.0))
