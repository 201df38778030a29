"""What is checked over the whole run: a restart keeps the records, every FHIR answer was valid R4."""

from __future__ import annotations

import json
from typing import Any

import httpx

from lang1.tasks import BUILT_IN
from tests.node_validator import validate_r4
from tests.serve.conftest import FHIR_ANSWERS
from tests.serve.notes import FHIR, SCORE, document
from tests.serve.service import RunningService


def test_a_restart_keeps_the_records(client: httpx.Client, service: RunningService) -> None:
    note = document(id="kept", subject={"reference": "Patient/kept"})
    before = client.post(SCORE, json=note, headers=FHIR).json()
    assert service.stop() == 0
    service.start()
    found = client.get("/fhir/RiskAssessment?patient=kept").json()
    assert found["total"] == len(BUILT_IN)
    assert client.post(SCORE, json=note, headers=FHIR).json() == before
    assert service.metric("lang1_notes_scored_total") == 0
    assert service.metric("lang1_notes_resent_total") == 1


def test_every_fhir_answer_of_the_run_is_valid_r4() -> None:
    assert FHIR_ANSWERS
    distinct = {json.dumps(_shape(answer), sort_keys=True): answer for answer in FHIR_ANSWERS}
    answers = list(distinct.values())
    problems = validate_r4(answers)
    assert [(each["resourceType"], found) for each, found in zip(answers, problems, strict=True) if found] == []


def _shape(value: Any) -> Any:
    """A resource without its values: answers of one shape are validated once."""
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()} | {"resourceType": value.get("resourceType")}
    return [_shape(value[0])] if isinstance(value, list) and value else None
