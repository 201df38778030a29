"""How good forecasts of counts were: coverage of intervals, and the continuous ranked probability score."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serve.beds.counts import Laws
from serve.beds.intervals import LEVELS, narrowest

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def crps(laws: Laws, seen: Ints) -> Floats:
    """Sum over counts of (P(X <= x) - [seen <= x])^2, shape of `seen`; for a point forecast the absolute error."""
    counts = laws.start[..., None] + np.arange(laws.mass.shape[-1])
    below = np.cumsum(laws.mass, axis=-1)
    inside = ((below - (counts >= seen[..., None])) ** 2).sum(axis=-1)
    # Beyond the window one of the two is 0 or both are 1.
    outside = np.maximum(laws.start - seen, 0) + np.maximum(seen - laws.start - laws.mass.shape[-1] + 1, 0)
    return np.asarray(inside + outside)


def ensemble_crps(members: Floats, seen: Ints) -> Floats:
    """CRPS of an equally weighted sample, `members` (M, ...): E|X - y| - E|X - X'| / 2."""
    spread = np.abs(members[:, None] - members[None]).mean(axis=(0, 1))
    return np.asarray(np.abs(members - seen).mean(axis=0) - spread / 2)


def covered(laws: Laws, seen: Ints, level: float) -> tuple[Floats, Floats, Floats]:
    """Of the narrowest interval: whether it holds `seen`; the same with its surplus trimmed; and what it says it
    holds.

    Trimming: whole numbers hold more than the level, so the likelier end counts only by the share that the level
    needs. Its mean is the level when the law is right, however lumpy the counts.
    """
    found = narrowest(laws.mass, laws.start, level)
    inside = (found.low <= seen) & (seen <= found.high)

    def mass_at(count: Ints) -> Floats:
        index = np.clip(count - laws.start, 0, laws.mass.shape[-1] - 1)
        return np.take_along_axis(laws.mass, index[..., None], axis=-1)[..., 0]

    low, high = mass_at(found.low), mass_at(found.high)
    edge = np.where(low < high, found.high, found.low)
    share = 1 - (found.probability - level) / np.maximum(np.maximum(low, high), 1e-12)
    trimmed = np.where(inside, np.where(seen == edge, np.clip(share, 0, 1), 1.0), 0.0)
    return inside.astype(np.float64), trimmed, found.probability


@dataclass
class Scores:
    """Lists of (K,) or (U, K) arrays, one an origin, for one count (occupancy or departures)."""

    plain: dict[float, list[Floats]] = field(default_factory=lambda: {level: [] for level in LEVELS})
    trimmed: dict[float, list[Floats]] = field(default_factory=lambda: {level: [] for level in LEVELS})
    stated: dict[float, list[Floats]] = field(default_factory=lambda: {level: [] for level in LEVELS})
    crps: dict[str, list[Floats]] = field(default_factory=dict)
    error: list[Floats] = field(default_factory=list)

    def add(self, laws: Laws, expected: Floats, seen: Ints) -> None:
        for level in LEVELS:
            plain, trimmed, stated = covered(laws, seen, level)
            self.plain[level].append(plain)
            self.trimmed[level].append(trimmed)
            self.stated[level].append(stated)
        self.add_crps("forecast", crps(laws, seen))
        self.error.append(expected - seen)

    def add_crps(self, name: str, value: Floats) -> None:
        self.crps.setdefault(name, []).append(value)
