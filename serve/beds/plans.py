"""Planned discharge dates: how they are kept in this hospital, and what it says that a patient has none.

Looked at from each morning of the past: of the patients whose plan was known and lay `a` days ahead, who left `j`
days later? That is the question that a forecast asks, so plans that are put off, forgotten or entered late need no
theory. Where the past has few such mornings, or the record does not say when plans were entered, a general table
stands in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve.beds.arrays import Flags, Floats, Ints, logit, sigmoid
from serve.beds.patient_days import NO_DAY, PatientDays, StayColumns

FURTHEST_PAST, FURTHEST_AHEAD = -3, 7
"""A plan longer overdue is no plan any more; one further ahead counts as this far, less the days."""
LEADS = 7
_ABSENT_LEADS = 4
_MORNING = 8 / 24
_SD_ABSENT = 0.5
_PRIOR_MORNINGS = 15.0
# The general table: a plan is kept in seven of ten cases, give or take these days, and else says nothing.
_TRUST = 0.7
_AROUND = {-2: 0.02, -1: 0.08, 0: 0.60, 1: 0.17, 2: 0.07, 3: 0.04, 4: 0.02}
_OTHERWISE = 0.17
"""Hazard of a patient in general."""


@dataclass(frozen=True, slots=True)
class Plans:
    """`hazards` (A, LEADS): P(leaves j days from now | still in then, plan a days ahead), a from FURTHEST_PAST on.

    `absent` (leads,): log odds of leaving 0, 1, ... days from now for a patient without a plan: who leaves soon has
    one.
    """

    hazards: Floats
    absent: Floats

    def apply(self, hazards: Floats, ahead: Ints, slept: Flags) -> Floats:
        """Hazards (N, D) of today and the days after; `ahead` (N,) days to the planned one, NO_PLAN without a plan.

        `slept` (N,): here since before today, so that a missing plan says something.
        """
        changed = hazards.copy()
        for day in range(min(LEADS, hazards.shape[1])):
            # A far plan comes nearer with the days.
            further = np.maximum(ahead - FURTHEST_AHEAD, 0)
            lead = np.maximum(day - further, 0)
            row = np.clip(ahead, FURTHEST_PAST, FURTHEST_AHEAD) - FURTHEST_PAST
            planned = (ahead >= FURTHEST_PAST) & (ahead < NO_PLAN)
            changed[:, day] = np.where(planned, self.hazards[row, lead], changed[:, day])
            if day < len(self.absent):
                without = sigmoid(logit(hazards[:, day]) + self.absent[day])
                changed[:, day] = np.where(slept & (ahead >= NO_PLAN), without, changed[:, day])
        return changed


NO_PLAN = np.int64(1000)


def fit_plans(days: PatientDays, columns: StayColumns, hazard: Floats, today: int) -> Plans:
    """`hazard` (R,): of each patient-day, plans aside."""
    table = general_table()
    if not (columns.plan_known < NO_DAY).any():
        return Plans(table, np.zeros(_ABSENT_LEADS))
    known = columns.plan_known[days.stay] <= days.day + _MORNING
    ahead = np.where(known, columns.planned[days.stay] - days.day, NO_PLAN)
    near = (ahead >= FURTHEST_PAST) & (ahead <= FURTHEST_AHEAD)
    stays = columns.left[days.stay[near]] - days.day[near]
    seen = today - 1 - days.day[near]
    row, weight = ahead[near] - FURTHEST_PAST, days.weight[near]
    left, at_risk = _PRIOR_MORNINGS * table, np.full(table.shape, _PRIOR_MORNINGS)
    for lead in range(LEADS):
        at_risk[:, lead] += np.bincount(row, weight * ((stays >= lead) & (seen >= lead)), minlength=len(table))
        left[:, lead] += np.bincount(row, weight * ((stays == lead) & (seen >= lead)), minlength=len(table))
    return Plans(left / at_risk, _absent(days, columns, hazard))


def general_table() -> Floats:
    """(A, LEADS)"""
    table = np.empty((FURTHEST_AHEAD - FURTHEST_PAST + 1, LEADS))
    for row, ahead in enumerate(range(FURTHEST_PAST, FURTHEST_AHEAD + 1)):
        kept = np.array([_AROUND.get(day - ahead, 0.0) for day in range(60)])
        other = _OTHERWISE * (1 - _OTHERWISE) ** np.arange(60)
        believed = _TRUST * kept.sum()
        law = (_TRUST * kept + (1 - _TRUST) * other) / (believed + 1 - _TRUST)
        still = 1 - np.concatenate([[0.0], np.cumsum(law)[:-1]])
        table[row] = (law / still)[:LEADS]
    return np.clip(table, 1e-3, 0.98)


def _absent(days: PatientDays, columns: StayColumns, hazard: Floats) -> Floats:
    """Log odds by lead, from the patients for whom no plan had been entered on the morning that many days before."""
    effect = np.zeros(_ABSENT_LEADS)
    for lead in range(_ABSENT_LEADS):
        morning = days.day - lead + _MORNING
        # In on that morning: somebody who came later in the day had no time for a plan.
        rows = (columns.plan_known[days.stay] > morning) & (columns.admitted[days.stay] < days.day - lead)
        score, left, weight = logit(hazard[rows]), days.left[rows], days.weight[rows]
        for _ in range(8):
            expected = sigmoid(score + effect[lead])
            slope = (weight * (left - expected)).sum() - effect[lead] / _SD_ABSENT**2
            effect[lead] += slope / ((weight * expected * (1 - expected)).sum() + 1 / _SD_ABSENT**2)
    return effect
