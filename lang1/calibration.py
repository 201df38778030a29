"""Calibration: how far probabilities can be taken at their word, and the fit that mends them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lang1.scores import Calibrator

if TYPE_CHECKING:
    from collections.abc import Sequence

ECE_BINS = 15
Floats = npt.NDArray[np.float64]


def expected_calibration_error(probabilities: npt.ArrayLike, outcomes: npt.ArrayLike, bins: int = ECE_BINS) -> float:
    """ECE with equal-width bins (paper, 5.5: 15). probabilities (n,) of an event; outcomes (n,) in [0, 1]."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    which = np.minimum((p * bins).astype(np.intp), bins - 1)
    gap = np.bincount(which, weights=p - y, minlength=bins)
    return float(np.abs(gap).sum() / len(p))


def perfect_ece_bound(
    probabilities: npt.ArrayLike, *, quantile: float = 0.99, draws: int = 500, seed: int = 3407
) -> float:
    """The ECE that a perfectly calibrated model of this size stays under in `quantile` of samples.

    A fixed bound means nothing: the ECE of a perfect model falls with the number of rows.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    rng = np.random.default_rng(seed)
    return float(np.quantile([expected_calibration_error(p, rng.random(len(p)) < p) for _ in range(draws)], quantile))


def calibration_line(probabilities: npt.ArrayLike, outcomes: npt.ArrayLike) -> tuple[float, float]:
    """(intercept, slope) of a logistic regression of the outcome on the predicted logit; (0, 1) is perfect."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-9, 1 - 1e-9)
    logit, y = np.log(p / (1 - p)), np.asarray(outcomes, dtype=np.float64)
    intercept, slope = 0.0, 1.0
    for _ in range(50):
        # Clipped: on a handful of rows that separate perfectly the line has no end.
        fitted = 1 / (1 + np.exp(-np.clip(intercept + slope * logit, -35, 35)))
        w = np.maximum(fitted * (1 - fitted), 1e-12)
        gradient = np.array([(y - fitted).sum(), ((y - fitted) * logit).sum()])
        hessian = np.array([[w.sum(), (w * logit).sum()], [(w * logit).sum(), (w * logit**2).sum()]])
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        intercept, slope = intercept + float(step[0]), slope + float(step[1])
        if np.abs(step).max() < 1e-9:
            break
    return intercept, slope


def fit_calibrator(
    logits: Sequence[Sequence[float]] | Floats, labels: npt.ArrayLike, *, ridge: float = 1.0
) -> Calibrator:
    """Vector scaling by Newton steps on the log-likelihood of a validation set: one scale, an offset an option.

    logits (n, K) of one task's options; labels (n,). `ridge` (in units of observations) holds the offset of an option
    that hardly occurs near zero, and the scale near one. The first option's offset is 0: only differences matter.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.intp)
    n, classes = z.shape
    theta = np.zeros(classes)  # [log-free scale, offsets of options 1..K-1]
    theta[0] = 1.0
    target = np.eye(classes)[y]
    prior = theta.copy()
    for _ in range(100):
        shifted = theta[0] * z + np.concatenate(([0.0], theta[1:]))
        shifted -= shifted.max(axis=1, keepdims=True)
        p = np.exp(shifted)
        p /= p.sum(axis=1, keepdims=True)
        # features[:, k, j]: derivative of option k's score by parameter j
        features = np.zeros((n, classes, classes))
        features[:, :, 0] = z
        features[:, 1:, 1:] = np.eye(classes - 1)
        mean = np.einsum("nk,nkj->nj", p, features)
        gradient = np.einsum("nk,nkj->j", target - p, features) - ridge * (theta - prior)
        centred = features - mean[:, None, :]
        hessian = np.einsum("nk,nki,nkj->ij", p, centred, centred) + ridge * np.eye(classes)
        step = np.linalg.solve(hessian, gradient)
        theta += step
        if np.abs(step).max() < 1e-8:
            break
    scale = float(max(theta[0], 1e-3))
    return Calibrator(scale=scale, offsets=(0.0, *(float(offset) for offset in theta[1:])))
