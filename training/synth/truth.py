"""The true outcome probabilities of an encounter, as functions of its factors.

The intercepts and scales are frozen numbers, found by `python -m training.synth.calibrate`: class ratios are the
paper's of 2024 (Table B and 5.2.2) and the discrimination of the truth is chosen. LOS given death is very short or very
long, so that mortality informs LOS and not the reverse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lang1.tasks import BUILT_IN
from training.synth import payer_policy
from training.synth.conditions import CONDITIONS
from training.synth.factors import REASONS

Ints = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Columns = Mapping[str, Ints]
"""Factor name to its values; arrays that broadcast together. Context comes as age_band, sex and reason."""

# Upper bounds of the Charlson classes 0, 1-2, 3-4, 5-7; the registry's options are in this order.
CCI_BOUNDS = (0, 2, 4, 7)
CCI_CAP = 8


@dataclass(frozen=True, slots=True)
class Constants:
    """The calibrated numbers: logit = intercept + scale * score; LOS classes are cut at `los_cuts`."""

    readmission_intercept: float = -6.234
    readmission_scale: float = 1.000
    mortality_intercept: float = -7.419
    mortality_scale: float = 1.042
    los_cuts: tuple[float, float, float] = (2.306, 3.414, 4.809)
    los_scale: float = 1.026
    denial_intercept: float = -4.193
    denial_scale: float = 1.091


CONSTANTS = Constants()

LOS_GIVEN_DEATH = np.array([0.46, 0.07, 0.07, 0.40], dtype=np.float32)

READMISSION: dict[str, tuple[float, ...]] = {
    "prior_use": (0.0, 0.9, 1.7, 2.6),
    "adherence": (0.0, 0.6, 1.4),
    "support": (0.0, 0.5, 0.3, 1.6),
    "frailty": (0.0, 0.5, 1.0),
    "follow_up": (0.0, 0.5, 1.2),
    "disposition": (0.0, 0.4, 0.6, 1.9),
    "stability": (0.0, 0.8, 1.8),
    "pending": (0.0, 0.5),
    "teaching": (0.0, 0.7),
    "substance": (0.0, 0.9),
    "heart_failure_chronic": (0.0, 0.6),
    "pulmonary": (0.0, 0.4),
    "renal": (0.0, 0.5),
    "diabetes": (0.0, 0.15, 0.4),
    "liver": (0.0, 0.3, 0.9),
    "tumor": (0.0, 0.3, 0.5, 0.5, 1.0),
    "age_band": (-0.1, 0.0, 0.0, 0.1, 0.2),
    "reason": (-0.2, 0.0, 0.5, 0.4, 0.2, 0.1, 0.0, 0.0, -0.7, 0.0, 0.7, 0.3, -0.1, -0.1),
}
MORTALITY: dict[str, tuple[float, ...]] = {
    "severity": (0.0, 1.1, 2.8, 4.6),
    "trajectory": (-0.8, 0.0, 1.5),
    "code_status": (0.0, 1.4),
    "frailty": (0.0, 0.5, 1.2),
    "liver": (0.0, 0.2, 1.2),
    "tumor": (0.0, 0.2, 0.6, 0.4, 1.3),
    "renal": (0.0, 0.4),
    "heart_failure_chronic": (0.0, 0.3),
    "age_band": (-0.7, -0.3, 0.0, 0.4, 0.9),
    "reason": (-0.4, 0.3, 0.3, 0.1, 0.8, 0.2, 0.7, 0.1, -0.9, -0.4, 0.8, 0.0, -0.2, -0.4),
}
LENGTH_OF_STAY: dict[str, tuple[float, ...]] = {
    "plan": (0.0, 1.9, 4.0),
    "severity": (0.0, 1.0, 2.2, 3.0),
    "procedure": (0.0, 0.5, 1.8),
    "frailty": (0.0, 0.5, 1.1),
    "support": (0.0, 0.3, 0.5, 1.2),
    "trajectory": (-0.6, 0.0, 0.9),
    "bed_status": (0.0, -1.0),
    "diabetes": (0.0, 0.1, 0.4),
    "renal": (0.0, 0.4),
    "age_band": (-0.3, -0.1, 0.0, 0.1, 0.3),
    "reason": (-0.8, 0.2, 0.5, 0.2, 0.7, 0.1, 0.7, 0.6, -0.6, 0.1, 0.8, 0.0, -0.3, -0.7),
}
DENIAL: dict[str, tuple[float, ...]] = {
    "payer": (0.0, 0.3, 0.2, 0.9, 1.0, -0.5),
    "necessity": (0.0, 1.5),
    "network": (0.0, 0.3),
    "bed_status": (0.0, 0.2),
    "severity": (0.0, -0.3, -0.8, -1.2),
    "reason": (0.5, 0.0, -0.2, 0.0, -0.3, -0.1, -0.4, -0.3, 0.5, 0.2, 0.0, 0.0, 0.2, 0.6),
}
# Authorization matters by how the payer manages care: rows traditional Medicare, Medicaid, commercial PPO, commercial
# HMO, Medicare Advantage, self-pay; columns obtained, pending, absent, not required.
DENIAL_AUTHORIZATION = np.array(
    [
        [0.0, 0.1, 0.3, 0.0],
        [-0.4, 0.7, 1.5, -0.2],
        [-0.6, 0.9, 2.0, -0.2],
        [-0.8, 1.2, 2.9, 0.0],
        [-0.8, 1.3, 3.1, 0.1],
        [0.0, 0.0, 0.0, 0.0],
    ],
    dtype=np.float32,
)
DENIAL_OUT_OF_NETWORK = np.array([0.0, 0.4, 1.2, 2.1, 1.7, 0.0], dtype=np.float32)
# An inpatient order without criteria is what reviewers reject; observation without criteria much less so.
DENIAL_NECESSITY_INPATIENT = 1.0


@dataclass(frozen=True, slots=True)
class Shifts:
    """How the truth of N encounters differs from the usual. Arrays (N, 1) that broadcast with the columns."""

    logit: Mapping[str, Floats] = field(default_factory=dict)
    """Label rule to what is added to its logit."""
    policy: Floats | None = None
    """Share of the claims that are judged by the new payer policy, 0 to 1."""
    los_steps: Floats | None = None
    """(N, 1, 3), added to the logits of the steps to the second, third and fourth LOS class."""

    def added(self, rule: str, logit: Floats) -> Floats:
        """`logit` with the rule's shift."""
        return logit + self.logit[rule] if rule in self.logit else logit


