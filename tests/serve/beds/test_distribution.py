"""Laws of counts by Fourier transform against plain convolution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serve.beds.counts import Flow, Group, hospital_laws, unit_laws
from serve.beds.distribution import (
    SMALL,
    frequencies,
    gamma_poisson_exponent,
    poisson_binomial,
    power_sums,
    probabilities_of,
    small_bernoulli_exponent,
)
from serve.beds.intervals import LEVELS, narrowest
from serve.beds.shocks import NODE_WEIGHTS, NODES

Floats = NDArray[np.float64]


def convolved(probabilities: Floats) -> Floats:
    """The oracle: one Bernoulli after the other."""
    law = np.array([1.0])
    for p in probabilities:
        law = np.convolve(law, [1 - p, p])
    return law


def negative_binomial(mean: float, dispersion: float, size: int) -> Floats:
    shape = 1 / dispersion
    chance = shape / (shape + mean)
    return np.array(
        [
            math.exp(math.lgamma(k + shape) - math.lgamma(shape) - math.lgamma(k + 1))
            * chance**shape
            * (1 - chance) ** k
            for k in range(size)
        ]
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_poisson_binomial_is_the_convolution(probabilities: list[float]) -> None:
    law = poisson_binomial(np.array(probabilities))
    assert law == pytest.approx(convolved(np.array(probabilities)), abs=1e-12)


def test_a_thousand_patients() -> None:
    probabilities = np.random.default_rng(1).uniform(0, 1, 1000)
    assert poisson_binomial(probabilities) == pytest.approx(convolved(probabilities), abs=1e-12)


def test_series_of_small_chances_is_the_convolution() -> None:
    probabilities = np.random.default_rng(2).uniform(0, SMALL, 300)
    size = 128
    z = frequencies(size)
    characteristic = np.exp(small_bernoulli_exponent(power_sums(probabilities[:, None]), z))
    law = probabilities_of(characteristic[0], size, np.array(0))
    assert law == pytest.approx(convolved(probabilities)[:size], abs=1e-9)


@pytest.mark.parametrize(("mean", "dispersion"), [(3.0, 0.02), (40.0, 0.3), (0.2, 2.0)])
def test_gamma_mixed_poisson_is_negative_binomial(mean: float, dispersion: float) -> None:
    size = 512
    characteristic = np.exp(gamma_poisson_exponent(np.array([mean]), dispersion, frequencies(size)))
    law = probabilities_of(characteristic[0], size, np.array(0))
    assert law[:200] == pytest.approx(negative_binomial(mean, dispersion, 200), abs=1e-9)


def same_at_every_node(probabilities: Floats) -> Floats:
    return np.broadcast_to(probabilities, (len(NODES), *probabilities.shape)).copy()


def test_units_law_of_patients_who_move_and_arrivals() -> None:
    rng = np.random.default_rng(3)
    here, there = rng.uniform(0.1, 0.95, (40, 1)), rng.uniform(0.1, 0.95, (60, 1))
    stay, move = np.array([[0.85, 0.15]]), np.array([[0.04, 0.96]])
    groups = [Group(same_at_every_node(here), stay), Group(same_at_every_node(there), move)]
    flow = Flow(np.broadcast_to(np.array([4.0, 2.5]), (len(NODES), 1, 2)).copy(), 0.1)
    laws = unit_laws(groups, [flow], 1, 2)
    for unit, mean in enumerate((4.0, 2.5)):
        inside = convolved(np.concatenate([here[:, 0] * stay[0, unit], there[:, 0] * move[0, unit]]))
        expected = np.convolve(inside, negative_binomial(mean, 0.1, 60))
        start = int(laws.start[unit, 0])
        found = laws.mass[unit, 0]
        assert found == pytest.approx(expected[start : start + len(found)], abs=1e-9)


def test_hospital_law_mixes_over_the_shared_shock() -> None:
    rng = np.random.default_rng(4)
    by_node = rng.uniform(0.3, 0.6, (len(NODES), 1, 1)) * rng.uniform(0.5, 1, (1, 120, 1))
    flow = Flow(np.full((len(NODES), 1, 1), 9.0), 0.05)
    laws = hospital_laws(by_node, [flow], 1)
    arrivals = negative_binomial(9.0, 0.05, 100)
    parts = [
        weight * np.convolve(convolved(p[:, 0]), arrivals) for weight, p in zip(NODE_WEIGHTS, by_node, strict=True)
    ]
    expected = np.sum(parts, axis=0)
    start = int(laws.start[0])
    size = min(len(laws.mass[0]), len(expected) - start)
    assert laws.mass[0][:size] == pytest.approx(expected[start : start + size], abs=1e-9)
    counts = np.arange(len(expected))
    assert laws.above(60)[0] == pytest.approx(expected[counts > 60].sum(), abs=1e-9)
    assert laws.shortfall(60)[0] == pytest.approx((expected * np.maximum(60 - counts, 0)).sum(), abs=1e-7)


@pytest.mark.parametrize("level", LEVELS)
def test_no_shorter_interval_holds_the_level(level: float) -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        law = convolved(rng.uniform(0, 1, int(rng.integers(1, 25))))
        found = narrowest(law, np.array(7), level)
        low, high = int(found.low) - 7, int(found.high) - 7
        assert law[low : high + 1].sum() == pytest.approx(float(found.probability))
        assert found.probability >= level - 1e-9
        width = high - low
        others = [law[start : start + width].sum() for start in range(len(law))]
        assert width == 0 or max(others) < level
