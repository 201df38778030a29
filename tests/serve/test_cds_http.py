"""CDS Hooks over HTTP: cards from notes sent along and from what was scored before, feedback that is counted once."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from lang1.tasks import BUILT_IN
from tests.serve.notes import FHIR, SCORE, TEXT, document
from tests.serve.service import RunningService

SERVICE = "/cds-services/lang1-encounter-discharge"


def call(patient: str, notes: list[dict[str, Any]] | None, **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "hook": "encounter-discharge", "hookInstance": str(uuid.uuid4()),
        "context": {"userId": "Practitioner/1", "patientId": patient, "encounterId": f"{patient}-stay"},
    }  # fmt: skip
    if notes is not None:
        entries = [{"resource": each} for each in notes]
        body["prefetch"] = {"notes": {"resourceType": "Bundle", "type": "searchset", "entry": entries}}
    return body | changes


def notes_of(patient: str, text: str = TEXT) -> list[dict[str, Any]]:
    return [
        document(
            f"{text} {patient}", id=f"{patient}-{loinc}", subject={"reference": f"Patient/{patient}"},
            type={"coding": [{"system": "http://loinc.org", "code": loinc}]},
            context={"encounter": [{"reference": f"Encounter/{patient}-stay"}]},
        )
        for loinc in ("34117-2", "18842-5")
    ]  # fmt: skip


def cards_of(client: httpx.Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.post(SERVICE, json=body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["cards"]
    return found


def some_cards(client: httpx.Client, name: str) -> tuple[str, list[dict[str, Any]]]:
    """A patient with cards: with random weights, some notes are of low risk throughout."""
    for n in range(30):
        patient = f"{name}-{n}"
        if found := cards_of(client, call(patient, notes_of(patient))):
            return patient, found
    raise AssertionError("no note of thirty had a moderate or high risk")


def test_discovery(client: httpx.Client) -> None:
    services = client.get("/cds-services").json()["services"]
    assert {each["id"] for each in services} == {"lang1-encounter-discharge", "lang1-patient-view"}


def test_cards_are_of_the_recorded_scores_and_come_again_without_notes(
    client: httpx.Client, service: RunningService
) -> None:
    patient, found = some_cards(client, "cds")
    for card in found:
        stored = client.get(f"/fhir/RiskAssessment/{card['uuid']}").json()
        assert stored["subject"]["reference"] == f"Patient/{patient}"
        assert stored["code"]["coding"][0]["code"] == card["source"]["topic"]["code"]
    # Each task once, from the note type that it was trained on.
    topics = [card["source"]["topic"]["code"] for card in found]
    assert len(set(topics)) == len(topics) and set(topics) <= set(BUILT_IN)
    scored = service.metric("lang1_notes_scored_total")
    assert cards_of(client, call(patient, notes_of(patient))) == found
    assert cards_of(client, call(patient, None)) == found
    assert service.metric("lang1_notes_scored_total") == scored


def test_a_note_scored_at_discharge_is_not_scored_again(client: httpx.Client, service: RunningService) -> None:
    notes = notes_of("cds-resent")
    for note in notes:
        assert client.post(SCORE, json=note, headers=FHIR).status_code == 200
    scored = service.metric("lang1_notes_scored_total")
    cards_of(client, call("cds-resent", notes))
    assert service.metric("lang1_notes_scored_total") == scored


def test_no_notes_anywhere_is_412_and_no_advice_is_no_card(client: httpx.Client) -> None:
    for body in (call("nobody", None), call("nobody", None, prefetch={"notes": {"resourceType": "OperationOutcome"}})):
        answer = client.post(SERVICE, json=body)
        assert answer.status_code == 412 and answer.headers["content-type"] == "application/problem+json"
    assert cards_of(client, call("nobody", [])) == []
    superseded = [note | {"status": "superseded"} for note in notes_of("nobody")]
    assert cards_of(client, call("nobody", superseded)) == []


def test_another_patients_scores_are_never_shown(client: httpx.Client) -> None:
    patient, _ = some_cards(client, "cds-own")
    body = call("somebody-else", None)
    body["context"]["encounterId"] = f"{patient}-stay"
    assert client.post(SERVICE, json=body).status_code == 412
    assert client.post(SERVICE, json=call("somebody-else", notes_of(patient))).status_code == 422


def test_feedback_is_recorded_and_counted_once(client: httpx.Client, service: RunningService) -> None:
    _, found = some_cards(client, "cds-feedback")
    task = found[0]["source"]["topic"]["code"]
    entry = {"card": found[0]["uuid"], "outcome": "overridden", "outcomeTimestamp": "2026-03-01T12:00:00Z"}
    before = service.metric("lang1_card_feedback_total", task=task, code="overridden")
    for _ in range(3):
        answer = client.post(f"{SERVICE}/feedback", json={"feedback": [entry]})
        assert answer.status_code == 200, answer.text
    assert service.metric("lang1_card_feedback_total", task=task, code="overridden") == before + 1
    unknown = entry | {"card": str(uuid.uuid4()), "outcomeTimestamp": "2026-03-02T12:00:00Z"}
    answer = client.post(f"{SERVICE}/feedback", json={"feedback": [entry | {"outcome": "accepted"}, unknown]})
    assert answer.status_code == 404 and answer.json()["pointer"] == "feedback[1].card"
    assert service.metric("lang1_card_feedback_total", task=task, code="accepted") == 0


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/cds-services/other", {}, 404),
        (SERVICE, {"hook": "x"}, 400),
        (SERVICE, [], 400),
        (f"{SERVICE}/feedback", {}, 400),
        ("/cds-services/other/feedback", {}, 404),
    ],
)
def test_wrong_calls(client: httpx.Client, path: str, body: Any, status: int) -> None:
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
