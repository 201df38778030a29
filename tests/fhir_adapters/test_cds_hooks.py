from __future__ import annotations

import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from fhir_adapters.assessment_record import AssessmentRecord
from fhir_adapters.cds_hooks import (
    OVERRIDE_SYSTEM,
    SERVICES,
    cards,
    discovery,
    newest_of_each_type,
    parse_cds_request,
    parse_feedback,
)
from fhir_adapters.errors import FhirInputError
from lang1.tasks import BUILT_IN
from tests.serve.notes import document

DISCHARGE = SERVICES["lang1-encounter-discharge"]
CHART = SERVICES["lang1-patient-view"]
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": each} for each in resources]}


def call(**changes: Any) -> dict[str, Any]:
    body = {
        "hookInstance": str(uuid.uuid4()), "hook": DISCHARGE.hook,
        "context": {"userId": "Practitioner/1", "patientId": "p1", "encounterId": "e1"},
        "prefetch": {"notes": bundle(document())},
    }  # fmt: skip
    return {name: value for name, value in (body | changes).items() if value is not None}


def record(task: str = "readmission_30d", **changes: Any) -> AssessmentRecord:
    options = len(BUILT_IN[task].options)
    base = AssessmentRecord(
        assessment_id=str(uuid.uuid4()), identifier="i", task=task, probabilities=(1 / options,) * options,
        adverse_probability=0.34, risk_level="high", note_type=BUILT_IN[task].note_types[0], note_type_match=True,
        model_name="lang1-demo", model_version="1", bundle_sha256="a" * 64, demo=False, subject="Patient/p1",
        subject_identifier=None, encounter="Encounter/e1", encounter_identifier=None, document_id="d",
        document_version=None, document_identifier=None, text_sha256="b" * 64, period_end=None, preliminary=False,
        note_tokens=200, dropped_tokens=0, occurrence=NOW, recorded=NOW,
    )  # fmt: skip
    return replace(base, **changes)


def test_discovery_names_hooks_and_a_prefetch_of_what_the_tasks_read() -> None:
    services = discovery(BUILT_IN)["services"]
    assert {each["hook"] for each in services} == {"encounter-discharge", "patient-view"}
    for each in services:
        query = each["prefetch"]["notes"]
        assert all(loinc in query for task in BUILT_IN.values() for loinc in task.note_types)
        tokens = set(re.findall(r"\{\{(.+?)\}\}", query))
        assert tokens == {"context.patientId"} | (
            {"context.encounterId"} if each["hook"] == "encounter-discharge" else set()
        )


def test_a_call_gives_the_encounters_documents() -> None:
    other = document(id="older-stay", context={"encounter": [{"reference": "Encounter/e0"}]})
    nowhere = document(id="no-encounter", context=None)
    asked = parse_cds_request(call(prefetch={"notes": bundle(document(), other, nowhere)}), DISCHARGE)
    assert asked.patient == "Patient/p1" and asked.encounter == "Encounter/e1"
    assert asked.documents is not None
    assert [each.document_id for each in asked.documents] == ["note-1"]
    chart = call(hook=CHART.hook, context={"patientId": "Patient/p1"}, prefetch={"notes": bundle(other, nowhere)})
    seen = parse_cds_request(chart, CHART)
    assert seen.documents is not None and len(seen.documents) == 2


@pytest.mark.parametrize("prefetch", [None, {}, {"notes": None}, {"notes": {"resourceType": "OperationOutcome"}}])
def test_notes_that_could_not_be_had_are_none_and_no_notes_are_empty(prefetch: Any) -> None:
    assert parse_cds_request(call(prefetch=prefetch), DISCHARGE).documents is None
    assert parse_cds_request(call(prefetch={"notes": bundle()}), DISCHARGE).documents == ()


