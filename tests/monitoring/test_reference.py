"""The reference profile: small, frozen, survives JSON, and its sketches are as good as they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lang1.tasks import BUILT_IN
from monitoring.errors import MonitorInputError
from monitoring.reference import (
    NoteSample,
    QuantileSketch,
    ReferenceProfile,
    ScoreSample,
    build_reference,
    read_reference,
    sketch,
    watched_logits,
)
from tests.monitoring.streams import Floats


def profile(n: int = 2000) -> ReferenceProfile:
    rng = np.random.default_rng(0)
    scores = {}
    for task in BUILT_IN.values():
        p = rng.dirichlet(np.ones(len(task.options)), n)
        scores[task.name] = (task, ScoreSample(p, rng.integers(-1, len(task.options), n)))
    notes = NoteSample(
        rng.integers(50, 512, n).astype(float), rng.random(n) < 0.1, np.repeat(["34117-2", "my note"], n // 2)
    )
    return build_reference(scores, notes, model_version="1.0.0", source="validation")


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(1).normal(size=9000),
        np.random.default_rng(2).integers(0, 4, 3000).astype(float),
        np.minimum(511, np.random.default_rng(3).normal(450, 100, 5000)),
        np.array([3.0]),
        np.zeros(1500),
        np.random.default_rng(4).random(123),
    ],
    ids=["normal", "four values", "an atom at the limit", "one value", "all the same", "fewer than knots"],
)
def test_a_sketch_is_within_its_error_everywhere_and_from_both_sides(values: Floats) -> None:
    made, ordered = sketch(values), np.sort(values)
    at = np.concatenate((values, values + 1e-9, values - 1e-9, np.linspace(values.min() - 1, values.max() + 1, 5000)))
    for side, left in (("right", False), ("left", True)):
        exact = np.searchsorted(ordered, at, side=side) / len(ordered)  # type: ignore[call-overload]
        assert np.abs(made.cdf(at, left=left) - exact).max() <= made.error + 1e-12


def test_the_profile_is_small_and_survives_json() -> None:
    made = profile()
    text = made.model_dump_json()
    assert len(text) < 200_000
    assert ReferenceProfile.model_validate_json(text) == made
    with pytest.raises(ValidationError):
        made.model_version = "2"  # type: ignore[misc]
    assert set(made.tasks) == set(BUILT_IN)
    assert all(each.adverse_auroc is not None for each in made.tasks.values())
    assert set(made.notes.note_types) == {"34117-2", "other"}  # a caller's words are no category


def test_binary_tasks_are_watched_once_and_multi_class_ones_by_class() -> None:
    for task in BUILT_IN.values():
        watched = watched_logits(task, np.full((3, len(task.options)), 1 / len(task.options)))
        assert len(watched) == (1 if len(task.options) == 2 else len(task.options))


def test_too_few_notes_are_refused_and_a_rare_task_is_left_out() -> None:
    with pytest.raises(MonitorInputError, match="at least 1000 notes, got 900"):
        profile(900)
    task = next(iter(BUILT_IN.values()))
    rare = {task.name: (task, ScoreSample(np.full((10, len(task.options)), 1 / len(task.options))))}
    notes = NoteSample(np.full(1000, 9.0), np.zeros(1000, dtype=np.bool_), np.repeat(["34117-2"], 1000))
    assert build_reference(rare, notes, model_version="1", source="test").tasks == {}


def test_a_bad_file_is_named_with_its_field(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    with pytest.raises(MonitorInputError, match="cannot be read"):
        read_reference(path)
    path.write_text(profile().model_dump_json().replace('"source"', '"origin"'))
    with pytest.raises(MonitorInputError, match=r"reference\.json: source: Field required"):
        read_reference(path)
    path.write_text(profile().model_dump_json())
    assert read_reference(path) == profile()
    with pytest.raises(ValidationError, match="must not fall"):
        QuantileSketch(count=3, knots=(1.0, 0.0))
    with pytest.raises(ValueError, match="finite"):
        sketch([1.0, float("nan")])
