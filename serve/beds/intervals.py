"""Prediction intervals of counts: the fewest whole numbers that hold at least the level.

Counts are lumpy, so an interval of whole numbers holds more than its level; the narrowest one holds the least more.
`probability` says how much it does hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve.beds.arrays import Floats, Ints

LEVELS = (0.80, 0.95)


@dataclass(frozen=True, slots=True)
class Intervals:
    """`low` and `high` are included; all of one shape."""

    low: Ints
    high: Ints
    probability: Floats


def narrowest(mass: Floats, start: Ints, level: float) -> Intervals:
    """Of laws (..., L) over start, start + 1, ...: the shortest that holds `level`; of equal ones the fullest."""
    shape, size = mass.shape[:-1], mass.shape[-1]
    below = np.concatenate([np.zeros((*shape, 1)), np.cumsum(mass, axis=-1)], axis=-1).reshape(-1, size + 1)
    below /= below[:, -1:]
    counts = np.arange(size)
    low, high = (np.zeros(len(below), dtype=np.int64) for _ in range(2))
    held = np.zeros(len(below))
    for row, cumulative in enumerate(below):
        # For each lower end, the first upper end that holds enough.
        ends = np.searchsorted(cumulative, cumulative[:-1] + level - 1e-12)
        enough = ends <= size
        width = np.where(enough, ends - counts, size + 1)
        shortest = np.flatnonzero(width == width.min())
        holds = cumulative[shortest + width.min()] - cumulative[shortest]
        best = shortest[np.argmax(holds)]
        low[row], high[row], held[row] = best, best + width.min() - 1, holds.max()
    return Intervals(low.reshape(shape) + start, high.reshape(shape) + start, held.reshape(shape))
