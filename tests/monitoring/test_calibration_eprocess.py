"""The calibration test: valid at the edge of its null, quick off it, the same however it is fed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monitoring.calibration_eprocess import (
    ALARM_E_VALUE,
    BLOCK_LABELS,
    TOLERANCE,
    CalibrationState,
    Direction,
    _log_ratios,
    _still_to_come,
    feed,
)
from tests.monitoring.streams import MEAN_LOGIT, SD_LOGIT, Floats, sigmoid

FRESH = {direction: CalibrationState(direction=direction) for direction in Direction}
SIGN = {Direction.UNDERSTATED: 1.0, Direction.OVERSTATED: -1.0}


def labels(seed: int, n: int, shift: float = 0.0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    logit = rng.normal(MEAN_LOGIT, SD_LOGIT, n)
    return sigmoid(logit), (rng.random(n) < sigmoid(logit + shift)).astype(np.float64)


@pytest.mark.parametrize("direction", Direction)
def test_one_label_at_a_time_batches_and_a_restart_give_the_same_state_bit_for_bit(direction: Direction) -> None:
    p, y = labels(1, 407, 0.5)
    missing = np.arange(407) % 29 == 0
    whole = feed(FRESH[direction], p, y, missing)
    single = FRESH[direction]
    for i in range(len(p)):
        single = feed(single, p[i : i + 1], y[i : i + 1], missing[i : i + 1])
    batched = FRESH[direction]
    for low, high in ((0, 3), (3, 3), (3, 149), (149, 150), (150, 407)):
        batched = CalibrationState.model_validate_json(batched.model_dump_json())
        batched = feed(batched, p[low:high], y[low:high], missing[low:high])
    assert whole == single == batched


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("p", [1e-9, 0.001, 0.11, 0.5, 0.93, 1.0])
def test_a_bet_is_never_favourable_in_the_null_and_exactly_fair_at_its_edge(direction: Direction, p: float) -> None:
    held = min(max(p, 1e-6), 1 - 1e-6)
    both = np.array([p, p])
    ratio = np.exp(_log_ratios(direction, both, np.array([0.0, 1.0]), np.zeros(2, dtype=np.bool_)))
    logit = math.log(held / (1 - held))
    for a in (1.0, 0.5, 0.0, -0.5, -3.0):  # 1: the edge; below: inside the null
        happens = float(sigmoid(logit + SIGN[direction] * a * TOLERANCE))
        mean = (1 - happens) * ratio[0] + happens * ratio[1]
        assert np.all(mean <= 1 + 1e-12)
        if a == 1.0:
            np.testing.assert_allclose(mean, 1.0, atol=1e-9)


def test_prior_weights_of_the_starts_sum_to_one() -> None:
    weights = [0.5] + [_still_to_come(k - 1) - _still_to_come(k) for k in range(1, 5000)]
    assert sum(weights) + _still_to_come(4999) == pytest.approx(1.0, abs=1e-12)
    assert min(weights) > 0 and feed(FRESH[Direction.UNDERSTATED], [], []).log_e == 0.0


def first_crossing(direction: Direction, seeds: range, n: int, shift: float, level: float) -> list[bool]:
    return [feed(FRESH[direction], *labels(seed, n, shift)).max_log_e >= math.log(level) for seed in seeds]


@pytest.mark.parametrize("direction", Direction)
def test_ville_holds_at_the_edge_of_the_null(direction: Direction) -> None:
    # At 1e4 nothing could be seen in a test, so Ville's bound is tried where it can be: P(sup E >= 5) <= 1/5.
    crossed = first_crossing(direction, range(200), 2000, SIGN[direction] * TOLERANCE, 5.0)
    assert sum(crossed) <= 0.2 * 200 + 2.33 * math.sqrt(200 * 0.2 * 0.8)
    assert sum(crossed) > 0  # and the bets do move


@pytest.mark.slow
@pytest.mark.parametrize("direction", Direction)
def test_five_years_at_the_edge_of_the_null_do_not_reach_ten_thousand(direction: Direction) -> None:
    crossed = first_crossing(direction, range(20), 150 * 365 * 5, SIGN[direction] * TOLERANCE, ALARM_E_VALUE)
    assert sum(crossed) == 0  # allowed: 1e-4 each


@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(20), marks=pytest.mark.slow)], ids=["few", "twenty"])
def test_a_logit_shift_of_0_7_is_found_within_16_days_of_labels_even_after_a_quiet_year(seeds: range) -> None:
    quiet, days = 150 * 365, []
    for seed in seeds:
        before = feed(FRESH[Direction.UNDERSTATED], *labels(seed, quiet))
        after = feed(before, *labels(seed + 1000, 150 * 30, 0.7))
        assert not before.alarmed and after.alarm_at_label is not None
        days.append((after.alarm_at_label - quiet) / 150)
    assert max(days) <= 16, days


@pytest.mark.parametrize("direction", Direction)
def test_a_missing_label_counts_against_the_alarm(direction: Direction) -> None:
    p, y = labels(3, 300, 0.4 * SIGN[direction])
    missing = np.random.default_rng(4).random(300) < 0.2
    worst = np.where(missing, 0.0 if direction is Direction.UNDERSTATED else 1.0, y)
    assert feed(FRESH[direction], p, y, missing).log_e == feed(FRESH[direction], p, worst).log_e
    hidden = np.where(missing, np.nan, y)
    state = feed(FRESH[direction], p, hidden, missing)
    assert (state.labels, state.missing, state.events) == (300, int(missing.sum()), int(y[~missing].sum()))


def test_the_alarm_stays() -> None:
    alarmed = feed(FRESH[Direction.UNDERSTATED], *labels(5, 5000, 1.0))
    calm = feed(alarmed, *labels(6, 20_000, -0.5))
    assert calm.alarm_at_label == alarmed.alarm_at_label is not None
    assert calm.log_e < math.log(ALARM_E_VALUE) <= calm.max_log_e
    assert alarmed.labels % BLOCK_LABELS == 0


@pytest.mark.parametrize("wrong", [([0.5], [2.0]), ([1.5], [1.0]), ([float("nan")], [1.0]), ([0.5, 0.5], [1.0])])
def test_what_is_no_label_is_refused(wrong: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="must"):
        feed(FRESH[Direction.UNDERSTATED], *wrong)
