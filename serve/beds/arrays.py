"""Array types and the two functions that every part of the forecast needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Complexes = NDArray[np.complex128]

_LEAST = 1e-9


def weighted_counts(codes: Ints, weights: Floats, size: int) -> Floats:
    """Sum of the weights of each code, (size,)."""
    return np.bincount(codes, weights, minlength=size).astype(np.float64, copy=False)


def logit(probability: Floats) -> Floats:
    """Log odds, any shape; 0 and 1 are moved in by 1e-9."""
    inside = np.clip(probability, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(inside / (1 - inside)))


def sigmoid(score: Floats) -> Floats:
    """Probability of log odds, any shape."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(score, -40.0, 40.0))))
