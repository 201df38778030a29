from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lang1.calibration import calibration_line
from training.retraining.statistics import compare_brier, weighted_calibration

N = 4000


def population(seed: int, shift: float = 0.0, stretch: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose true logit is shift + stretch * theirs, and outcomes."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-2, 1, N)
    return 1 / (1 + np.exp(-logit)), rng.random(N) < 1 / (1 + np.exp(-(shift + stretch * logit)))


def test_the_slope_is_that_of_the_calibration_line() -> None:
    p, y = population(1, 0.3, 1.4)
    found = weighted_calibration(p, y, np.ones(N))
    assert found.slope == pytest.approx(calibration_line(p, y)[1], abs=1e-5)


def test_weights_are_those_of_scikit_learn() -> None:
    p, y = population(2)
    weights = np.random.default_rng(0).random(N) + 0.1
    logit = np.log(p / (1 - p))
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit[:, None], y, sample_weight=weights)
    assert weighted_calibration(p, y, weights).slope == pytest.approx(fitted.coef_[0, 0], abs=1e-4)


@pytest.mark.parametrize("shift", [-0.7, 0.0, 0.7])
def test_the_intercept_is_the_shift_at_slope_one(shift: float) -> None:
    p, y = population(3, shift)
    found = weighted_calibration(p, y, np.ones(N))
    assert found.intercept == pytest.approx(shift, abs=0.1)
    logit = np.log(p / (1 - p))
    assert np.mean(1 / (1 + np.exp(-(logit + found.intercept)))) == pytest.approx(y.mean(), abs=1e-9)


def test_a_case_control_sample_is_weighted_back() -> None:
    p, y = population(4)
    kept = np.concatenate([np.flatnonzero(y), np.flatnonzero(~y)[: int(1.5 * y.sum())]])
    weights = np.where(y[kept], 1.0, (~y).sum() / int(1.5 * y.sum()))
    whole = weighted_calibration(p, y, np.ones(N))
    found = weighted_calibration(p[kept], y[kept], weights)
    assert found.intercept == pytest.approx(whole.intercept, abs=0.1)
    assert found.slope == pytest.approx(whole.slope, abs=0.1)
    unweighted = weighted_calibration(p[kept], y[kept], np.ones(len(kept)))
    assert unweighted.intercept > 0.5


def test_one_outcome_alone_has_no_line() -> None:
    found = weighted_calibration([0.2, 0.3], [1, 1], [1, 1])
    assert math.isnan(found.intercept) and math.isnan(found.slope)


def test_brier_scores_and_the_bound_of_their_difference() -> None:
    p, y = population(5)
    worse = np.clip(p * 1.6, 0, 1)
    found = compare_brier(worse, p, y, groups=np.arange(N), weights=np.ones(N), confidence=0.975)
    assert found.one == pytest.approx(np.mean((worse - y) ** 2))
    gap = (worse - y) ** 2 - (p - y) ** 2
    assert found.difference == pytest.approx(gap.mean())
    assert found.lower == pytest.approx(gap.mean() - 1.96 * gap.std() / np.sqrt(N), rel=1e-2)
    same = compare_brier(p, p, y, groups=np.arange(N), weights=np.ones(N), confidence=0.975)
    assert same.difference == same.lower == 0
    # A patient whose rows are all alike counts once.
    twice = np.repeat(np.arange(N), 4)
    repeated = compare_brier(worse[twice], p[twice], y[twice], groups=twice, weights=np.ones(4 * N), confidence=0.975)
    assert repeated.lower == pytest.approx(found.lower, rel=1e-9)