USUAL = Shifts()


def task_name(label_rule: str) -> str:
    """The registry's name of the task with this label rule. Raises LookupError when there is none."""
    for task in BUILT_IN.values():
        if task.label_rule == label_rule:
            return task.name
    raise LookupError(f"no built-in task has label_rule {label_rule!r}")


def context_columns(context: npt.NDArray[np.int8]) -> dict[str, Ints]:
    """(N, 3) context to named columns of shape (N, 1)."""
    return {name: context[:, i : i + 1] for i, name in enumerate(("age_band", "sex", "reason"))}


def linear_score(effects: Mapping[str, tuple[float, ...]], columns: Columns) -> Floats:
    """Sum of the effects of the columns' values, float32, broadcast shape."""
    total: Floats = np.zeros(1, dtype=np.float32)
    for name, weights in effects.items():
        total = total + np.take(np.asarray(weights, dtype=np.float32), columns[name])
    return total


def policy_score(columns: Columns) -> Floats:
    """The score of denial under the new payer policy."""
    known = payer_policy.AUTHORIZATION[columns["payer"], columns["authorization"]]
    return np.asarray(linear_score(payer_policy.DENIAL, columns) + known, dtype=np.float32)


def denial_score(columns: Columns) -> Floats:
    payer, inpatient = columns["payer"], columns["bed_status"] == 0
    score = linear_score(DENIAL, columns)
    score = score + DENIAL_AUTHORIZATION[payer, columns["authorization"]]
    score = score + DENIAL_OUT_OF_NETWORK[payer] * columns["network"]
    extra = DENIAL_NECESSITY_INPATIENT * inpatient * columns["necessity"]
    return np.asarray(score + extra, dtype=np.float32)


def sigmoid(score: npt.NDArray[np.floating]) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(score, -60, 60))), dtype=np.float32)


