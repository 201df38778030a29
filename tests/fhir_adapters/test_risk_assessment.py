from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from fhir.resources.R4B.riskassessment import RiskAssessment

from fhir_adapters import canonical
from fhir_adapters.assessment_record import AssessmentRecord, assessment_identifier, scores_to_records
from fhir_adapters.document_note import DocumentIdentity, document_to_note
from fhir_adapters.document_reference import NotePolicy, parse_document_reference
from fhir_adapters.risk_assessment import record_to_risk_assessment, scores_to_risk_assessments
from lang1.scores import ModelIdentity
from lang1.tasks import BUILT_IN, Horizon
from tests.fhir_adapters.samples import DEMO_MODEL, IDS, OCCURRENCE, document, note_of, scores
from tests.node_validator import validate_r4

TASKS = list(BUILT_IN.values())
EVERY_TASK = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def records(identity: DocumentIdentity | None = None, **of_scores: Any) -> dict[str, AssessmentRecord]:
    made = scores_to_records(
        scores(**of_scores), identity or note_of().identity, IDS, occurrence=OCCURRENCE, source="ehr"
    )
    return {record.task: record for record in made}


def assessment(task_name: str, record: AssessmentRecord | None = None, **changes: Any) -> dict[str, Any]:
    return record_to_risk_assessment(replace(record or records()[task_name], **changes), BUILT_IN)


