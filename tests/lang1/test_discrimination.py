from __future__ import annotations

import statistics

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from lang1.calibration import (
    calibration_line,
    expected_calibration_error,
    fit_calibrator,
    perfect_ece_bound,
)
from lang1.discrimination import delong_difference, delong_interval, macro_auroc, macro_auroc_interval, soft_auroc


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.mark.parametrize("decimals", [1, 12])
def test_auroc_equals_scikit_learn_with_and_without_ties(rng: np.random.Generator, decimals: int) -> None:
    labels = rng.integers(0, 2, 2000)
    scores = np.round(rng.normal(labels * 0.7), decimals)
    assert soft_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_macro_auroc_equals_scikit_learn(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 4, 3000)
    logits = rng.normal(size=(3000, 4)) + np.eye(4)[labels]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert macro_auroc(p, labels) == pytest.approx(roc_auc_score(labels, p, multi_class="ovr"), abs=1e-12)


def test_soft_labels_are_the_expectation_of_hard_ones(rng: np.random.Generator) -> None:
    truth = rng.beta(1, 6, 4000)
    scores = truth + rng.normal(scale=0.1, size=4000)
    hard = np.mean([soft_auroc(scores, rng.random(4000) < truth) for _ in range(200)])
    assert soft_auroc(scores, truth) == pytest.approx(hard, abs=0.002)


def test_row_counts_equal_repeated_rows(rng: np.random.Generator) -> None:
    labels, scores, counts = rng.integers(0, 2, 300), rng.normal(size=300), rng.integers(0, 4, 300)
    repeated = soft_auroc(np.repeat(scores, counts), np.repeat(labels, counts))
    assert soft_auroc(scores, labels, counts) == pytest.approx(repeated, abs=1e-12)


def test_one_sided_labels_have_no_auroc() -> None:
    assert np.isnan(soft_auroc([0.1, 0.4], [0, 0]))


def test_rows_of_one_patient_are_resampled_together(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, 400)
    scores = 1 / (1 + np.exp(-rng.normal(labels * 1.0)))
    p = np.stack([1 - scores, scores], axis=1)
    thrice, rows = np.repeat(np.arange(400), 3), np.repeat(np.arange(400), 3)
    alone = macro_auroc_interval(p, labels, resamples=400)
    clustered = macro_auroc_interval(p[rows], labels[rows], groups=thrice, resamples=400)
    naive = macro_auroc_interval(p[rows], labels[rows], resamples=400)
    assert clustered.high - clustered.low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert naive.high - naive.low < 0.75 * (clustered.high - clustered.low)


def test_interval_covers_and_narrows(rng: np.random.Generator) -> None:
    def interval(n: int) -> float:
        labels = rng.integers(0, 2, n)
        scores = 1 / (1 + np.exp(-rng.normal(labels * 1.0)))
        found = macro_auroc_interval(np.stack([1 - scores, scores], axis=1), labels, resamples=200)
        assert found.low < 0.7602 < found.high  # Phi(1 / sqrt 2)
        return found.high - found.low

    assert interval(4000) < 0.6 * interval(1000)


def test_calibrator_undoes_a_known_distortion(rng: np.random.Generator) -> None:
    true_logits = rng.normal(size=(20_000, 4)) * 1.5
    p = np.exp(true_logits) / np.exp(true_logits).sum(axis=1, keepdims=True)
    labels = (rng.random((20_000, 1)) > p.cumsum(axis=1)).sum(axis=1)
    shown = (true_logits - np.array([0.0, 0.5, -0.3, 0.2])) / 2.0
    fitted = fit_calibrator(shown, labels)
    assert fitted.scale == pytest.approx(2.0, abs=0.08)
    assert fitted.offsets == pytest.approx((0.0, 0.5, -0.3, 0.2), abs=0.08)


def test_calibrator_of_a_binary_task_is_platt_scaling(rng: np.random.Generator) -> None:
    logit = rng.normal(size=5000) * 2
    labels = (rng.random(5000) < 1 / (1 + np.exp(-(0.6 * logit - 1.2)))).astype(int)
    fitted = fit_calibrator(np.stack([np.zeros(5000), logit], axis=1), labels, ridge=1e-6)
    platt = LogisticRegression(C=1e8).fit(logit[:, None], labels)
    assert fitted.scale == pytest.approx(platt.coef_[0, 0], abs=1e-3)
    assert fitted.offsets[1] == pytest.approx(platt.intercept_[0], abs=1e-3)


