"""A test of a mean that may be read after every observation, for as long as a rollout lasts.

Null: observations x in [-1, 1], each with a mean of at most m given all before it. For a stake 0 <= s < 1 / (1 + m) the
wealth  prod (1 + s * (x_i - m))  stays positive and does not grow on average: a bet that cannot be favourable. An equal
mixture of such bets is a test supermartingale, so by Ville's inequality the chance that it ever reaches 1 / a under the
null is at most a, at whatever moments it is looked at (Waudby-Smith and Ramdas, "Estimating means of bounded random
variables by betting", JRSS B 2024; Ramdas, Gruenwald, Vovk and Shafer, Statistical Science 2023). Several tests share a
chance of false alarm by parts that sum to it.

Bets that began long ago have lost in the quiet time what a change would have to win back, so new ones begin every 50
observations, with prior weights that sum to 1: half on the first, the rest with a heavy tail (Shin, Ramdas and Rinaldo,
"E-detectors", 2022). What is still to begin counts at its weight, and the whole stays a supermartingale.

Nothing is asked of how the observations are distributed, nor that they are independent; only that what came before does
not raise the mean of the next. The guard therefore counts each encounter once.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

_STAKES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
"""Parts of the largest stake. Small ones find small excesses, large ones find large excesses soon."""


BLOCK: Final = 50
"""New bets begin every so many observations."""
_FIRST: Final = 0.5
_TAIL_BLOCKS: Final = 100.0


class MeanTest:
    """Evidence that the mean of x in [low, 1] exceeds `bound`; `low` is 0 for shares and -1 for differences."""

    def __init__(self, bound: float, *, low: float = -1.0) -> None:
        if not low < bound < 1:
            raise ValueError(f"bound must lie between {low:g} and 1, got {bound:g}")
        self._bound = bound
        # At x = low no more than the stake's part of the wealth is lost.
        self._stakes = np.array(_STAKES) / (bound - low)
        self._log_wealth = np.full(len(_STAKES), math.log(_FIRST))
        self._blocks = 0
        self._in_block = 0
        self.count = 0
        self.total = 0.0

    def feed(self, values: npt.ArrayLike) -> None:
        """More observations, in order."""
        x = np.asarray(values, dtype=np.float64)
        done = 0
        while done < x.size:
            part = x[done : done + BLOCK - self._in_block]
            gains = np.log1p(np.outer(part - self._bound, self._stakes)).sum(axis=0)
            self._add(gains, part.size, float(part.sum()))
            done += part.size

    def feed_share(self, happened: int, of: int) -> None:
        """`of` observations, of which `happened` were 1 and the rest 0; in which order is not known."""
        if of:
            gain, loss = (np.log1p(self._stakes * (x - self._bound)) for x in (1.0, 0.0))
            self._add(happened * gain + (of - happened) * loss, of, float(happened))

    def _add(self, gains: npt.NDArray[np.float64], count: int, total: float) -> None:
        self._log_wealth += gains
        self.count += count
        self.total += total
        self._in_block += count
        if self._in_block >= BLOCK:
            # When they begin depends on counts alone, never on what was observed.
            begun = _still_to_begin(self._blocks) - _still_to_begin(self._blocks + 1)
            self._log_wealth = np.logaddexp(self._log_wealth, math.log(begun))
            self._blocks += 1
            self._in_block = 0

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value."""
        begun = float(np.logaddexp.reduce(self._log_wealth)) - math.log(len(_STAKES))
        return float(np.logaddexp(begun, math.log(_still_to_begin(self._blocks))))

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0


def _still_to_begin(blocks: int) -> float:
    """Prior weight of the bets that begin after so many blocks."""
    return (1 - _FIRST) * _TAIL_BLOCKS / (_TAIL_BLOCKS + blocks)
