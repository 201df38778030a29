from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lang1.bootstrap import bootstrap_macro_difference
from lang1.discrimination import delong_difference, delong_interval, macro_auroc
from lang1.paired_auroc import paired_macro_auroc, weighted_auroc


def two_columns(scores: np.ndarray) -> np.ndarray:
    return np.stack([1 - scores, scores], axis=1)


def test_a_binary_task_without_weights_is_the_clustered_delong() -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(400) < 0.2
    patients = rng.integers(0, 150, 400)
    one, other = np.round(rng.normal(size=400) + positive, 1), np.round(rng.normal(size=400) + positive, 1)
    found = paired_macro_auroc(
        two_columns(one), two_columns(other), positive.astype(int), classes=(1,), groups=patients
    )
    expected = delong_difference(one, other, positive, patients)
    assert found.difference == pytest.approx(expected.value, abs=1e-12)
    assert 1.96 * found.standard_error == pytest.approx(expected.high - expected.value, abs=1e-12)
    value, error = weighted_auroc(one, positive, groups=patients)
    interval = delong_interval(one, positive, patients)
    assert value == pytest.approx(interval.value, abs=1e-12)
    assert 1.96 * error == pytest.approx(interval.high - interval.value, abs=1e-12)


def test_a_row_of_weight_two_counts_as_two_rows_of_a_patient() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 200)
    one, other = np.eye(3)[labels] + rng.normal(size=(200, 3)), rng.normal(size=(200, 3))
    weights = rng.integers(1, 4, 200)
    twice = np.repeat(np.arange(200), weights)
    weighted = paired_macro_auroc(
        one, other, labels, classes=(0, 1, 2), groups=np.arange(200), weights=weights.astype(float)
    )
    repeated = paired_macro_auroc(one[twice], other[twice], labels[twice], classes=(0, 1, 2), groups=twice)
    assert weighted.one == pytest.approx(repeated.one, abs=1e-12)
    assert weighted.standard_error == pytest.approx(repeated.standard_error, abs=1e-12)


def test_the_value_is_the_projects_macro_auroc_and_the_error_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice(4, 1500, p=[0.45, 0.15, 0.16, 0.24])
    patients = rng.integers(0, 700, 1500)
    shared = np.eye(4)[labels] + rng.normal(size=(1500, 4))
    one, other = shared + 0.7 * rng.normal(size=(1500, 4)), shared + 0.7 * rng.normal(size=(1500, 4))
    found = paired_macro_auroc(one, other, labels, classes=(0, 1, 2, 3), groups=patients)
    assert found.one == pytest.approx(macro_auroc(one, labels), abs=1e-12)
    gaps = bootstrap_macro_difference(one, other, labels, classes=(0, 1, 2, 3), groups=patients, resamples=800)
    assert found.standard_error == pytest.approx(float(gaps.std()), rel=0.1)
    assert found.lower(0.975) == pytest.approx(float(np.quantile(gaps, 0.025)), abs=0.004)


def test_a_case_control_sample_is_weighted_back() -> None:
    """A mean of one-versus-rest AUROCs of a sample by outcome is that of the population only with its weights."""
    rng = np.random.default_rng(4)
    labels = rng.choice(3, 60_000, p=[0.6, 0.37, 0.03])
    scores = np.eye(3)[labels] * [0.4, 1.2, 2.0] + rng.normal(size=(60_000, 3))
    scores[:, 0] -= 1.5 * (labels == 2)
    kept = np.concatenate([np.flatnonzero(labels == 2), np.flatnonzero(labels != 2)[:5000]])
    weights = np.where(labels[kept] == 2, 1.0, (labels != 2).sum() / 5000)
    population = np.mean([roc_auc_score(labels == k, scores[:, k]) for k in range(3)])
    arguments = {"classes": (0, 1, 2), "groups": np.arange(len(kept))}
    weighted = paired_macro_auroc(scores[kept], scores[kept], labels[kept], weights=weights, **arguments)
    plain = paired_macro_auroc(scores[kept], scores[kept], labels[kept], **arguments)
    assert weighted.one == pytest.approx(population, abs=0.006)
    assert abs(plain.one - population) > 0.015
    assert weighted.difference == 0 and weighted.standard_error == 0
