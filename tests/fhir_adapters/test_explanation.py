"""Passages in a rationale: beside the adverse number, quoted, cut, and never in the record's own resource."""

from __future__ import annotations

import pytest

from fhir_adapters.explanation import MAX_QUOTE_CHARS, QuotedPassage, explained
from fhir_adapters.risk_assessment import scores_to_risk_assessments
from lang1.tasks import BUILT_IN
from tests.fhir_adapters.samples import IDS, OCCURRENCE, note_of, scores


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_passage_is_a_sentence_of_the_adverse_prediction_alone(name: str) -> None:
    task = BUILT_IN[name]
    made = scores_to_risk_assessments(scores(), note_of().identity, IDS, OCCURRENCE, BUILT_IN)
    (resource,) = (each for each in made if each["code"]["coding"][0]["code"] == name)
    before = [each["rationale"] for each in resource["prediction"]]
    answer = explained(resource, task, [QuotedPassage("He fell. ", 0.0234), QuotedPassage("x" * 300, -0.0001)])
    assert [each["rationale"] for each in resource["prediction"]] == before
    changed = [each for each, old in zip(answer["prediction"], before, strict=True) if each["rationale"] != old]
    assert len(changed) == 1
    assert "qualitativeRisk" in changed[0]
    rationale = changed[0]["rationale"]
    assert f'"He fell." the risk ({task.adverse_label}) would be 2.3 percentage points lower.' in rationale
    assert "x" * (MAX_QUOTE_CHARS - 3) + '..."' in rationale
    assert "x" * MAX_QUOTE_CHARS not in rationale
    assert "less than 0.1 percentage points higher." in rationale


def test_nothing_to_say_changes_nothing() -> None:
    task = next(iter(BUILT_IN.values()))
    assert explained({"prediction": []}, task, []) == {"prediction": []}
