from __future__ import annotations

import json

import numpy as np
import pytest

from lang1.scores import Calibrator, OperatingThresholds, scores_from_logits
from lang1.tasks import BUILT_IN, TaskRegistry
from training.encoded import NO_LABEL, EncodedNotes
from training.evaluation import calibrated, choose_thresholds, evaluate_split, fit_calibrators, rounded

N = 4000
LOS = BUILT_IN["length_of_stay"]
REGISTRY = TaskRegistry([LOS])


@pytest.fixture
def known() -> tuple[EncodedNotes, dict[str, np.ndarray], np.ndarray]:
    """Notes whose true probabilities are known, and logits that are the truth stretched and shifted."""
    rng = np.random.default_rng(3)
    true_logits = rng.normal(size=(N, 4)) * 1.2
    p = np.exp(true_logits) / np.exp(true_logits).sum(axis=1, keepdims=True)
    labels = (rng.random((N, 1)) > p.cumsum(axis=1)).sum(axis=1).astype(np.int8)
    labels[:500] = NO_LABEL
    logits = (true_logits - np.array([0.0, 0.4, -0.2, 0.9])) / 1.7
    empty = np.zeros(0, np.int32)
    notes = EncodedNotes(empty, np.zeros(N + 1, np.int64), np.zeros(N, np.int32), ("34117-2",) * N, {LOS.name: labels})
    return notes, {LOS.name: logits}, p


def test_calibration_and_thresholds_do_what_they_say(
    known: tuple[EncodedNotes, dict[str, np.ndarray], np.ndarray],
) -> None:
    notes, logits, truth = known
    calibrators = fit_calibrators(REGISTRY, logits, notes)
    thresholds = choose_thresholds(REGISTRY, logits, notes, calibrators)
    entry = evaluate_split(REGISTRY, notes, logits, calibrators, thresholds, truth={LOS.name: truth})[LOS.name]
    assert entry["notes"] == N - 500
    assert entry["high_threshold_flagged"] == pytest.approx(LOS.high_risk_fraction, abs=0.005)
    assert entry["ece_15"] < entry["ece_15_perfect_99th"]
    assert entry["calibration_slope"] == pytest.approx(1.0, abs=0.1)
    assert entry["soft"]["model"] == pytest.approx(entry["soft"]["latent"], abs=0.01)
    identity = {LOS.name: Calibrator()}
    raw = evaluate_split(REGISTRY, notes, logits, identity, thresholds)[LOS.name]
    assert raw["ece_15"] > raw["ece_15_perfect_99th"]
    json.dumps(rounded(entry), allow_nan=False)


def test_training_and_serving_compute_the_same_probabilities() -> None:
    calibrator = Calibrator(scale=1.7, offsets=(0.0, 0.4, -0.2, 0.9))
    logits = np.random.default_rng(0).normal(size=(5, 4)) * 3
    thresholds = {LOS.name: OperatingThresholds(moderate=0.3, high=0.6)}
    for row, probabilities in zip(logits, calibrated(logits, calibrator), strict=True):
        served = scores_from_logits((LOS,), {LOS.name: row.tolist()}, None, {LOS.name: calibrator}, thresholds)
        assert served[0].probabilities == pytest.approx(probabilities, abs=1e-12)
