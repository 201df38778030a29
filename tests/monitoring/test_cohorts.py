"""Labels are read by cohorts once mature; the traps of early labels show why."""

from __future__ import annotations

import numpy as np
import pytest

from lang1.tasks import BUILT_IN, Horizon, Task
from monitoring.cohorts import (
    BACKSTOP_DAYS,
    DAY_S,
    WEEK_S,
    date_of,
    label_coverage,
    maturity,
    month_bounds_s,
    month_of,
    week_start_s,
)
from tests.monitoring.streams import DENIAL, READMISSION, START_S, STAY

END_S = START_S + WEEK_S
INF = float("inf")


def known(days: list[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return START_S + np.array(days) * DAY_S


def discharged(n: int, last_day: float = 6.5) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return START_S + np.linspace(0, last_day, n) * DAY_S


def test_readmissions_wait_for_the_calendar_and_for_the_labels() -> None:
    days = READMISSION.label_maturity_days
    assert days == 37
    in_time = maturity(READMISSION, END_S, discharged(100), known([20.0] * 100))
    assert in_time.published_s == in_time.released_s == START_S + (6.5 + days) * DAY_S
    # All positives are in on day 44, a tenth of the cohort; the negatives come on day 60.
    late = maturity(READMISSION, END_S, discharged(100), known([20.0] * 11 + [60.0] * 89))
    assert late.published_s == late.released_s == START_S + 60 * DAY_S
    after_stay = maturity(READMISSION, END_S, discharged(100, 30.0), known([20.0] * 100))
    assert after_stay.published_s == START_S + (30 + days) * DAY_S


@pytest.mark.parametrize("task", [t for t in BUILT_IN.values() if t.horizon is Horizon.ENCOUNTER], ids=lambda t: t.name)
def test_stays_wait_until_99_percent_are_closed(task: Task) -> None:
    cohort = maturity(task, END_S, discharged(200), known([9.0] * 197 + [30.0, 300.0, 400.0]))
    assert cohort.published_s == START_S + 30 * DAY_S
    held = maturity(task, END_S, discharged(100), known([9.0] * 98 + [400.0, INF]))
    assert held.published_s == START_S + 400 * DAY_S
    assert held.released_s == END_S + BACKSTOP_DAYS * DAY_S  # the test goes on, counting the two against an alarm
    assert maturity(task, END_S, discharged(100), known([9.0] * 98 + [INF] * 2)).published_s == INF


def test_claims_are_read_at_99_percent_or_after_180_days() -> None:
    assert DENIAL.label_maturity_days == 180
    assert maturity(DENIAL, END_S, discharged(100), known([90.0] * 99 + [INF])).published_s == START_S + 90 * DAY_S
    rest = maturity(DENIAL, END_S, discharged(100), known([20.0] * 80 + [INF] * 20))
    assert rest.published_s == rest.released_s == END_S + 180 * DAY_S


def test_no_cohort_is_read_before_it_ends() -> None:
    for task in BUILT_IN.values():
        assert maturity(task, END_S, discharged(10), known([0.5] * 10)).published_s >= END_S
        empty = maturity(task, END_S, discharged(0), known([]))
        assert empty.published_s == empty.released_s == END_S


def test_coverage_counts_what_is_final_by_now() -> None:
    assert label_coverage(known([1, 2, 3, INF]), START_S + 2 * DAY_S) == 0.5
    assert np.isnan(label_coverage(known([]), START_S))


def test_weeks_begin_on_monday_and_months_meet() -> None:
    assert date_of(week_start_s(START_S)) == "2020-01-06" == date_of(week_start_s(START_S + WEEK_S - 1))
    assert date_of(week_start_s(START_S + WEEK_S)) == "2020-01-13"
    for month, after in (("2020-02", "2020-03"), ("2020-12", "2021-01")):
        start, end = month_bounds_s(month)
        assert month_of(start) == month == month_of(end - 1) and month_of(end) == after
    assert STAY.name in BUILT_IN
