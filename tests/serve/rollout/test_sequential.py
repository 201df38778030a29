"""The guard's test keeps its promise when it is read after every observation, and finds what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serve.rollout.sequential import MeanTest


def ever_reached(streams: np.ndarray, bound: float, low: float, chance: float) -> float:
    """Share of streams (n, length) whose e-value reaches 1 / chance at any time."""
    reached = 0
    for stream in streams:
        test = MeanTest(bound, low=low)
        for start in range(0, len(stream), 10):
            test.feed(stream[start : start + 5])
            if test.log_e >= -math.log(chance):
                reached += 1
                break
    return reached / len(streams)


@pytest.mark.parametrize("kind", ["at the bound", "heavy ends", "rare"])
def test_it_reads_all_the_time_and_keeps_its_chance_of_a_false_alarm(kind: str) -> None:
    random = np.random.default_rng(1)
    shape, chance = (200, 500), 0.05
    if kind == "at the bound":
        streams = np.clip(0.125 + random.normal(0, 0.2, shape), -0.75, 1)
        assert ever_reached(streams, 0.125, -1.0, chance) <= chance + 0.02
    elif kind == "heavy ends":
        streams = np.where(random.random(shape) < 0.5625, 1.0, -1.0)
        assert ever_reached(streams, 0.125, -1.0, chance) <= chance + 0.02
    else:
        streams = (random.random(shape) < 0.01).astype(float)
        assert ever_reached(streams, 0.01, 0.0, chance) <= chance + 0.02


def test_a_naive_test_read_as_often_alarms_many_times_as_often() -> None:
    random = np.random.default_rng(2)
    streams = random.normal(0.125, 0.2, (400, 1000))
    sums = np.cumsum(streams - 0.125, axis=1)[:, 20::5]
    z = sums / (0.2 * np.sqrt(np.arange(21, 1001, 5)))
    assert (z > 1.645).any(axis=1).mean() > 0.3


@pytest.mark.parametrize(("mean", "most"), [(0.375, 60), (0.25, 150), (0.175, 700)])
def test_it_finds_a_shift_the_sooner_the_larger_it_is(mean: float, most: int) -> None:
    random = np.random.default_rng(3)
    test = MeanTest(0.125)
    while test.count < 2000:
        test.feed([np.clip(random.normal(mean, 0.12), -1, 1)])
        if test.log_e >= math.log(1000):
            break
    assert test.count <= most


def test_all_failing_is_found_within_a_handful_and_no_failure_never() -> None:
    test = MeanTest(0.01, low=0.0)
    test.feed_share(4, 4)
    assert test.log_e > math.log(400)
    quiet = MeanTest(0.01, low=0.0)
    quiet.feed_share(0, 10_000)
    assert quiet.log_e < 0
    # After a long quiet time it is found nearly as soon.
    quiet.feed_share(6, 6)
    assert quiet.log_e > math.log(400)


def test_a_share_is_the_same_as_its_observations() -> None:
    one, other = MeanTest(0.05, low=0.0), MeanTest(0.05, low=0.0)
    one.feed([1, 0, 0, 1, 0])
    other.feed_share(2, 5)
    assert one.log_e == pytest.approx(other.log_e)
    assert (one.count, one.mean) == (other.count, other.mean) == (5, 0.4)


def test_wealth_is_never_lost_for_good() -> None:
    test = MeanTest(0.125)
    test.feed([-1.0] * 1000)
    assert math.isfinite(test.log_e)


@pytest.mark.parametrize("bound", [-1.0, 1.0])
def test_a_bound_outside_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="bound"):
        MeanTest(bound)