def extensions(resource: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for extension in resource["extension"]:
        url, value = extension.values()
        found[url.rsplit("/", 1)[1]] = value
    return found


def variants() -> list[dict[str, Any]]:
    """RiskAssessments of every shape that the code can give."""
    odd = 'A & B <model> "x"'
    shapes: list[dict[str, Any]] = [
        {},
        {"demo": False},
        {"document_id": None},
        {"document_id": None, "document_identifier": None},
        {"document_version": None},
        {"period_end": None},
        {"period_end": "2026-03-01"},
        {"period_end": "2026-03"},
        {"subject": None, "subject_identifier": "urn:mrn|5"},
        {"subject": None, "subject_identifier": "|5"},
        {"encounter": None},
        {"encounter": None, "encounter_identifier": "urn:visit|5"},
        {"preliminary": True, "dropped_tokens": 9, "note_type_match": False},
        {"status": "entered-in-error", "version": 2, "recorded": OCCURRENCE + timedelta(days=1)},
        {"model_name": odd, "model_version": "1+2 <3>"},
    ]
    made = [record_to_risk_assessment(replace(r, **shape), BUILT_IN) for r in records().values() for shape in shapes]
    binary = records()[TASKS[0].name]
    for p in (0.0, 1.0, 1e-9, 1 / 3):
        for scale in (1, 100):
            record = replace(binary, probabilities=(1 - p, p), adverse_probability=p)
            made.append(record_to_risk_assessment(record, BUILT_IN, probability_scale=scale))  # type: ignore[arg-type]
    return made


def test_every_shape_is_valid_r4b() -> None:
    for resource in variants():
        RiskAssessment.model_validate(resource)


def test_every_shape_is_valid_r4_to_others() -> None:
    made = variants()
    assert validate_r4(made) == [[]] * len(made)


@EVERY_TASK
def test_the_contract_names_every_field(task: Any) -> None:
    resource = assessment(task.name)
    assert resource["status"] == "final"
    assert resource["id"] == IDS[task.name]
    assert resource["meta"]["versionId"] == "1"
    assert resource["meta"]["lastUpdated"] == "2026-03-01T12:30:00.000Z"
    assert resource["subject"] == {"reference": "Patient/1"}
    assert resource["encounter"] == {"reference": "Encounter/9"}
    assert resource["occurrenceDateTime"] == "2026-03-01T12:30:00.000Z"
    assert resource["code"]["coding"][0] == {"system": canonical.TASK_SYSTEM, "code": task.name, "display": task.title}
    assert resource["method"]["text"] == "lang1-demo 0.1.0"
    assert resource["basis"] == [{"reference": "DocumentReference/note-1/_history/3", "type": "DocumentReference"}]
    device = resource["contained"][0]
    assert resource["performer"]["reference"] == f"#{device['id']}"
    assert (device["resourceType"], device["version"]) == ("Device", [{"value": "0.1.0"}])
    assert resource["identifier"][0]["system"] == canonical.ASSESSMENT_IDENTIFIER_SYSTEM


@EVERY_TASK
def test_predictions_are_one_for_binary_and_one_an_option_else(task: Any) -> None:
    record = records()[task.name]
    predictions = assessment(task.name)["prediction"]
    if task.kind == "binary":
        assert [p["probabilityDecimal"] for p in predictions] == [pytest.approx(record.adverse_probability, rel=1e-5)]
        assert predictions[0]["outcome"]["text"] == task.options[task.positive_option].display
    else:
        assert [p["outcome"]["text"] for p in predictions] == [option.display for option in task.options]
        assert math.fsum(p["probabilityDecimal"] for p in predictions) == pytest.approx(1, abs=1e-5)
    adverse = {task.options[index].display for index in task.adverse_options}
    for prediction in predictions:
        assert ("qualitativeRisk" in prediction) == (prediction["outcome"]["text"] in adverse)
        assert "Decision support" in prediction["rationale"]


@EVERY_TASK
def test_only_an_outcome_after_discharge_has_a_when(task: Any) -> None:
    for prediction in assessment(task.name)["prediction"]:
        if task.horizon is Horizon.AFTER_DISCHARGE:
            assert prediction["whenPeriod"] == {
                "start": "2026-03-01T11:00:00+01:00",
                "end": "2026-03-31T11:00:00+01:00",
            }
        else:
            assert not {"whenPeriod", "whenRange"} & set(prediction)


@pytest.mark.parametrize(
    ("discharge", "end"),
    [
        ("2026-03-01", "2026-03-31"),
        ("2026-02-01T10:00:00Z", "2026-03-03T10:00:00Z"),
        ("2026-02-01T10:00:00.5Z", "2026-03-03T10:00:00.500000Z"),
        ("2026-03", None),
        ("2026", None),
        (None, None),
        ("9999-12-31", None),
    ],
)
def test_the_horizon_counts_from_a_known_day(discharge: str | None, end: str | None) -> None:
    task = next(task for task in TASKS if task.horizon is Horizon.AFTER_DISCHARGE)
    prediction = assessment(task.name, period_end=discharge)["prediction"][0]
    if end is None:
        days = {"unit": "days", "system": "http://unitsofmeasure.org", "code": "d"}
        assert prediction["whenRange"] == {"low": {"value": 0, **days}, "high": {"value": task.horizon_days, **days}}
    else:
        assert prediction["whenPeriod"] == {"start": discharge, "end": end}


def test_probabilities_are_0_to_1_or_0_to_100() -> None:
    record = replace(records()[TASKS[0].name], probabilities=(2 / 3, 1 / 3))
    small = record_to_risk_assessment(record, BUILT_IN)["prediction"][0]["probabilityDecimal"]
    large = record_to_risk_assessment(record, BUILT_IN, probability_scale=100)["prediction"][0]["probabilityDecimal"]
    assert (small, large) == (0.333333, 33.3333)


@pytest.mark.parametrize("level", ["low", "moderate", "high"])
def test_the_level_is_coded(level: str) -> None:
    prediction = assessment(TASKS[0].name, risk_level=level)["prediction"][0]
    assert prediction["qualitativeRisk"]["coding"][0]["code"] == level
    assert prediction["qualitativeRisk"]["coding"][0]["system"] == canonical.RISK_PROBABILITY_SYSTEM


def test_a_demo_answer_is_tagged_and_says_so_and_no_other_is() -> None:
    name = TASKS[0].name
    demo = assessment(name)
    assert demo["meta"]["tag"][0]["code"] == "HTEST"
    assert "TEST OUTPUT" in demo["prediction"][0]["rationale"]
    assert "TEST OUTPUT" in demo["text"]["div"]
    real = assessment(name, records(model=ModelIdentity("m", "2", "cd" * 32, demo=False))[name])
    assert "tag" not in real["meta"]
    assert "TEST" not in str(real)


def test_what_was_not_read_is_said() -> None:
    name = TASKS[0].name
    whole, cut = extensions(assessment(name)), assessment(name, dropped_tokens=77)
    assert (whole["truncated"], whole["dropped-tokens"]) == (False, 0)
    assert (extensions(cut)["truncated"], extensions(cut)["dropped-tokens"]) == (True, 77)
    assert "the last 77 were cut" in cut["prediction"][0]["rationale"]


@EVERY_TASK
def test_a_note_type_that_the_task_was_not_trained_on_is_marked(task: Any) -> None:
    for note_type, match in ((task.note_types[0], True), ("11506-3", False), (None, False)):
        resource = assessment(task.name, records(note_type=note_type)[task.name])
        assert extensions(resource)["note-type-match"] is match
        assert ("not on this type of note" in resource["prediction"][0]["rationale"]) is not match


def test_a_preliminary_note_is_marked() -> None:
    parsed = parse_document_reference(document(docStatus="preliminary"))
    identity = document_to_note(parsed, policy=NotePolicy(include_preliminary=True)).identity
    resource = assessment(TASKS[0].name, records(identity)[TASKS[0].name])
    assert extensions(resource)["preliminary-note"] is True
    assert "preliminary" in resource["prediction"][0]["rationale"]
    assert "preliminary-note" not in extensions(assessment(TASKS[0].name))


def test_the_basis_falls_back_to_an_identifier_and_to_the_text() -> None:
    by_identifier = assessment(TASKS[0].name, document_id=None)["basis"][0]
    assert by_identifier["identifier"] == {"system": "urn:ietf:rfc:3986", "value": "urn:oid:1.2.3"}
    by_text = assessment(TASKS[0].name, document_id=None, document_identifier=None)["basis"][0]
    assert by_text["identifier"]["system"] == canonical.NOTE_TEXT_IDENTIFIER_SYSTEM


def test_the_narrative_is_escaped() -> None:
    div = assessment(TASKS[0].name, model_name="<script>x</script>")["text"]["div"]
    assert "<script>" not in div
    assert "&lt;script&gt;" in div


def test_the_identifier_is_the_same_for_the_same_answer_and_no_other() -> None:
    identity = note_of().identity
    key = ("ehr", identity, TASKS[0].name, DEMO_MODEL.bundle_sha256)
    assert assessment_identifier(*key) == assessment_identifier(*key) == records()[TASKS[0].name].identifier
    others = {
        assessment_identifier("other", *key[1:]),
        assessment_identifier("ehr", replace(identity, text_sha256="0" * 64), *key[2:]),
        assessment_identifier("ehr", replace(identity, document_id="note-2"), *key[2:]),
        assessment_identifier("ehr", replace(identity, document_id=None), *key[2:]),
        assessment_identifier("ehr", replace(identity, document_id=None, master_identifier="note-1"), *key[2:]),
        assessment_identifier(
            "ehr", replace(identity, document_id=None, master_identifier=None, identifier=None), *key[2:]
        ),
        assessment_identifier("ehr", identity, TASKS[1].name, key[3]),
        assessment_identifier("ehr", identity, key[2], "ff" * 32),
    }
    assert len(others) == 8
    assert assessment_identifier(*key) not in others
    # A new version of the document with the same text is the same answer.
    assert assessment_identifier("ehr", replace(identity, version_id="4"), *key[2:]) == assessment_identifier(*key)


def test_a_record_gives_the_same_resource_whenever_it_is_rebuilt() -> None:
    record = records()[TASKS[0].name]
    assert record_to_risk_assessment(record, BUILT_IN) == record_to_risk_assessment(replace(record), BUILT_IN)


def test_scores_to_risk_assessments_is_the_records_path() -> None:
    made = scores_to_risk_assessments(scores(), note_of().identity, IDS, OCCURRENCE, BUILT_IN, source="ehr")
    assert made == [record_to_risk_assessment(record, BUILT_IN) for record in records().values()]


def test_a_naive_time_is_refused_and_a_zone_is_kept() -> None:
    with pytest.raises(ValueError, match="time zone"):
        scores_to_records(scores(), note_of().identity, IDS, occurrence=datetime(2026, 1, 1))  # noqa: DTZ001
    local = datetime(2026, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert assessment(TASKS[0].name, occurrence=local)["occurrenceDateTime"] == "2026-03-01T12:30:00.000-05:00"
    assert assessment(TASKS[0].name, occurrence=local.astimezone(UTC))["occurrenceDateTime"].endswith("Z")
