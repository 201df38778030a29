"""What a bed manager would do without the model, for the same counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.beds_census import Record
from bench.beds_hospital import DAY
from serve.beds.arrays import Floats
from serve.beds.counts import Laws

Ints = NDArray[np.int64]
WEEK = 7 * DAY
WEEKS_BACK = 8


class CalendarBaselines:
    """The same hour of the last eight weeks, newest first, as (M, U, K) from ends in minutes."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._occupancy: dict[int, Ints] = {}
        self._departures: dict[tuple[int, int], Ints] = {}

    def occupancy(self, ends: list[int]) -> Ints:
        """(8, U, K): at the census 1 to 8 weeks before; all of them past for horizons up to a week."""
        return np.stack(
            [np.stack([self._in(end - back * WEEK) for end in ends], axis=1) for back in range(1, WEEKS_BACK + 1)]
        )

    def departures(self, begins: list[int], ends: list[int]) -> Ints:
        """(8, U, K) in the same hours 1 to 8 weeks before."""
        pairs = list(zip(begins, ends, strict=True))
        return np.stack(
            [
                np.stack([self._out(begin - back * WEEK, end - back * WEEK) for begin, end in pairs], axis=1)
                for back in range(1, WEEKS_BACK + 1)
            ]
        )

    def _in(self, minute: int) -> Ints:
        if minute not in self._occupancy:
            self._occupancy[minute] = self._record.occupancy(minute)
        return self._occupancy[minute]

    def _out(self, begin: int, end: int) -> Ints:
        if (begin, end) not in self._departures:
            self._departures[begin, end] = self._record.departures(begin, end)
        return self._departures[begin, end]


def mean_stay_laws(now: int, stay_days: float, arrivals_a_day: float, hours_ahead: list[float]) -> tuple[Laws, Laws]:
    """Poisson laws of the hospital's occupancy and departures (K,): everyone leaves at the rate 1 / mean stay."""
    ends = np.asarray(hours_ahead) / 24
    begins = np.concatenate([[0.0], ends[:-1]])
    steady = arrivals_a_day * stay_days

    def occupancy(days: Floats) -> Floats:
        return np.asarray(steady + (now - steady) * np.exp(-days / stay_days))

    out = occupancy(begins) + arrivals_a_day * (ends - begins) - occupancy(ends)
    return _poisson(occupancy(ends)), _poisson(out)


def _poisson(mean: Floats) -> Laws:
    counts = np.arange(int(np.ceil(mean.max() + 12 * mean.max() ** 0.5 + 12)))
    logs = counts * np.log(np.maximum(mean, 1e-9))[:, None] - mean[:, None]
    logs -= np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, len(counts))))])
    mass = np.exp(logs)
    return Laws(mass / mass.sum(axis=1, keepdims=True), np.zeros(len(mean), dtype=np.int64))