def los_given_alive(score: Floats, constants: Constants, steps: Floats | None = None) -> Floats:
    """Ordinal logistic: (..., 4) probabilities of the LOS classes, given that the patient lives."""
    cuts = np.asarray(constants.los_cuts, dtype=np.float32)
    logit = constants.los_scale * (score[..., None] - cuts)
    above = sigmoid(logit if steps is None else logit + steps)
    ones = np.ones_like(above[..., :1])
    return np.asarray(np.concatenate([ones, above], axis=-1) - np.concatenate([above, 0 * ones], axis=-1))


def probabilities(
    columns: Columns,
    rules: Iterable[str] | None = None,
    constants: Constants = CONSTANTS,
    shifts: Shifts = USUAL,
) -> dict[str, Floats]:
    """Task name to P(option) (..., K) float32, for the tasks with these label rules; None for all of RULES."""
    return {task_name(rule): RULES[rule](columns, constants, shifts) for rule in (RULES if rules is None else rules)}


def _readmission(columns: Columns, c: Constants, shifts: Shifts) -> Floats:
    logit = c.readmission_intercept + c.readmission_scale * linear_score(READMISSION, columns)
    return _binary(sigmoid(shifts.added("readmission", logit)))


def _dies(columns: Columns, c: Constants, shifts: Shifts) -> Floats:
    logit = c.mortality_intercept + c.mortality_scale * linear_score(MORTALITY, columns)
    return sigmoid(shifts.added("in_hospital_mortality", logit))


def _mortality(columns: Columns, c: Constants, shifts: Shifts) -> Floats:
    return _binary(_dies(columns, c, shifts))


def stay_score(columns: Columns, c: Constants, shifts: Shifts) -> Floats:
    """The score that the LOS classes of those who live are cut from."""
    score = linear_score(LENGTH_OF_STAY, columns)
    longer = shifts.logit.get("length_of_stay")
    return score if longer is None else np.asarray(score + longer / np.float32(c.los_scale))


def _length_of_stay(columns: Columns, c: Constants, shifts: Shifts) -> Floats:
    dies = _dies(columns, c, shifts)[..., None]
    alive = los_given_alive(stay_score(columns, c, shifts), c, shifts.los_steps)
    return np.asarray((1 - dies) * alive + dies * LOS_GIVEN_DEATH, dtype=np.float32)


def _denial(columns: Columns, c: Constants, shifts: Shifts) -> Floats:
    logit = c.denial_intercept + c.denial_scale * denial_score(columns)
    denied = sigmoid(shifts.added("insurance_denial", logit))
    if shifts.policy is not None:
        anew = sigmoid(shifts.added("insurance_denial", payer_policy.logit_of(policy_score(columns))))
        denied = np.asarray((1 - shifts.policy) * denied + shifts.policy * anew, dtype=np.float32)
    return _binary(denied)


# Label rule to probabilities; the Charlson index is missing because it is no matter of chance.
RULES: dict[str, Callable[[Columns, Constants, Shifts], Floats]] = {
    "readmission": _readmission,
    "in_hospital_mortality": _mortality,
    "length_of_stay": _length_of_stay,
    "insurance_denial": _denial,
}


def _binary(yes: Floats) -> Floats:
    return np.stack([1 - yes, yes], axis=-1)


def charlson_weights() -> tuple[tuple[int, ...], ...]:
    """The weight of each value of each condition; value 0 weighs nothing."""
    return tuple((0, *(level.weight for level in condition.levels)) for condition in CONDITIONS)


def charlson_index(values: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """(N, F) values to the Charlson index (N,), without age points."""
    total = np.zeros(len(values), dtype=np.int64)
    for index, weights in enumerate(charlson_weights()):
        total += np.asarray(weights)[values[:, index]]
    return total


def convolve_points(total: Doubles, prior: Doubles, points: tuple[int, ...]) -> Doubles:
    """Add one condition to distributions of the index capped at CCI_CAP: (..., 9) and (..., V) to (..., 9)."""
    out = np.zeros_like(total)
    for value, weight in enumerate(points):
        mass = total * prior[..., value : value + 1]
        if weight == 0:
            out += mass
            continue
        out[..., weight:] += mass[..., :-weight]
        out[..., -1] += mass[..., -weight:].sum(axis=-1)
    return out


def charlson_class(index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Charlson index to the option's position in the registry."""
    return np.searchsorted(np.asarray(CCI_BOUNDS), index, side="left").astype(np.int64)


assert all(len(e["reason"]) == len(REASONS) for e in (READMISSION, MORTALITY, LENGTH_OF_STAY, DENIAL))
