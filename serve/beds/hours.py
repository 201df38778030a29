"""At what hour patients leave and come, so that a forecast of three in the afternoon knows what the day has seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve.beds.arrays import Flags, Floats

HOURS = 24
# Shares by hour without a history: discharges peak in the early afternoon, the emergency department in the evening.
_DEFAULT_LEAVE = np.array(
    [0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.2, 0.5, 1.5, 4, 8, 11, 12, 13, 13, 11, 8, 6, 4, 3, 2, 1, 0.6, 0.4]
)
_DEFAULT_COME = np.array(
    [3, 2.5, 2, 1.8, 1.6, 1.6, 1.8, 2.2, 3, 4, 5, 5.6, 6, 6, 6, 6, 6, 6, 6, 5.6, 5.2, 4.8, 4.2, 3.6]
)
_SHRINKAGE = 30.0
"""Patients that the default counts as."""


@dataclass(frozen=True, slots=True)
class HourProfile:
    """Share of a day's events that have happened by each full hour, (25,), 0 first and 1 last."""

    by_hour: Floats

    def happened(self, hour: Floats | float) -> Floats:
        """Share by that hour of the day [0, 24], linear within the hour."""
        return np.asarray(np.interp(hour, np.arange(HOURS + 1), self.by_hour))


@dataclass(frozen=True, slots=True)
class Hours:
    """`leave`: of patients who slept here; `leave_same_day`: of one-day stays; `come`: unscheduled."""

    leave: HourProfile
    leave_same_day: HourProfile
    come: HourProfile


def fit_hours(left_hour: Floats, same_day: Flags, unscheduled_hour: Floats) -> Hours:
    """`left_hour` of past stays, whether they left on the day they came, and the hours of unscheduled admissions."""
    return Hours(
        _profile(left_hour[~same_day], _DEFAULT_LEAVE),
        _profile(left_hour[same_day], _DEFAULT_LEAVE),
        _profile(unscheduled_hour, _DEFAULT_COME),
    )


def _profile(hours: Floats, default: Floats) -> HourProfile:
    counts = np.bincount(np.minimum(hours.astype(np.int64), HOURS - 1), minlength=HOURS)
    shares = counts + _SHRINKAGE * default / default.sum()
    return HourProfile(np.concatenate([[0.0], np.cumsum(shares) / shares.sum()]))
