"""Calibration: how far probabilities can be taken at their word, and the fit that mends them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lang1.scores import Calibrator

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
    """(intercept, slope) of a logistic regression of the outcome on the predicted logit; (0, 1) is perfect.

    Both are held within +-50 and are NaN when every outcome is the same: no line fits then.
    """
    p = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-9, 1 - 1e-9)
    logit, y = np.log(p / (1 - p)), np.asarray(outcomes, dtype=np.float64)
    if y.min() == y.max():
        return float("nan"), float("nan")
    # Centred, so that intercept and slope hardly depend on each other and the search is short.
    centre = float(logit.mean())

    def loss(theta: Floats) -> tuple[float, Floats]:
        score = theta[0] + theta[1] * (logit - centre)
        residual = _sigmoid(score) - y
        value = np.logaddexp(0.0, score) - y * score
        return float(value.mean()), np.array([residual.mean(), (residual * (logit - centre)).mean()])

    at, slope = _minimum(loss, np.array([centre, 1.0]), [(-50.0, 50.0), (-50.0, 50.0)])
    return float(at - slope * centre), float(slope)


def fit_calibrator(
    logits: Sequence[Sequence[float]] | Floats, labels: npt.ArrayLike, *, ridge: float = 1.0
) -> Calibrator:
    """Vector scaling, by maximum likelihood on a validation set: one scale in [0.01, 100] and an offset an option.

    logits (n, K) of one task's options; labels (n,). `ridge` (in units of observations) holds the offset of an option
    that hardly occurs near zero, and the scale near one. The first option's offset is 0: only differences matter.
    The likelihood is concave in scale and offsets, so the bounded search finds its maximum from anywhere.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.intp)
    z = z - z.mean(axis=1, keepdims=True)  # the same probabilities, and numbers of a size that suits the search
    n, classes = z.shape
    target = np.eye(classes)[y]

    def loss(theta: Floats) -> tuple[float, Floats]:
        offsets = np.concatenate(([0.0], theta[1:]))
        shifted = theta[0] * z + offsets
        shifted -= shifted.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        residual = np.exp(log_p) - target
        pulled = theta - start
        value = -(target * log_p).sum() / n + 0.5 * ridge / n * (pulled**2).sum()
        gradient = np.concatenate(([(residual * z).sum()], residual[:, 1:].sum(axis=0))) / n + ridge / n * pulled
        return float(value), gradient

    start = np.concatenate(([1.0], np.zeros(classes - 1)))
    theta = _minimum(loss, start, [(0.01, 100.0), *[(-30.0, 30.0)] * (classes - 1)])
    return Calibrator(scale=float(theta[0]), offsets=(0.0, *(float(offset) for offset in theta[1:])))


def _sigmoid(score: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(score / 2)))


def _minimum(
    loss: Callable[[Floats], tuple[float, Floats]], start: Floats, bounds: list[tuple[float, float]]
) -> Floats:
    """Where a smooth convex loss is least within bounds. Raises ArithmeticError when the search does not end."""
    from scipy.optimize import minimize  # of the training extra; serving never fits

    found = minimize(  # type: ignore[no-untyped-call]
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-9}
    )
    # "Abnormal" ends are steps below the precision of the sum: the gradient says whether it is the minimum.
    inside = [low < x < high for x, (low, high) in zip(found.x, bounds, strict=True)]
    if not np.all(np.isfinite(found.x)) or np.abs(found.jac[inside]).max(initial=0.0) > 1e-4:
        raise ArithmeticError(f"calibration did not converge: {found.message}")
    return np.asarray(found.x)
