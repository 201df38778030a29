"""Realised quality: enough events or no figure, intervals that cover, a yardstick beside every ECE."""

from __future__ import annotations

import numpy as np
import pytest

from lang1.discrimination import delong_interval, macro_auroc_interval, soft_auroc
from monitoring.quality import (
    MIN_EVENTS,
    Status,
    estimated_auroc,
    quality_by_subgroup,
    realised_quality,
)
from tests.monitoring.streams import MEAN_LOGIT, SD_LOGIT, Floats, sigmoid


def cohort(seed: int, n: int) -> tuple[Floats, np.ndarray[tuple[int], np.dtype[np.bool_]], Floats]:
    rng = np.random.default_rng(seed)
    p = sigmoid(rng.normal(MEAN_LOGIT, SD_LOGIT, n))
    return p, rng.random(n) < p, np.arange(n, dtype=np.float64)


def test_interval_agrees_with_the_bootstrap_over_patients() -> None:
    rng = np.random.default_rng(0)
    patients = rng.integers(0, 400, 1500)
    logit = rng.normal(MEAN_LOGIT, SD_LOGIT, 400)[patients] + rng.normal(0, 0.3, 1500)
    happened = rng.random(1500) < sigmoid(logit)
    p = sigmoid(logit)
    own = delong_interval(p, happened, patients)
    resampled = macro_auroc_interval(np.column_stack((1 - p, p)), happened.astype(int), groups=patients, resamples=400)
    assert own.value == pytest.approx(resampled.value, abs=1e-12)
    assert own.high - own.low == pytest.approx(resampled.high - resampled.low, rel=0.15)
    alone = delong_interval(p, happened, np.arange(1500))
    assert alone.high - alone.low < own.high - own.low


def test_interval_covers_with_ties() -> None:
    rng = np.random.default_rng(1)
    truth, covered = 0.0, 0
    for i in range(301):
        score = rng.integers(0, 5, 200_000 if i == 0 else 600)
        happened = rng.random(len(score)) < 0.1 + 0.1 * score
        if i == 0:
            truth = soft_auroc(score, happened)
            continue
        interval = delong_interval(score, happened, np.arange(600))
        covered += interval.low <= truth <= interval.high
    assert covered / 300 >= 0.92


def test_under_100_events_the_answer_is_insufficient() -> None:
    p = np.linspace(0.01, 0.99, 1000)
    few = np.zeros(1000, dtype=np.bool_)
    few[: MIN_EVENTS - 1] = True
    for happened in (few, ~few):
        quality = realised_quality(p, happened, np.arange(1000), baseline_auroc=0.99)
        assert quality.status is Status.INSUFFICIENT and quality.auroc is None and not quality.alarm
        assert quality.ece is None and quality.events is not None
    few[MIN_EVENTS - 1] = True
    assert realised_quality(p, few, np.arange(1000)).status is Status.PUBLISHED


def test_alarm_only_when_the_whole_interval_is_under_the_baseline_less_the_margin() -> None:
    facts = cohort(2, 6000)
    quality = realised_quality(*facts)
    assert quality.auroc is not None and not quality.alarm
    assert not realised_quality(*facts, baseline_auroc=quality.auroc.high + 0.0199).alarm
    assert realised_quality(*facts, baseline_auroc=quality.auroc.high + 0.0201).alarm


def test_ece_of_a_perfect_model_is_under_its_yardstick_and_a_shifted_one_over() -> None:
    p, happened, patients = cohort(3, 4000)
    quality = realised_quality(p, happened, patients)
    assert quality.ece is not None and quality.ece_perfect_99th is not None
    assert quality.ece < quality.ece_perfect_99th
    shifted = realised_quality(sigmoid(np.log(p / (1 - p)) - 0.7), happened, patients)
    assert shifted.ece is not None and shifted.ece_perfect_99th is not None
    assert shifted.ece > shifted.ece_perfect_99th


def test_the_label_free_estimate_is_the_auroc_of_calibrated_scores() -> None:
    p, happened, _ = cohort(4, 40_000)
    assert estimated_auroc(p) == pytest.approx(soft_auroc(p, happened), abs=0.01)


def test_subgroups_are_split_and_never_alarm() -> None:
    p, happened, patients = cohort(5, 3000)
    unit = np.where(np.arange(3000) < 2800, "icu", "ward")
    found = quality_by_subgroup(p, happened, patients, {"unit": unit})
    assert {name: q.status for name, q in found.items()} == {
        "unit=icu": Status.PUBLISHED,
        "unit=ward": Status.INSUFFICIENT,
    }
    assert not any(quality.alarm for quality in found.values())
