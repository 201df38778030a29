from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lang1.bootstrap import Ranked, bootstrap_auroc, bootstrap_macro_difference, resampled_rows


@pytest.mark.parametrize("digits", [1, 8])  # 1: many ties
def test_every_resample_has_scikit_learns_auroc(digits: int) -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(700) < 0.11
    scores = np.round(rng.normal(size=700) + positive, digits)
    found = bootstrap_auroc(scores, positive, resamples=40, seed=5)
    rows = resampled_rows(scores, positive, resamples=40, seed=5)
    assert all(len(each) == 700 for each in rows) and len(set(map(tuple, map(sorted, rows)))) == 40
    expected = [roc_auc_score(positive[each], scores[each]) for each in rows]
    assert np.abs(found - expected).max() <= 1e-12


def test_each_row_is_drawn_as_often_as_any_other() -> None:
    """Places in the ranking are drawn, not rows: no row may be favoured by its score."""
    rng = np.random.default_rng(2)
    scores, positive = rng.normal(size=50), rng.random(50) < 0.3
    counts = np.zeros(50)
    for rows in resampled_rows(scores, positive, resamples=4000, seed=1):
        counts += np.bincount(rows, minlength=50)
    assert np.abs(counts / 4000 - 1).max() < 0.1


def test_a_weighted_auroc_is_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    positive = rng.random(300) < 0.3
    scores, weights = np.round(rng.normal(size=300) + positive, 1), rng.random(300)
    ranked = Ranked.of(scores, positive)
    assert ranked.auroc(weights[ranked.order]) == pytest.approx(
        roc_auc_score(positive, scores, sample_weight=weights), abs=1e-12
    )


def test_paired_differences_by_patient_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 240)
    patients = rng.integers(0, 90, 240)
    weights = np.where(labels == 2, 1.0, 4.0)
    one = np.eye(3)[labels] + rng.normal(size=(240, 3))
    other = np.eye(3)[labels] + 2 * rng.normal(size=(240, 3))
    found = bootstrap_macro_difference(
        one, other, labels, classes=(0, 1, 2), groups=patients, weights=weights, resamples=25, seed=8
    )
    draws = np.random.Generator(np.random.SFC64(8))
    member = np.unique(patients, return_inverse=True)[1]
    people = member.max() + 1
    for value in found:
        counts = np.bincount(draws.integers(0, people, people, dtype=np.uint32), minlength=people)[member] * weights
        gaps = [
            roc_auc_score(labels == k, one[:, k], sample_weight=counts)
            - roc_auc_score(labels == k, other[:, k], sample_weight=counts)
            for k in range(3)
        ]
        assert value == pytest.approx(np.mean(gaps), abs=1e-12)


def test_a_class_that_a_resample_misses_is_left_out_of_its_mean() -> None:
    labels = np.array([0] * 20 + [1] * 20 + [2])
    scores = np.random.default_rng(5).random((41, 3))
    found = bootstrap_macro_difference(scores, scores[:, ::-1], labels, classes=(0, 1, 2), resamples=50)
    assert np.isfinite(found).all()
    assert np.isnan(bootstrap_auroc([0.1, 0.2], [False, False], resamples=3)).all()
