from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lang1.errors import ScoringError
from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from lang1.scores import Calibrator, OperatingThresholds, RiskLevel, score_from_logits, softmax
from lang1.tasks import BUILT_IN

THRESHOLDS = OperatingThresholds(moderate=0.3, high=0.6)
finite = st.floats(-1e3, 1e3)


@pytest.mark.parametrize("name", BUILT_IN)
@given(data=st.data())
def test_probabilities_sum_to_one(name: str, data: st.DataObject) -> None:
    task = BUILT_IN[name]
    logits = data.draw(st.lists(finite, min_size=len(task.options), max_size=len(task.options)))
    score = score_from_logits(task, logits, None, Calibrator(), THRESHOLDS)
    assert sum(score.probabilities) == pytest.approx(1)
    assert 0 <= score.adverse_probability <= 1


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_adverse_probability_is_that_of_the_adverse_options(name: str) -> None:
    task = BUILT_IN[name]
    for option in range(len(task.options)):
        logits = [30.0 if k == option else 0.0 for k in range(len(task.options))]
        score = score_from_logits(task, logits, None, Calibrator(), THRESHOLDS)
        assert score.adverse_probability == pytest.approx(float(option in task.adverse_options), abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_raise(bad: float) -> None:
    with pytest.raises(ScoringError):
        softmax([0.0, bad])


@pytest.mark.parametrize(("p", "level"), [(0.29, RiskLevel.LOW), (0.3, RiskLevel.MODERATE), (0.6, RiskLevel.HIGH)])
def test_levels_start_at_their_thresholds(p: float, level: RiskLevel) -> None:
    assert THRESHOLDS.level(p) is level


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_task_not_trained_on_the_note_type_is_marked(name: str) -> None:
    task = BUILT_IN[name]
    for loinc in (DISCHARGE_SUMMARY.loinc, HISTORY_AND_PHYSICAL.loinc, "99999-9", None):
        score = score_from_logits(task, [0.0] * len(task.options), loinc, Calibrator(), THRESHOLDS)
        assert score.note_type_match == (loinc in task.note_types)


def test_a_calibrator_moves_logits_and_refuses_nonsense() -> None:
    assert Calibrator(scale=2.0, offsets=(0.0, -1.0)).apply([1.0, 3.0]) == [2.0, 5.0]
    for wrong in ({"scale": 0.0}, {"scale": math.nan}, {"offsets": (math.inf,)}):
        with pytest.raises(ValidationError):
            Calibrator.model_validate(wrong)
    with pytest.raises(ValueError, match="argument"):
        Calibrator(offsets=(0.0,)).apply([1.0, 2.0])
