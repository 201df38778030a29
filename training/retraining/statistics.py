"""Calibration and Brier score of a case-control sample, weighted back to the population it was drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_CLIP = 1e-9
_STEPS = 100


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """`intercept`: calibration in the large, the shift of the logit that makes the mean right at slope 1; 0 is perfect.
    `slope`: of the logistic regression of the outcome on the logit, its own intercept free; 1 is perfect."""

    intercept: float
    slope: float


def weighted_calibration(
    probabilities: npt.ArrayLike, outcomes: npt.ArrayLike, weights: npt.ArrayLike
) -> CalibrationFit:
    """Both by maximum likelihood. All (n,); outcomes 0 or 1. NaN when one outcome alone occurs, or nothing fits."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), _CLIP, 1 - _CLIP)
    y, w = np.asarray(outcomes, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if y.min() == y.max():
        return CalibrationFit(math.nan, math.nan)
    w = w / w.sum()
    logit = np.log(p / (1 - p))
    (intercept,) = _fitted(np.ones((len(p), 1)), y, w, logit)
    # Centred, so that the two hardly depend on each other.
    centred = logit - float((w * logit).sum())
    _, slope = _fitted(np.stack([np.ones(len(p)), centred], axis=1), y, w, np.zeros(len(p)))
    return CalibrationFit(float(intercept), float(slope))


def _fitted(design: Floats, y: Floats, w: Floats, offset: Floats) -> Floats:
    """Coefficients of a weighted logistic regression by Newton's method with halved steps; NaN where it finds none."""
    beta = np.zeros(design.shape[1])

    def loss(at: Floats) -> float:
        score = offset + design @ at
        return float((w * (np.logaddexp(0.0, score) - y * score)).sum())

    now = loss(beta)
    for _ in range(_STEPS):
        fitted = 0.5 * (1 + np.tanh((offset + design @ beta) / 2))
        gradient = design.T @ (w * (fitted - y))
        if np.abs(gradient).max() < 1e-12:
            return beta
        hessian = (design * (w * fitted * (1 - fitted))[:, None]).T @ design
        try:
            step = np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:
            break
        size = 1.0
        while loss(beta - size * step) > now + 1e-15 and size > 1e-9:
            size /= 2
        beta = beta - size * step
        after = loss(beta)
        if now - after < 1e-15:
            return beta
        now = after
    return np.full(design.shape[1], np.nan)


@dataclass(frozen=True, slots=True)
class BrierComparison:
    """Weighted mean squared errors, and the one-sided lower bound of one's excess over the other's."""

    one: float
    other: float
    difference: float
    lower: float


def compare_brier(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    outcomes: npt.ArrayLike,
    *,
    groups: npt.ArrayLike,
    weights: npt.ArrayLike,
    confidence: float,
) -> BrierComparison:
    """Brier scores of two models on the same rows, rows of a patient together. All (n,)."""
    p, q, y = (np.asarray(each, dtype=np.float64) for each in (one, other, outcomes))
    w = np.asarray(weights, dtype=np.float64)
    w = w / w.sum()
    gap = (p - y) ** 2 - (q - y) ** 2
    difference = float((w * gap).sum())
    member = np.unique(np.asarray(groups), return_inverse=True)[1]
    sums = np.bincount(member, weights=w * (gap - difference))
    error = math.sqrt(float(sums @ sums) * len(sums) / max(1, len(sums) - 1))
    lower = difference - NormalDist().inv_cdf(confidence) * error
    return BrierComparison(float((w * (p - y) ** 2).sum()), float((w * (q - y) ** 2).sum()), difference, lower)
