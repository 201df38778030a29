"""The discrete factors of an encounter and their prior, given what every note states: age band, sex and reason.

Factors are independent given that context. It keeps the posterior of an unstated factor exact: prior times the
likelihood of what the note said or left out, one factor at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

AGE_BANDS: tuple[tuple[int, int], ...] = ((18, 34), (35, 49), (50, 64), (65, 79), (80, 95))
AGE_PRIOR = np.array([0.20, 0.19, 0.24, 0.25, 0.12])
SEXES = ("female", "male")
SEX_PRIOR = np.array([0.53, 0.47])

REASONS = (
    "chest_pain", "pneumonia", "heart_failure", "copd_exacerbation", "sepsis", "gi_bleed", "stroke", "hip_fracture",
    "elective_joint", "cellulitis", "cancer_complication", "hyperglycemia", "abdominal_pain", "syncope",
)  # fmt: skip
REASON = {name: index for index, name in enumerate(REASONS)}
# A reason that is a disease: later encounters of the patient keep it, so that the disease is not lost.
DISEASE_REASONS = frozenset(("heart_failure", "copd_exacerbation", "stroke", "cancer_complication", "hyperglycemia"))
_REASON_BASE = np.array([0.14, 0.11, 0.018, 0.020, 0.08, 0.08, 0.018, 0.05, 0.13, 0.10, 0.024, 0.022, 0.15, 0.08])
_REASON_AGE_SLOPE = np.array([0.0, 0.15, 0.7, 0.5, 0.2, 0.15, 0.5, 0.8, 0.35, -0.15, 0.0, -0.35, -0.35, 0.15])

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Factor:
    """One discrete factor. `base` is P(value) for a person of 50 to 64; `age` adds to each value's log-weight per band
    above that; `reason` adds to the log-weights for one admission reason; `male` for men."""

    name: str
    base: tuple[float, ...]
    age: tuple[float, ...] = ()
    reason: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    male: tuple[float, ...] = ()

    @property
    def levels(self) -> int:
        return len(self.base)

    def prior(self) -> Probabilities:
        """P(value | age band, sex, reason), float64 (A, 2, R, V)."""
        shape = (len(AGE_BANDS), len(SEXES), len(REASONS), self.levels)
        logits = np.zeros(shape) + np.log(np.asarray(self.base))
        if self.age:
            steps = np.arange(len(AGE_BANDS)) - 2.0
            logits += steps[:, None, None, None] * np.asarray(self.age)
        if self.male:
            logits[:, 1] += np.asarray(self.male)
        for reason, extra in self.reason.items():
            logits[:, :, REASON[reason]] += np.asarray(extra)
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def reason_prior() -> Probabilities:
    """P(reason | age band), float64 (A, R)."""
    logits = np.log(_REASON_BASE) + (np.arange(len(AGE_BANDS)) - 2.0)[:, None] * _REASON_AGE_SLOPE
    weights = np.exp(logits)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


SICK = ("sepsis", "stroke", "heart_failure", "cancer_complication", "pneumonia", "gi_bleed")
MILD = ("chest_pain", "elective_joint", "abdominal_pain", "syncope", "cellulitis")

ENCOUNTER_FACTORS: tuple[Factor, ...] = (
    Factor(
        "severity",
        (0.58, 0.27, 0.115, 0.035),
        age=(0.0, 0.05, 0.15, 0.2),
        reason=dict.fromkeys(SICK, (0.0, 0.3, 0.5, 0.6)) | dict.fromkeys(MILD, (0.0, -0.2, -0.5, -0.7)),
    ),
    Factor("trajectory", (0.38, 0.44, 0.18)),
    Factor("code_status", (0.90, 0.10), age=(0.0, 0.7), reason={"cancer_complication": (0.0, 0.7)}),
    Factor("frailty", (0.66, 0.24, 0.10), age=(0.0, 0.45, 0.7), reason={"hip_fracture": (0.0, 0.4, 0.6)}),
    Factor("support", (0.55, 0.29, 0.10, 0.06), age=(0.0, 0.15, 0.6, -0.5)),
    Factor(
        "procedure",
        (0.62, 0.24, 0.14),
        reason={"elective_joint": (0.0, 0.3, 1.8), "hip_fracture": (0.0, 0.3, 1.8), "chest_pain": (0.0, 0.2, -0.8)},
    ),
    Factor("plan", (0.45, 0.30, 0.25), reason=dict.fromkeys(SICK, (0.0, 0.2, 0.5))),
    Factor(
        "payer",
        (0.22, 0.19, 0.22, 0.15, 0.15, 0.07),
        age=(0.9, -0.1, -0.15, -0.15, 0.9, -0.4),
    ),
    Factor("authorization", (0.42, 0.24, 0.16, 0.18), reason={"elective_joint": (0.6, 0.3, 0.0, -0.8)}),
    Factor("necessity", (0.80, 0.20), reason=dict.fromkeys(MILD, (0.0, 0.4))),
    Factor("bed_status", (0.74, 0.26), reason=dict.fromkeys(MILD, (0.0, 0.4))),
    Factor("network", (0.84, 0.16)),
    Factor("prior_use", (0.58, 0.22, 0.12, 0.08), age=(0.0, 0.05, 0.1, 0.1)),
    Factor("adherence", (0.60, 0.24, 0.16)),
    Factor("follow_up", (0.50, 0.28, 0.22)),
    Factor("disposition", (0.58, 0.22, 0.15, 0.05), age=(0.0, 0.25, 0.6, -0.5)),
    Factor("stability", (0.62, 0.26, 0.12)),
    Factor("pending", (0.78, 0.22)),
    Factor("teaching", (0.74, 0.26), age=(0.0, 0.1)),
    Factor("substance", (0.85, 0.15), age=(0.0, -0.4), male=(0.0, 0.4)),
)


@cache
def all_factors() -> tuple[Factor, ...]:
    """Every factor in the order of the columns of `values`: the Charlson conditions, then the rest."""
    # Imported here because the conditions are built from Factor.
    from training.synth.conditions import CONDITIONS

    return tuple(condition.factor() for condition in CONDITIONS) + ENCOUNTER_FACTORS


@cache
def column(name: str) -> int:
    """Index of a factor in `values`. Raises ValueError for an unknown name."""
    return [factor.name for factor in all_factors()].index(name)


@dataclass(frozen=True, slots=True)
class CaseMix:
    """How a population differs from the first hospital's of 2024, as added log-weights. Hashable, to cache its tables.

    `ages` (A,) and `reasons` (R,) of the context; `factors` of a factor's values; empty for no difference.
    """

    ages: tuple[float, ...] = ()
    reasons: tuple[float, ...] = ()
    factors: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def with_conditions(self, by_weight: tuple[float, float, float]) -> CaseMix:
        """This mix with Charlson conditions of weight 1, 2 to 5 and 6 made more (or less) frequent."""
        from training.synth.conditions import CONDITIONS

        if not any(by_weight):
            return self
        known = dict(self.factors)
        for condition in CONDITIONS:
            before = known.get(condition.name, (0.0,) * (1 + len(condition.levels)))
            added = (by_weight[0 if each.weight == 1 else 1 if each.weight < 6 else 2] for each in condition.levels)
            known[condition.name] = (before[0], *(b + a for b, a in zip(before[1:], added, strict=True)))
        return CaseMix(self.ages, self.reasons, tuple(known.items()))


USUAL_MIX = CaseMix()


def _tilted(table: Probabilities, added: tuple[float, ...]) -> Probabilities:
    if not added:
        return table
    weights = table * np.exp(np.asarray(added))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


@cache
def age_prior(mix: CaseMix = USUAL_MIX) -> Probabilities:
    """P(age band), float64 (A,)."""
    return _tilted(AGE_PRIOR, mix.ages)


@cache
def reasons_by_age(mix: CaseMix = USUAL_MIX) -> Probabilities:
    """P(reason | age band) of a case mix, float64 (A, R)."""
    return _tilted(reason_prior(), mix.reasons)


@cache
def priors(mix: CaseMix = USUAL_MIX) -> tuple[Probabilities, ...]:
    """The prior table (A, 2, R, V) of each factor, in column order."""
    added = dict(mix.factors)
    return tuple(_tilted(factor.prior(), added.get(factor.name, ())) for factor in all_factors())
