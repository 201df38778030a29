"""AUROC with probabilities as soft labels, so that rare events do not drown in sampling noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def soft_auroc(positive: npt.NDArray[np.floating], score: npt.NDArray[np.floating]) -> float:
    """AUROC of `score` (N,) where row i counts as positive with weight `positive[i]` and negative with the rest.

    0/1 labels give the ordinary AUROC (ties count half). nan when a class has no weight.
    """
    weight = positive.astype(np.float64)
    _, inverse = np.unique(score, return_inverse=True)
    positives = np.bincount(inverse, weights=weight)
    negatives = np.bincount(inverse, weights=1.0 - weight)
    total = positives.sum() * negatives.sum()
    if total <= 0:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + 0.5 * negatives)).sum() / total)


def macro_soft_auroc(truth: npt.NDArray[np.floating], scores: npt.NDArray[np.floating]) -> float:
    """One-versus-rest mean over K options of (N, K) truth and scores; for two options that of the second one."""
    if truth.shape[1] == 2:
        return soft_auroc(truth[:, 1], scores[:, 1])
    return float(np.nanmean([soft_auroc(truth[:, k], scores[:, k]) for k in range(truth.shape[1])]))
