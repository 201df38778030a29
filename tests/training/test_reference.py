"""The profile that a bundle carries: of the scores that its thresholds come from, and readable by the monitor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lang1 import DEMO_BUNDLE
from lang1.bundle import REFERENCE
from lang1.scores import Calibrator
from lang1.tasks import BUILT_IN, TaskRegistry
from monitoring.reference import adverse_probability, read_reference, sketch
from training.encoded import EncodedNotes
from training.evaluation import calibrated
from training.reference import reference_profile

TASK = BUILT_IN["in_hospital_mortality"]
REGISTRY = TaskRegistry([TASK])
CALIBRATOR = Calibrator(scale=0.5, offsets=(0.0, 1.0))


def notes(count: int) -> EncodedNotes:
    rng = np.random.default_rng(3)
    lengths = rng.integers(50, 512, count)
    return EncodedNotes(
        ids=np.zeros(int(lengths.sum()), np.int32),
        offsets=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        dropped_tokens=(lengths > 400).astype(np.int32),
        note_types=("34117-2",) * count,
        labels={TASK.name: rng.integers(0, 2, count).astype(np.int8)},
    )


def logits(count: int, unscored: int) -> np.ndarray:
    values = np.random.default_rng(4).normal(size=(count, 2))
    values[count - unscored :] = np.nan
    return values


def test_the_profile_is_of_calibrated_scores_of_the_notes_that_were_scored(tmp_path: Path) -> None:
    every, raw = notes(1500), logits(1500, unscored=300)
    profile = reference_profile(
        REGISTRY, {TASK.name: raw}, every, {TASK.name: CALIBRATOR}, model_version="1", source="validation"
    )
    assert profile is not None
    assert profile.notes.count == 1200
    assert profile.notes.truncated == pytest.approx((every.dropped_tokens[:1200] > 0).mean())
    p = adverse_probability(TASK, calibrated(raw[:1200], CALIBRATOR))
    (found,) = profile.tasks[TASK.name].logits.values()
    assert found.knots == pytest.approx(sketch(np.log(p / (1 - p))).knots)
    path = tmp_path / REFERENCE
    path.write_text(profile.model_dump_json())
    assert read_reference(path) == profile


def test_too_few_notes_make_no_profile() -> None:
    raw = {TASK.name: logits(1100, unscored=101)}
    profile = reference_profile(REGISTRY, raw, notes(1100), {TASK.name: CALIBRATOR}, model_version="1", source="v")
    assert profile is None


def test_the_demo_bundle_carries_a_profile_of_every_task() -> None:
    profile = read_reference(DEMO_BUNDLE / REFERENCE)
    assert profile.tasks.keys() == BUILT_IN.keys()
    assert all(task.adverse_auroc is not None and task.adverse_auroc > 0.6 for task in profile.tasks.values())
