"""The bad-input table of the serving contract, over HTTP: status, issue code, form, and no echo."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.serve.notes import FHIR, SCORE, TEXT, batch, document, encoded, parameters, with_attachment
from tests.serve.service import RunningService

CANARY = "Zebulon-Quirke-4471"


@dataclass(frozen=True)
class Case:
    status: int
    code: str
    body: Any = None
    method: str = "POST"
    path: str = SCORE
    headers: dict[str, str] = field(default_factory=lambda: dict(FHIR))


def attachment(data: bytes, content_type: str, **more: Any) -> dict[str, Any]:
    return with_attachment(contentType=content_type, data=base64.b64encode(data).decode(), **more)


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "cc"><!ENTITY c "&b;&b;">]><ClinicalDocument>&c;</ClinicalDocument>'
)
XXE = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><ClinicalDocument>&x;</ClinicalDocument>'
PLAIN = {"Content-Type": "application/json"}

CASES = {
    "broken JSON": Case(400, "structure", b'{"resourceType": "Docu'),
    "empty body": Case(400, "structure", b""),
    "nesting 10,000 deep": Case(400, "structure", b"[" * 10_000 + b"]" * 10_000),
    "not UTF-8": Case(400, "structure", b'{"resourceType": "\xff"}'),
    "wrong resourceType": Case(422, "invalid", {"resourceType": "Patient", "id": CANARY}),
    "unknown status": Case(422, "code-invalid", document(status=CANARY)),
    "no content": Case(422, "required", document(content=None)),
    "empty content": Case(422, "required", document(content=[])),
    "no subject": Case(422, "required", document(subject=None)),
    "empty note": Case(422, "required", document("")),
    "white space note": Case(422, "required", document(" \n\t ")),
    "short note": Case(422, "business-rule", document(CANARY)),
    "bad base64": Case(422, "value", with_attachment(contentType="text/plain", data="@@@not base64@@@")),
    "invalid UTF-8 text": Case(422, "value", attachment(b"\xff\xfe\xfa" * 20, "text/plain; charset=utf-8")),
    "hash mismatch": Case(422, "value", attachment(TEXT.encode(), "text/plain", hash=encoded("x" * 20))),
    "size mismatch": Case(422, "value", attachment(TEXT.encode(), "text/plain", size=1)),
    "decoded text over the cap": Case(422, "too-long", document("word " * 60_000)),
    "image": Case(422, "not-supported", attachment(b"\x89PNG", "image/png")),
    "body over the cap": Case(413, "too-long", document("word " * 300_000)),
    "XML bomb": Case(422, "security", attachment(BOMB, "application/hl7-cda+xml")),
    "external entity": Case(422, "security", attachment(XXE, "application/hl7-cda+xml")),
    "url to another host": Case(422, "security", with_attachment(contentType="text/plain", url="http://evil.test/x")),
    "url to metadata": Case(422, "security", with_attachment(contentType="text/plain", url="http://169.254.169.254/m")),
    "FHIR server away": Case(502, "transient", with_attachment(contentType="text/plain", url="Binary/1")),
    "entered-in-error": Case(422, "business-rule", document(status="entered-in-error")),
    "superseded": Case(422, "business-rule", document(status="superseded")),
    "preliminary": Case(422, "business-rule", document(docStatus="preliminary")),
    "unknown task": Case(404, "not-found", parameters(document(), CANARY)),
    "unknown parameter": Case(422, "invalid", parameters(document()) | {"parameter": [{"name": CANARY}]}),
    "wrong Content-Type": Case(415, "not-supported", b"x", headers={"Content-Type": "text/plain"}),
    "no Content-Type": Case(415, "not-supported", b"{}", headers={}),
    "other charset": Case(415, "not-supported", b"{}", headers={"Content-Type": "application/json; charset=utf-16"}),
    "XML asked for": Case(406, "not-supported", document(), headers={**FHIR, "Accept": "application/fhir+xml"}),
    "_format XML": Case(406, "not-supported", method="GET", path="/fhir/metadata?_format=xml"),
    "no such route": Case(404, "not-found", method="GET", path=f"/fhir/{CANARY}/1"),
    "no such method": Case(405, "not-supported", method="DELETE", path="/fhir/RiskAssessment/1"),
    "no such assessment": Case(404, "not-found", method="GET", path=f"/fhir/RiskAssessment/{CANARY}"),
    "an id that is no UUID": Case(404, "not-found", method="GET", path="/fhir/RiskAssessment/%00"),
    "control character in a reference": Case(422, "value", document(subject={"reference": f"Patient/\0{CANARY}"})),
    "endless reference": Case(422, "value", document(subject={"reference": "Patient/" + "x" * 2000})),
    "no such definition": Case(404, "not-found", method="GET", path=f"/fhir/CodeSystem/{CANARY}"),
    "bad date": Case(400, "value", method="GET", path=f"/fhir/RiskAssessment?_lastUpdated=ge{CANARY}"),
    "date not of the calendar": Case(400, "value", method="GET", path="/fhir/RiskAssessment?_lastUpdated=2024-02-31"),
    "bad count": Case(400, "value", method="GET", path="/fhir/RiskAssessment?_count=-1"),
    "bad cursor": Case(400, "value", method="GET", path=f"/fhir/RiskAssessment?_cursor={CANARY}"),
    "unknown search parameter": Case(400, "not-supported", method="GET", path=f"/fhir/RiskAssessment?{CANARY}=1"),
    "a transaction": Case(422, "not-supported", batch(document()) | {"type": "transaction"}, path="/fhir"),
    "an empty batch": Case(422, "required", {"resourceType": "Bundle", "type": "batch"}, path="/fhir"),
    "v1: broken JSON": Case(400, "structure", b"{", path="/v1/score", headers=PLAIN),
    "v1: no notes": Case(422, "value", {"notes": []}, path="/v1/score", headers=PLAIN),
    "v1: no text": Case(422, "required", {"notes": [{"id": CANARY}]}, path="/v1/score", headers=PLAIN),
    "v1: unknown member": Case(
        422, "structure", {"notes": [{"id": "1", "text": TEXT}], CANARY: 1}, path="/v1/score", headers=PLAIN
    ),
    "v1: unknown task": Case(
        404, "not-found", {"notes": [{"id": "1", "text": TEXT}], "tasks": [CANARY]}, path="/v1/score", headers=PLAIN
    ),
    "v1: 65 notes": Case(
        422, "too-long", {"notes": [{"id": "1", "text": TEXT}] * 65}, path="/v1/score", headers=PLAIN
    ),
    "v1: wrong type": Case(415, "not-supported", b"{}", path="/v1/score", headers=FHIR),
    "v1: XML asked for": Case(406, "not-supported", {}, path="/v1/score", headers={**PLAIN, "Accept": "text/xml"}),
    "v1: no such route": Case(404, "not-found", method="GET", path=f"/v1/{CANARY}"),
    "v1: no such method": Case(405, "not-supported", method="GET", path="/v1/score"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_its_row_of_the_table(client: httpx.Client, name: str) -> None:
    case = CASES[name]
    content = case.body if isinstance(case.body, bytes) or case.body is None else json.dumps(case.body).encode()
    answer = client.request(case.method, case.path, content=content, headers=case.headers)
    check_problem(answer, case.path, case.status, case.code)
    if case.status == 405:
        assert answer.headers["allow"]


def check_problem(answer: httpx.Response, path: str, status: int, code: str) -> None:
    assert CANARY not in answer.text
    assert TEXT[:20] not in answer.text
    body = answer.json()
    if path.startswith("/fhir"):
        assert answer.headers["content-type"] == "application/fhir+json"
        assert body["resourceType"] == "OperationOutcome"
        (issue,) = body["issue"]
        assert (answer.status_code, issue["code"], issue["severity"]) == (status, code, "error"), answer.text
        assert issue["diagnostics"]
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, body["status"], body["code"]) == (status, status, code), answer.text
        assert body["detail"]


def test_a_chunked_body_is_cut_off_at_the_cap(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 100_000

    answer = client.post(SCORE, content=chunks(), headers=FHIR)
    check_problem(answer, SCORE, 413, "too-long")


def test_a_body_that_ends_early_leaves_the_service_up(service: RunningService, client: httpx.Client) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        head = f"POST {SCORE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/fhir+json\r\nContent-Length: 500\r\n\r\n"
        connection.sendall(head.encode() + b'{"resourceType"')
    assert client.get("/livez").status_code == 200


def test_ray_control_headers_are_not_obeyed(client: httpx.Client) -> None:
    headers = {**FHIR, "X-Request-Timeout-Seconds": "0.000001", "X-Request-Disconnect-Disabled": "?1"}
    assert client.post(SCORE, json=document(id="timeout-header"), headers=headers).status_code == 200


def test_request_ids_of_the_right_form_come_back_and_others_are_replaced(client: httpx.Client) -> None:
    good = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert client.get("/livez", headers={"X-Request-Id": good}).headers.get_list("x-request-id") == [good]
    for bad in (CANARY, "123456789", "0" * 20, "a" * 200):
        (given,) = client.get("/livez", headers={"X-Request-Id": bad}).headers.get_list("x-request-id")
        assert given != bad
