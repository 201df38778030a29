"""When labels may be read: by cohorts of predictions, never by what happens to be known already.

Positives come early (a readmission on day 3 is known on day 3, its absence after a month), short stays close first and
approved claims are settled first, so the labels known at any moment are a biased sample. A cohort is read once

- horizon after discharge: `label_maturity_days` have passed since every discharge, and 99% of its outcomes are final;
- horizon encounter: 99% of its outcomes are final (stays closed);
- horizon claim: 99% of its outcomes are final, or `label_maturity_days` after its end, with the rest reported.

At 99% the open outcomes can move a rate of 6% or more by less than the tolerance of the calibration test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from lang1.tasks import Horizon, Task

Floats = npt.NDArray[np.float64]

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
FINAL_SHARE = 0.99
BACKSTOP_DAYS = 180
"""After so long the calibration test reads a cohort whose metrics are not published, counting what is open against an
alarm: one endless stay must not hold back all later labels."""
_FIRST_MONDAY_S = 4 * DAY_S  # 1970-01-05


@dataclass(frozen=True, slots=True)
class Maturity:
    """When a cohort may be read, in seconds since 1970; inf: not with what is known."""

    published_s: float
    """Its metrics may be shown."""
    released_s: float
    """The calibration test may read it; never later than the backstop."""


def maturity(task: Task, end_s: float, discharged_s: Floats, known_s: Floats) -> Maturity:
    """Maturity of the cohort of predictions that ends at `end_s`.

    discharged_s (n,) seconds (only read for a horizon after discharge); known_s (n,) when each outcome became final,
    inf for an open one.
    """
    assert len(known_s) == len(discharged_s)
    if not len(known_s):
        return Maturity(end_s, end_s)
    needed = math.ceil(FINAL_SHARE * len(known_s)) - 1
    final_s = max(end_s, float(np.partition(known_s, needed)[needed]))
    waited_s = end_s + task.label_maturity_days * DAY_S
    if task.horizon is Horizon.AFTER_DISCHARGE:
        due_s = max(end_s, float(discharged_s.max()) + task.label_maturity_days * DAY_S)
        published_s = max(due_s, final_s)
        backstop_s = max(due_s, end_s + BACKSTOP_DAYS * DAY_S)
    elif task.horizon is Horizon.CLAIM:
        published_s = min(final_s, waited_s)
        backstop_s = waited_s
    else:
        published_s = final_s
        backstop_s = end_s + max(BACKSTOP_DAYS, task.label_maturity_days) * DAY_S
    return Maturity(published_s, min(published_s, backstop_s))


def label_coverage(known_s: Floats, now_s: float) -> float:
    """Share of a cohort's outcomes that are final by now; NaN for an empty cohort."""
    return float(np.mean(known_s <= now_s)) if len(known_s) else float("nan")


def week_start_s(time_s: float) -> float:
    """Monday 00:00 UTC of the week."""
    return _FIRST_MONDAY_S + math.floor((time_s - _FIRST_MONDAY_S) / WEEK_S) * WEEK_S


def day_start_s(time_s: float) -> float:
    """00:00 UTC of the day."""
    return math.floor(time_s / DAY_S) * DAY_S


def calibration_cohort_s(task: Task) -> float:
    """Length of the cohorts that the calibration test reads.

    A day where labels fall due by the calendar; a week where 99% of them must be in: of a day's 50 that would be all.
    """
    return DAY_S if task.horizon is Horizon.AFTER_DISCHARGE else WEEK_S


def month_of(time_s: float) -> str:
    """Calendar month in UTC, e.g. 2026-03."""
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m}"


def month_bounds_s(month: str) -> tuple[float, float]:
    """Start and end of a calendar month."""
    start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    after = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return start.timestamp(), after.timestamp()


def date_of(time_s: float) -> str:
    """Date in UTC, ISO 8601."""
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d}"
