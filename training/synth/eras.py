"""The years as they differ in the paper: class ratios of its training period, of 2021 and of 2024 (Tables B3 to B7).

Numbers found by `python -m training.synth.calibrate`, like those of `truth`. Off unless `SynthConfig.eras`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Era:
    """From `first_day` to the next era. What is added to logits, to the cuts of length of stay (its three steps), and
    to the log-weights of conditions of weight 1, 2 to 5, and 6."""

    first_day: date
    readmission: float = 0.0
    mortality: float = 0.0
    denial: float = 0.0
    los_steps: tuple[float, float, float] = (0.0, 0.0, 0.0)
    conditions: tuple[float, float, float] = (0.0, 0.0, 0.0)


ERAS: list[Era] = [
    Era(
        date(1900, 1, 1),
        readmission=-0.0368,
        mortality=0.0828,
        denial=-0.2254,
        los_steps=(0.2894, 0.0451, 0.0019),
        conditions=(0.1936, -0.2623, -0.6193),
    ),
    Era(
        date(2021, 6, 1),
        readmission=-0.0122,
        mortality=0.1016,
        denial=-0.2624,
        los_steps=(0.2868, 0.229, 0.2342),
        conditions=(0.3129, -0.2393, -0.5224),
    ),
    Era(
        date(2024, 1, 1),
        readmission=-0.0129,
        mortality=-0.0356,
        denial=0.0006,
        los_steps=(-0.0246, -0.0238, -0.023),
        conditions=(-0.0772, 0.0266, 0.0412),
    ),
]
NO_ERA = -1
"""In place of an era where the years do not differ."""


def era_of(days: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Place in ERAS (N,) of days since 1970-01-01."""
    starts = [(each.first_day - date(1970, 1, 1)).days for each in ERAS]
    return np.searchsorted(starts, days, side="right").astype(np.int64) - 1