@pytest.mark.parametrize("classes", [2, 4, 5])
@pytest.mark.parametrize("stretch", [1.5, 3.0, 8.0, 30.0])
def test_an_overconfident_model_is_calmed(rng: np.random.Generator, classes: int, stretch: float) -> None:
    """Overconfidence is what finetuning leaves; raw Newton steps from scale 1 run away on it."""
    true_logits = rng.normal(size=(4000, classes)) * 1.5
    p = np.exp(true_logits) / np.exp(true_logits).sum(axis=1, keepdims=True)
    labels = (rng.random((4000, 1)) > p.cumsum(axis=1)).sum(axis=1)
    fitted = fit_calibrator(true_logits * stretch, labels)
    assert fitted.scale * stretch == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize(
    ("mean", "spread", "shift", "slope"), [(-4, 3, 0.0, 1 / 3), (-5, 1.5, 3.0, 1.0), (0, 2, -2.0, 4.0)]
)
def test_calibration_line_converges_far_from_the_start(
    rng: np.random.Generator, mean: float, spread: float, shift: float, slope: float
) -> None:
    logit = rng.normal(mean, spread, 40_000)
    y = (rng.random(40_000) < 1 / (1 + np.exp(-(shift + slope * logit)))).astype(float)
    found = calibration_line(1 / (1 + np.exp(-logit)), y)
    assert found == pytest.approx((shift, slope), rel=0.1, abs=0.12)


def test_an_option_that_never_occurs_stays_finite(rng: np.random.Generator) -> None:
    fitted = fit_calibrator(rng.normal(size=(200, 5)), rng.integers(0, 3, 200))
    assert all(np.isfinite(fitted.offsets))


def test_ece_of_a_perfect_model_is_under_its_bound_and_of_a_wrong_one_is_not(rng: np.random.Generator) -> None:
    p = rng.beta(1, 8, 20_000)
    y = (rng.random(20_000) < p).astype(float)
    bound = perfect_ece_bound(p, draws=200)
    assert expected_calibration_error(p, y) <= bound < expected_calibration_error(np.minimum(1, p * 1.3), y)


def test_calibration_line_finds_shift_and_stretch(rng: np.random.Generator) -> None:
    logit = rng.normal(-2, 1.2, 40_000)
    y = (rng.random(40_000) < 1 / (1 + np.exp(-logit))).astype(float)
    shown = 1 / (1 + np.exp(-(logit - 0.7) / 1.25))
    intercept, slope = calibration_line(shown, y)
    assert (intercept, slope) == pytest.approx((0.7, 1.25), abs=0.06)


def brute_delong(scores: list[np.ndarray], positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components pair by pair, as in the paper of 1988."""
    parts = []
    for each in scores:
        wins = (each[positive][:, None] > each[~positive]) + 0.5 * (each[positive][:, None] == each[~positive])
        parts.append((wins.mean(axis=1), wins.mean(axis=0)))
    value = np.array([part[0].mean() for part in parts])
    by_event, by_other = (np.stack([part[side] for part in parts]) for side in (0, 1))
    return value, np.cov(by_event) / by_event.shape[1] + np.cov(by_other) / by_other.shape[1]


def test_delong_is_the_pairwise_definition() -> None:
    rng = np.random.default_rng(11)
    positive = rng.random(300) < 0.2
    one = np.round(rng.normal(size=300) + positive, 1)  # rounded, so that ties occur
    other = np.round(0.5 * one + rng.normal(size=300), 1)
    value, covariance = brute_delong([one, other], positive)
    found = delong_interval(one, positive)
    assert found.value == pytest.approx(soft_auroc(one, positive), abs=1e-12)
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(covariance[0, 0]), abs=1e-12)
    gap = delong_difference(one, other, positive)
    spread = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert gap.value == pytest.approx(value[0] - value[1], abs=1e-12)
    assert (gap.high - gap.low) / 2 == pytest.approx(1.96 * spread, abs=1e-12)
    assert gap.p == pytest.approx(2 * (1 - statistics.NormalDist().cdf(abs(gap.value) / spread)), abs=1e-9)


def test_delong_at_the_edges() -> None:
    assert np.isnan(delong_interval([0.1, 0.2], [False, False]).value)
    same = delong_difference([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [False, True, False, True])
    assert same.value == 0 and same.p == 1.0


def test_delong_covers_the_truth() -> None:
    """Of 400 samples of two normals a distance apart, the interval holds the true AUROC in about 95%."""
    rng = np.random.default_rng(2)
    truth = statistics.NormalDist().cdf(1 / np.sqrt(2))
    positive = np.arange(400) < 80
    held = 0
    for _ in range(400):
        found = delong_interval(rng.normal(size=400) + positive, positive)
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 400 <= 0.98
