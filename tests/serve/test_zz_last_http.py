"""What is checked over the whole run: no PHI in what is written, a restart keeps the records, every answer is R4."""

from __future__ import annotations

import json
from typing import Any

import httpx

from lang1.tasks import BUILT_IN
from tests.node_validator import validate_r4
from tests.serve.conftest import FHIR_ANSWERS
from tests.serve.notes import FHIR, SCORE, TEXT, batch, document, encoded, parameters, with_attachment
from tests.serve.service import RunningService

PHI = "Xanthippe-Farquharson-90210"


def planted() -> list[tuple[str, str, Any, dict[str, str]]]:
    """Requests with fake PHI in every field that takes text: good ones, bad ones, URLs and headers."""
    who = {"reference": f"Patient/{PHI}", "display": PHI, "identifier": {"system": "urn:mrn", "value": PHI}}
    good = document(
        f"{TEXT} {PHI}", id=PHI, subject=who, description=PHI, identifier=[{"system": "urn:x", "value": PHI}],
        context={"encounter": [{"reference": f"Encounter/{PHI}"}], "sourcePatientInfo": {"display": PHI}},
        author=[{"display": PHI}],
    )  # fmt: skip
    good["text"] = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{PHI}</div>'}
    html = f"<html><title>{PHI}</title><body>{PHI} {TEXT}</body></html>"
    bad = [
        good | {"status": PHI}, good | {"docStatus": PHI}, good | {"date": PHI}, good | {PHI: PHI},
        good | {"resourceType": PHI}, good | {"content": [{"attachment": {"contentType": PHI, "data": PHI}}]},
        good | {"content": [{"attachment": {"contentType": "text/plain", "url": f"http://evil.test/{PHI}"}}]},
        good | {"content": [{"attachment": {"contentType": "text/plain", "data": encoded(PHI)}}]},
        good | {"content": [{"attachment": {"contentType": "text/plain", "data": f"{PHI}!"}}]},
        good | {"type": {"coding": [{"system": "http://loinc.org", "code": PHI}]}}, good | {"securityLabel": PHI},
        with_attachment(contentType="text/html", data=encoded(html), title=PHI) | {"subject": who},
        with_attachment(contentType="text/rtf", data=encoded(r"{\rtf1 " + PHI + "}")) | {"subject": who},
        with_attachment(contentType="application/pdf", data=encoded("%PDF-1.4 " + PHI)) | {"subject": who},
        parameters(good, PHI), parameters(good) | {PHI: PHI},
    ]  # fmt: skip
    headers = {**FHIR, "X-Request-Id": PHI, "User-Agent": PHI, "Referer": PHI, "Authorization": f"Bearer {PHI}"}
    plain = {"Content-Type": "application/json", "X-Request-Id": PHI}
    requests: list[tuple[str, str, Any, dict[str, str]]] = [("POST", SCORE, each, headers) for each in (good, *bad)]
    requests += [
        ("POST", "/fhir", batch(good, *bad), headers),
        ("POST", "/fhir", {"resourceType": "Bundle", "type": PHI, "entry": [PHI]}, headers),
        ("POST", f"{SCORE}?x={PHI}", PHI, headers),
        ("POST", f"/fhir/{PHI}", good, headers),
        ("GET", f"/fhir/RiskAssessment?subject=Patient/{PHI}", None, {}),
        ("GET", f"/fhir/RiskAssessment?{PHI}={PHI}", None, {}),
        ("GET", f"/fhir/RiskAssessment?_lastUpdated={PHI}", None, {}),
        ("GET", f"/fhir/RiskAssessment/{PHI}", None, {}),
        ("GET", f"/{PHI}", None, {"Accept": PHI}),
        ("POST", "/v1/score", {"notes": [{"id": PHI, "text": f"{TEXT} {PHI}", "note_type": PHI}]}, plain),
        ("POST", "/v1/score", {"notes": [{"id": 1, "text": [PHI], PHI: PHI}], "tasks": [PHI]}, plain),
        ("POST", "/v1/score", {"notes": [{"id": "1", "text": PHI}], "tasks": [PHI]}, plain),
        ("POST", SCORE, parameters(good, explain=True), headers),
        ("POST", "/v1/score", {"notes": [{"id": "why", "text": f"{TEXT} {PHI}"}], "explain": True}, plain),
    ]
    return requests


def test_planted_phi_is_in_no_log_metric_or_error_body(client: httpx.Client, service: RunningService) -> None:
    for method, path, body, headers in planted():
        answer = client.request(method, path, content=json.dumps(body).encode() if body else None, headers=headers)
        assert answer.status_code < 500, (method, path[:20], answer.text)
        assert PHI not in str(answer.headers), (method, path[:20])
        if answer.status_code >= 400:
            assert PHI not in answer.text
    assert PHI not in client.get("/metrics").text
    logs = [file for file in service.log_dir.rglob("*") if file.is_file()]
    assert any("replica" in file.name for file in logs)
    written = [*logs, service.output, *(file for file in (service.state_dir / "metrics").rglob("*") if file.is_file())]
    first_words = TEXT[:30].encode()
    for file in written:
        content = file.read_bytes()
        assert PHI.encode() not in content, file.name
        assert first_words not in content, file.name
    database = b"".join(file.read_bytes() for file in service.state_dir.glob("lang1.sqlite3*"))
    assert first_words not in database


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
