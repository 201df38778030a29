"""A note in over HTTP, scored, stored, a RiskAssessment out."""

from __future__ import annotations

import concurrent.futures
import uuid

import httpx
import pytest

from lang1.tasks import BUILT_IN
from tests.serve.notes import FHIR, SCORE, TEXT, batch, document, encoded, parameters, with_attachment
from tests.serve.service import RunningService


def test_a_document_answers_one_risk_assessment_a_task(client: httpx.Client) -> None:
    answer = client.post(SCORE, json=document(), headers=FHIR)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fhir+json"
    bundle = answer.json()
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
    resources = [entry["resource"] for entry in bundle["entry"]]
    assert [each["code"]["coding"][0]["code"] for each in resources] == list(BUILT_IN)
    for each, task in zip(resources, BUILT_IN.values(), strict=True):
        assert each["subject"] == {"reference": "Patient/p1"}
        assert len(each["prediction"]) == (1 if task.kind == "binary" else len(task.options))
        assert all(0 <= prediction["probabilityDecimal"] <= 1 for prediction in each["prediction"])


def test_the_same_note_again_gives_the_same_ids_and_scores(client: httpx.Client, service: RunningService) -> None:
    note = document(id="again")
    scored = service.metric("lang1_notes_scored_total")
    first, second = (client.post(SCORE, json=note, headers=FHIR).json() for _ in range(2))
    assert first == second
    assert service.metric("lang1_notes_scored_total") == scored + 1


def test_only_missing_tasks_are_scored_later(client: httpx.Client) -> None:
    name = next(iter(BUILT_IN))
    note = document(id="subset")
    one = client.post(SCORE, json=parameters(note, name), headers=FHIR).json()["entry"]
    every = client.post(SCORE, json=note, headers=FHIR).json()["entry"]
    assert len(one) == 1
    assert one[0]["resource"] == every[0]["resource"]
    assert len(every) == len(BUILT_IN)


def test_same_text_of_two_patients_without_ids_is_two_records(client: httpx.Client) -> None:
    answers = [
        client.post(SCORE, json=document(id=None, subject={"reference": f"Patient/{who}"}), headers=FHIR).json()
        for who in ("twin-a", "twin-b")
    ]
    first, second = (answer["entry"][0]["resource"] for answer in answers)
    assert first["subject"] != second["subject"]
    assert first["id"] != second["id"]
    assert first["identifier"] != second["identifier"]


def test_a_batch_answers_entry_by_entry_and_a_bad_one_fails_alone(client: httpx.Client) -> None:
    bad = document(id="bad", status="entered-in-error")
    answer = client.post("/fhir", json=batch(document(id="b1"), bad, document(id="b2")), headers=FHIR)
    assert answer.status_code == 200
    entries = answer.json()["entry"]
    assert [entry["response"]["status"][:3] for entry in entries] == ["200", "422", "200"]
    assert entries[1]["response"]["outcome"]["issue"][0]["code"] == "business-rule"
    assert len(entries[0]["resource"]["entry"]) == len(BUILT_IN)


def test_plain_json_answers_in_option_order(client: httpx.Client) -> None:
    notes = [{"id": "a", "text": TEXT, "note_type": "34117-2"}, {"id": "b", "text": "short"}]
    answer = client.post("/v1/score", json={"notes": notes})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body["model"]) == {"name", "version", "bundle_sha256"}
    good, bad = body["results"]
    assert [risk["task"] for risk in good["risks"]] == list(BUILT_IN)
    for risk, task in zip(good["risks"], BUILT_IN.values(), strict=True):
        assert len(risk["probabilities"]) == len(task.options)
        assert sum(risk["probabilities"]) == pytest.approx(1)
        assert ("probability" in risk) == (task.kind == "binary")
    assert (bad["id"], bad["error"]["status"], bad["error"]["code"]) == ("b", 422, "business-rule")


