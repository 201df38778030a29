"""What is learned from a past made by known rules, and what is said without one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from lang1.label_rules import LOS_UPPER_DAYS
from lang1.tasks import BUILT_IN
from serve.beds.arrays import logit
from serve.beds.arrivals import PastArrivals, fit_arrivals
from serve.beds.census import HospitalCensus, Move, Stay
from serve.beds.clock import HospitalClock
from serve.beds.day_shocks import fit_day_shocks
from serve.beds.model import BedModel, fit_bed_model
from serve.beds.patient_days import PatientDays
from serve.beds.plans import FURTHEST_PAST
from serve.beds.stay_length import CLASSES, OPEN_FROM, UPPER, class_of, fit_stay_length
from tests.serve.beds.hospital import NOW, census, stay

Floats = NDArray[np.float64]
CLOCK = HospitalClock(ZoneInfo("UTC"))
RNG = np.random.default_rng


def test_classes_are_those_of_the_task() -> None:
    task = next(task for task in BUILT_IN.values() if task.label_rule == "length_of_stay")
    assert len(task.options) == CLASSES
    assert tuple(UPPER) == LOS_UPPER_DAYS
    assert class_of(np.array([0, 2, 3, 4, 5, 6, 90])).tolist() == [0, 0, 1, 2, 2, 3, 3]


def days_of(lengths: Floats, days: int = 90) -> PatientDays:
    """Patient-days of stays of these lengths, cut at `days`."""
    lengths = np.minimum(lengths, days).astype(np.int64)
    rows = np.repeat(np.arange(len(lengths)), lengths + 1)
    midnights = np.concatenate([np.arange(length + 1) for length in lengths])
    none = np.zeros(len(rows), dtype=np.int64)
    return PatientDays(rows, midnights, midnights, none, none, midnights == lengths[rows], np.ones(len(rows)))


def test_class_probabilities_come_back_from_the_daily_hazards() -> None:
    model = fit_stay_length(days_of(RNG(1).geometric(0.2, 4000) - 1.0))
    given = np.array([[0.4, 0.3, 0.2, 0.1], [0.0, 0.1, 0.0, 0.9]])
    midnights = np.broadcast_to(np.arange(OPEN_FROM), (2, OPEN_FROM))
    hazards = model.class_hazards(given, midnights)
    survival = np.cumprod(1 - hazards, axis=1)
    assert survival[:, UPPER] == pytest.approx(1 - np.cumsum(given, axis=1)[:, :-1], abs=2e-3)


def test_days_already_stayed_condition_the_class_probabilities() -> None:
    model = fit_stay_length(days_of(RNG(2).geometric(0.2, 4000) - 1.0))
    given = np.array([[0.4, 0.3, 0.2, 0.1]])
    third = model.class_hazards(given, np.array([[3]]))[0, 0]
    assert third == pytest.approx(0.3 / 0.6, abs=1e-6)  # P(3 days | at least 3)


def test_the_open_class_has_the_tail_of_the_past() -> None:
    # Past the last bound the stays of this hospital end at a falling rate, as a Weibull of shape 0.7.
    shape, scale = 0.7, 0.3
    beyond = np.floor((-np.log(RNG(3).random(6000)) / scale) ** (1 / shape))
    model = fit_stay_length(days_of(OPEN_FROM + beyond, 119))
    assert model.tail == pytest.approx((scale, shape), rel=0.12)
    assert model.hazards[60] < model.hazards[8] / 1.5


def test_without_a_past_there_are_defaults() -> None:
    model = fit_bed_model(census(stay()), CLOCK)
    assert model.history_days == 0
    mean = np.cumprod(1 - model.stay_length.hazards).sum()
    assert 3 < mean < 7
    assert model.arrivals.rate.sum() == 0
    assert model.transfers.later.tolist() == [[1.0]]


def test_a_stay_open_at_the_start_counts_from_the_start() -> None:
    """Delayed entry: the days before the window are not days at which nobody left."""
    rng = RNG(4)
    stays = []
    for number in range(5000):
        came = float(rng.uniform(0, 200))
        length = float(rng.geometric(0.05)) - 1
        left = came - length
        if left < 40:
            stays.append(stay(f"e{number}", days_ago=came, left_days_ago=left if left > 0 else None))
    past = tuple(each for each in stays if each.discharged)
    now = tuple(each for each in stays if not each.discharged)
    model = fit_bed_model(census(*now, history=past, history_from=NOW - timedelta(days=40)), CLOCK)
    assert model.stay_length.hazards[1:21].mean() == pytest.approx(0.05, rel=0.1)


def history_with(leave: Floats, days: int = 150, a_day: int = 14, seed: int = 5) -> HospitalCensus:
    """Stays that end on a day with chance `leave[weekday]` a night, whatever their length."""
    rng = RNG(seed)
    start = datetime.combine(NOW.date(), datetime.min.time(), UTC) - timedelta(days=days)
    past, inside = [], []
    for number in range(days * a_day):
        came = start + timedelta(days=number // a_day, hours=float(rng.uniform(8, 20)))
        day = came
        while True:
            day = day.replace(hour=13, minute=0) + timedelta(days=1)
            if day > NOW or rng.random() < leave[day.weekday()]:
                break
        over = day <= NOW
        each = Stay(str(number), "Ward", came, day if over else None, None, None, "finished" if over else "in-progress")
        (past if over else inside).append(each)
    return HospitalCensus(NOW, tuple(inside), tuple(past), (), {"Ward": 60}, history_from=start)


def test_slow_weekends_are_found() -> None:
    leave = np.array([0.3, 0.25, 0.25, 0.25, 0.25, 0.12, 0.12])
    model = fit_bed_model(history_with(leave), CLOCK)
    weekday = model.effects.weekday[1]
    found = weekday - weekday.mean()
    true = logit(leave) - logit(leave).mean()
    assert found == pytest.approx(true, abs=0.2)


def test_a_holiday_is_a_sunday() -> None:
    clock = HospitalClock(ZoneInfo("UTC"), holidays=frozenset({date(2026, 12, 25)}))
    assert clock.weekdays(np.array([date(2026, 12, 24).toordinal(), date(2026, 12, 25).toordinal()])).tolist() == [3, 6]


@pytest.mark.parametrize("sd", [0.0, 0.35])
def test_shared_shock_of_a_day_is_found(sd: float) -> None:
    rng = RNG(6)
    days, patients, units = 300, 60, 3
    day = np.repeat(np.arange(days), patients * units)
    unit = np.tile(np.repeat(np.arange(units), patients), days)
    hazard = np.full(len(day), 0.2)
    chance = 1 / (1 + np.exp(-(logit(hazard) + sd * rng.normal(size=days)[day])))
    rows = PatientDays(np.arange(len(day)), day, day, unit, unit, rng.random(len(day)) < chance, np.ones(len(day)))
    shocks = fit_day_shocks(rows, hazard, units)
    assert shocks.hospital**0.5 == pytest.approx(sd, abs=0.12)
    assert shocks.unit**0.5 < 0.2


def test_arrivals_scatter_more_than_poisson_and_have_a_week() -> None:
    rng = RNG(7)
    days = np.arange(728)
    weekdays = days % 7
    week = np.array([1.3, 1.0, 1.0, 1.0, 1.0, 0.8, 0.9])
    counts = rng.poisson(20 * week[weekdays] * rng.gamma(25, 1 / 25, len(days)))
    day = np.repeat(days, counts)
    past = PastArrivals(day, np.zeros(len(day), np.int64), np.zeros(len(day), np.int64), np.ones(len(day), np.bool_))
    rates = fit_arrivals(past, days, weekdays, np.ones(len(days)), 1, came=90, stayed_away=10)
    assert rates.rate[0, 0] == pytest.approx(20 * week, rel=0.1)
    assert rates.dispersion == pytest.approx(0.04, abs=0.015)
    assert rates.show_rate == pytest.approx(0.9, abs=0.02)


def test_late_bookings_are_expected_only_where_they_are_not_known() -> None:
    days = np.arange(140)
    day = np.repeat(days, 4)
    lead = np.tile([1, 3, 8, 30], len(days))
    past = PastArrivals(day, np.zeros(len(day), np.int64), lead, np.zeros(len(day), np.bool_))
    rates = fit_arrivals(past, days, days % 7, np.ones(len(days)), 1, 0, 0)
    by_lead = rates.rate[:, 0].mean(axis=1)
    assert by_lead[[0, 2, 5, 10]] == pytest.approx([0, 1, 2, 3], rel=0.1, abs=0.05)


def test_moves_are_counted_by_day() -> None:
    def moved(number: int) -> Stay:
        came = NOW - timedelta(days=30 - number % 20)
        move = Move(came + timedelta(days=1), "Assessment")
        return replace(
            stay(str(number), "Ward", 0), admitted=came, discharged=came + timedelta(days=4), moves=(move,),
            status="finished",
        )  # fmt: skip

    model = fit_bed_model(census(history=tuple(moved(number) for number in range(400))), CLOCK)
    assessment, ward = model.units.codes(["Assessment", "Ward"])
    assert model.transfers.entry[assessment, ward] < 0.1
    assert model.transfers.later[assessment, ward] > 0.9
    assert model.transfers.later[ward, assessment] == 0


def test_kept_plans_are_believed() -> None:
    def planned(number: int, late_days: int) -> Stay:
        left = NOW - timedelta(days=1 + number % 40, hours=-6)
        return Stay(
            str(number), "Ward", left - timedelta(days=6), left, None, left - timedelta(days=late_days), "finished",
            planned_recorded=left - timedelta(days=3),
        )  # fmt: skip

    def first_day(late_days: int) -> float:
        past = tuple(planned(number, late_days) for number in range(400))
        return float(fit_bed_model(census(history=past), CLOCK).plans.hazards[-FURTHEST_PAST, 0])

    assert first_day(0) > 0.9
    assert first_day(1) < 0.2


@pytest.fixture(scope="module")
def weekend_model() -> BedModel:
    return fit_bed_model(history_with(np.array([0.25] * 5 + [0.15] * 2)), CLOCK)


def test_discharges_have_an_hour(weekend_model: BedModel) -> None:
    happened = weekend_model.hours.leave.happened(np.array([0.0, 12.9, 14.1, 24.0]))
    assert happened[0] == 0
    assert happened[1] < 0.1
    assert happened[2] > 0.9
    assert happened[3] == pytest.approx(1)
