"""What moves the hazards of a day: weekday, unit, and days stayed.

Log odds of leaving = those of the stay-length model + effects, fitted by penalised maximum likelihood over
patient-days (normal priors around no effect). That also mends probabilities that are too bold or too shy in this
hospital.

Two fits, because a score that never came says something: who leaves at once leaves before the note is read. Unscored
patients and those still to come follow all past stays, scored or not; scored patients follow the days after the
score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serve.beds.arrays import Floats, Ints, logit, sigmoid, weighted_counts
from serve.beds.clock import HospitalClock
from serve.beds.patient_days import KINDS, SCHEDULED, SCORED, UNSCHEDULED, PatientDays, StayColumns
from serve.beds.stay_length import CLASSES, StayLength, class_of

WEEKDAYS = 7
# Standard deviations of the priors, in log odds.
_SD_WEEKDAY, _SD_STAYED, _SD_UNIT, _SD_UNIT_STAYED = 0.5, 0.3, 0.5, 0.25
_SWEEPS = 25


@dataclass(frozen=True, slots=True)
class DischargeEffects:
    """Log odds by kind of patient: `weekday` (3, 7), and `place` (U, 3, C classes stayed)."""

    weekday: Floats
    place: Floats

    def hazards(self, base: Floats, kind: Ints, midnights: Ints, unit: Ints, weekday: Ints) -> Floats:
        """Base hazards with the effects; all of one shape."""
        moved = self.weekday[kind, weekday] + self.place[unit, kind, class_of(midnights)]
        return sigmoid(logit(base) + moved)


def fit_discharge_effects(
    days: PatientDays, columns: StayColumns, stay_length: StayLength, clock: HospitalClock, units: int
) -> tuple[DischargeEffects, Floats]:
    """The effects, and the hazard (R,) of each patient-day by what was known of the patient at its start."""
    base = stay_length.base_hazards(days.midnights)
    came = np.where(columns.scheduled, SCHEDULED, UNSCHEDULED)[days.stay]
    weekday = clock.weekdays(days.day)
    known = days.day > columns.scored[days.stay]
    # The stayed levels of both ways in, (2 C), then of the scored, (C).
    all_week, all_place = _fit(days, base, weekday, (came - 1) * CLASSES + class_of(days.midnights), units, 2 * CLASSES)
    after = days[known]
    scored_base = stay_length.class_hazards(columns.probabilities[after.stay], after.midnights[:, None])[:, 0]
    own_week, own_place = _fit(after, scored_base, weekday[known], class_of(after.midnights), units, CLASSES)
    effects = DischargeEffects(
        np.stack([own_week, all_week, all_week]),
        np.concatenate([own_place, all_place], axis=1).reshape(units, len(KINDS), CLASSES),
    )
    hazard = effects.hazards(base, came, days.midnights, days.unit, weekday)
    scored = np.full(len(after), SCORED)
    hazard[known] = effects.hazards(scored_base, scored, after.midnights, after.unit, weekday[known])
    return effects, hazard


def _fit(
    days: PatientDays, base: Floats, weekday: Ints, stayed: Ints, units: int, levels: int
) -> tuple[Floats, Floats]:
    """Effects of the weekday (7,) and of unit and level (U, levels)."""
    factors = [
        _Factor(weekday, WEEKDAYS, _SD_WEEKDAY),
        _Factor(stayed, levels, _SD_STAYED),
        _Factor(days.unit, units, _SD_UNIT),
        _Factor(days.unit * levels + stayed, units * levels, _SD_UNIT_STAYED),
    ]
    score = logit(base)
    for _ in range(_SWEEPS):
        if max(factor.improve(score, days) for factor in factors) < 1e-3:
            break
    by_weekday, by_level, by_unit, by_both = (factor.effect for factor in factors)
    return by_weekday, by_both.reshape(units, levels) + by_level + by_unit[:, None]


class _Factor:
    """The levels of one factor, moved by Newton steps while the others stand still."""

    def __init__(self, codes: Ints, levels: int, sd: float) -> None:
        self.effect: Floats = np.zeros(levels)
        self._codes = codes
        self._precision = 1 / sd**2
        self._sum: Callable[[Floats], Floats] = lambda values: weighted_counts(codes, values, levels)

    def improve(self, score: Floats, days: PatientDays) -> float:
        """One step; `score` is changed in place. Returns the largest move."""
        expected = sigmoid(score)
        slope = self._sum(days.weight * (days.left - expected)) - self._precision * self.effect
        curvature = self._sum(days.weight * expected * (1 - expected)) + self._precision
        step = np.clip(slope / curvature, -1.0, 1.0)
        self.effect = self.effect + step
        score += step[self._codes]
        return float(np.abs(step).max(initial=0.0))