def test_a_long_note_is_cut_and_says_so(client: httpx.Client) -> None:
    answer = client.post(SCORE, json=document(TEXT * 30, id="long"), headers=FHIR)
    assert answer.status_code == 200
    extensions = {each["url"].rpartition("/")[2]: each for each in answer.json()["entry"][0]["resource"]["extension"]}
    assert extensions["truncated"]["valueBoolean"] is True
    assert extensions["dropped-tokens"]["valueInteger"] > 0


def test_an_explanation_is_in_the_answer_alone_also_when_the_scores_are_stored(
    client: httpx.Client, service: RunningService
) -> None:
    note = document(f"{TEXT} Quokkas were seen.", id="why", subject={"reference": "Patient/why"})
    plain = client.post(SCORE, json=note, headers=FHIR).json()
    explained = client.post(SCORE, json=parameters(note, explain=True), headers=FHIR)
    assert explained.status_code == 200, explained.text
    for entry, before, task in zip(explained.json()["entry"], plain["entry"], BUILT_IN.values(), strict=True):
        quoting = [each for each in entry["resource"]["prediction"] if "Without the passage" in each["rationale"]]
        assert len(quoting) == 1
        assert f"the risk ({task.adverse_label}) would be" in quoting[0]["rationale"]
        assert entry["resource"]["id"] == before["resource"]["id"]
    assert "Quokkas" in explained.text
    assert client.post(SCORE, json=note, headers=FHIR).json() == plain
    assert "Quokkas" not in client.get("/fhir/RiskAssessment?patient=why").text
    written = b"".join(file.read_bytes() for file in service.state_dir.glob("lang1.sqlite3*"))
    assert b"Quokkas" not in written


def test_plain_json_explains_by_characters_words_and_effect(client: httpx.Client) -> None:
    call = {"notes": [{"id": "why", "text": TEXT}, {"id": "bad", "text": "short"}], "explain": True}
    good, bad = client.post("/v1/score", json=call).json()["results"]
    assert "error" in bad
    for risk in good["risks"]:
        assert 1 <= len(risk["explanation"]) <= 3
        for passage in risk["explanation"]:
            assert set(passage) == {"start", "end", "text", "effect"}
            assert passage["text"] == TEXT[passage["start"] : passage["end"]]
            assert -1 <= passage["effect"] <= 1
    unasked = client.post("/v1/score", json=call | {"explain": False}).json()["results"][0]
    assert all("explanation" not in risk for risk in unasked["risks"])


@pytest.mark.parametrize("trick", ["Answer: B", "</s>", "<|endoftext|>", "\u202e\U0001f600"])
def test_special_text_in_a_note_is_plain_text(client: httpx.Client, trick: str) -> None:
    assert client.post(SCORE, json=document(f"{TEXT} {trick}", id="trick"), headers=FHIR).status_code == 200


def test_html_is_read_in_a_process_of_its_own(client: httpx.Client) -> None:
    html = with_attachment(contentType="text/html", data=encoded(f"<html><body><p>{TEXT}</p></body></html>"))
    assert client.post(SCORE, json=html, headers=FHIR).status_code == 200


def test_concurrent_duplicates_get_one_record(client: httpx.Client, service: RunningService) -> None:
    scored = service.metric("lang1_notes_scored_total")
    note = document(id="race", subject={"reference": "Patient/race"})
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post(SCORE, json=note, headers=FHIR).json(), range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert service.metric("lang1_notes_scored_total") == scored + 1
    found = client.get("/fhir/RiskAssessment", params={"subject": "Patient/race"}).json()
    assert found["total"] == len(BUILT_IN)


def test_two_hundred_clients_and_every_note_counted_once(client: httpx.Client, service: RunningService) -> None:
    scored = service.metric("lang1_notes_scored_total")
    run = uuid.uuid4().hex
    notes = [document(id=f"{run}-{i}") for i in range(200)]
    with httpx.Client(
        base_url=service.url, timeout=60, trust_env=False, limits=httpx.Limits(max_connections=200)
    ) as many:
        many.get("/livez")
        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(lambda note: many.post(SCORE, json=note, headers=FHIR), notes))
    assert [answer.text for answer in answers if answer.status_code != 200] == []
    assert service.metric("lang1_notes_scored_total") == scored + 200
    assert service.metric("lang1_queue_depth") == 0
