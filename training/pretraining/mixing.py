"""Which window of which source sample number i is: a pure function, so that any batch can be found without the others.

The run's whole data position is one number, the next sample. It means the same on any number of workers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
_PARTS = 1_000_000
_ROUNDS = 4


def shuffled(places: Indices, size: int, key: str) -> Indices:
    """Where a permutation of [0, size) puts `places`: a Feistel network of the next power of four, walked until inside.

    It needs no memory however long the source is (the paper's has hundreds of millions of windows).
    """
    half = np.uint64(max(1, (int(size - 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    digest = hashlib.blake2b(key.encode(), digest_size=8 * _ROUNDS).digest()
    keys = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
    out = places.astype(np.uint64)
    outside = np.ones(len(out), dtype=np.bool_)
    while outside.any():
        left, right = out[outside] >> half, out[outside] & mask
        for number in keys:
            left, right = right, left ^ (_mixed(right ^ number) & mask)
        out[outside] = (left << half) | right
        outside = out >= size
    return out.astype(np.int64)


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64: every bit of the input reaches every bit of the output."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class Mixture:
    """Two sources of `clinical` and `web` windows; `share` of the samples are clinical, spread as evenly as can be.

    A source is read through in a new order in every epoch. A source without a share may be empty.
    """

    clinical: int
    web: int
    share: float
    seed: int

    def _clinical_before(self, sample: Indices) -> Indices:
        return sample * round(self.share * _PARTS) // _PARTS

    def pick(self, sample: Indices) -> tuple[npt.NDArray[np.bool_], Indices]:
        """For samples (n,): whether each is clinical, and its window in that source."""
        before = self._clinical_before(sample)
        clinical = self._clinical_before(sample + 1) > before
        windows = np.empty(len(sample), dtype=np.int64)
        for name, here, draws, size in (
            ("clinical", clinical, before, self.clinical),
            ("web", ~clinical, sample - before, self.web),
        ):
            if here.any():
                windows[here] = self._windows(name, draws[here], size)
        return clinical, windows

    def _windows(self, source: str, draws: Indices, size: int) -> Indices:
        assert size > 0, f"the {source} source has a share and no windows"
        epochs, places = np.divmod(draws, size)
        out = np.empty(len(draws), dtype=np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            out[here] = shuffled(places[here], size, f"{self.seed}:{source}:{epoch}")
        return out

    def epochs(self, sample: int) -> dict[str, float]:
        """How often each source was read through before this sample."""
        clinical = int(self._clinical_before(np.asarray(sample)))
        counts: dict[str, Any] = {"clinical": (clinical, self.clinical), "web": (sample - clinical, self.web)}
        return {name: round(drawn / size, 4) for name, (drawn, size) in counts.items() if size}


@dataclass(frozen=True, slots=True)
class Skips:
    """Ranges [first, end) of samples that are never trained on: data on which the loss went up."""

    ranges: tuple[tuple[int, int], ...] = ()

    def after(self, sample: int) -> int:
        """`sample`, or the first one behind the ranges that hold it."""
        for first, end in sorted(self.ranges):
            if first <= sample < end:
                sample = end
        return sample

    def with_range(self, first: int, end: int) -> Skips:
        return Skips((*self.ranges, (first, end)))