def test_a_broken_document_is_left_out_and_another_patients_is_refused() -> None:
    broken = document(id="x", status="banana")
    asked = parse_cds_request(call(prefetch={"notes": bundle(broken, document())}), DISCHARGE)
    assert asked.documents is not None and len(asked.documents) == 1
    strange = document(subject={"reference": "Patient/somebody-else"})
    with pytest.raises(FhirInputError) as caught:
        parse_cds_request(call(prefetch={"notes": bundle(strange)}), DISCHARGE)
    assert caught.value.status == 422 and caught.value.expression == "prefetch.notes.entry[0]"
    assert "somebody" not in str(caught.value)
    absolute = document(subject={"reference": "https://ehr.example.org/fhir/Patient/p1/_history/2"})
    assert parse_cds_request(call(prefetch={"notes": bundle(absolute)}), DISCHARGE).documents


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"hook": "order-sign"}, "hook"),
        ({"hookInstance": "abc"}, "hookInstance"),
        ({"context": []}, "context"),
        ({"context": {"encounterId": "e1"}}, "context.patientId"),
        ({"context": {"patientId": "p1"}}, "context.encounterId"),
        ({"context": {"patientId": "p1/../x", "encounterId": "e1"}}, "context.patientId"),
        ({"prefetch": []}, "prefetch"),
        ({"prefetch": {"notes": {"resourceType": "Patient"}}}, "prefetch.notes"),
    ],
)
def test_a_wrong_call_names_the_member(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(FhirInputError) as caught:
        parse_cds_request(call(**changes), DISCHARGE)
    assert (caught.value.status, caught.value.expression) == (400, place)


def test_the_newest_note_of_each_type_is_read() -> None:
    resources = [
        document(id="undated"),
        document(id="new", date="2026-02-03T10:00:00+02:00"),
        document(id="old", date="2026-02-03T08:30:00Z"),
        document(id="summary", type={"coding": [{"system": "http://loinc.org", "code": "18842-5"}]}),
    ]
    # 10:00+02:00 is 08:00Z: the order is of moments, not of strings.
    asked = parse_cds_request(call(prefetch={"notes": bundle(*resources)}), DISCHARGE)
    assert asked.documents is not None
    assert {each.document_id for each in newest_of_each_type(asked.documents)} == {"old", "summary"}


@pytest.mark.parametrize("task", list(BUILT_IN))
def test_cards_follow_the_specification(task: str) -> None:
    (card,) = cards([record(task, demo=True)], BUILT_IN)
    assert len(card["summary"]) < 140 and card["summary"].startswith("TEST")
    assert card["indicator"] == "warning" and card["source"]["label"]
    assert card["source"]["topic"]["code"] == task
    assert all(option.display in card["detail"] for option in BUILT_IN[task].options)
    assert "not for care" in card["detail"]
    assert all({"code", "system", "display"} == set(reason) for reason in card["overrideReasons"])


def test_only_what_a_person_should_see_gets_a_card_and_high_comes_first() -> None:
    shown = [record(risk_level="moderate"), record("insurance_denial")]
    hidden = [
        record(risk_level="low"), record(note_type_match=False), record(status="cancelled", version=2),
    ]  # fmt: skip
    found = cards([*hidden, *shown], BUILT_IN)
    assert [card["uuid"] for card in found] == [shown[1].assessment_id, shown[0].assessment_id]
    assert [card["indicator"] for card in found] == ["warning", "info"]


def test_feedback_keeps_codes_and_no_free_text() -> None:
    card = str(uuid.uuid4())
    reason = {"reason": {"code": "disagree", "system": OVERRIDE_SYSTEM}, "userComment": "Mrs Jones is fine"}
    stamp = "2026-03-01T12:00:00+01:00"
    entries = parse_feedback(
        {
            "feedback": [
                {"card": card, "outcome": "overridden", "overrideReason": reason, "outcomeTimestamp": stamp},
                {"card": card, "outcome": "accepted", "acceptedSuggestions": [{"id": "x"}], "outcomeTimestamp": stamp},
                {"card": card, "outcome": "overridden", "outcomeTimestamp": stamp,
                 "overrideReason": {"reason": {"code": "d7", "system": "http://elsewhere"}}},
            ]
        }
    )  # fmt: skip
    assert [each.reason for each in entries] == ["disagree", None, "other"]
    assert entries[0].at == datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert "Jones" not in repr(entries)


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ("x", "feedback[0]"),
        ({"card": "x"}, "feedback[0].card"),
        ({"outcome": "ignored"}, "feedback[0].outcome"),
        ({"outcomeTimestamp": "yesterday"}, "feedback[0].outcomeTimestamp"),
        ({"outcomeTimestamp": "2026-03-01"}, "feedback[0].outcomeTimestamp"),
    ],
)
def test_wrong_feedback_names_the_entry(entry: Any, place: str) -> None:
    good = {"card": str(uuid.uuid4()), "outcome": "accepted", "outcomeTimestamp": "2026-03-01T12:00:00Z"}
    with pytest.raises(FhirInputError) as caught:
        parse_feedback({"feedback": [good | entry if isinstance(entry, dict) else entry]})
    assert caught.value.expression == place
    for feedback in ({}, {"feedback": []}, {"feedback": [good] * 101}):
        with pytest.raises(FhirInputError):
            parse_feedback(feedback)
