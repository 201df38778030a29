"""Runs in HealthChain's own environment, which pins older libraries than the service: its sandbox as the EHR.

Reads `{"url", "note_csv"}` from standard input; prints what the sandbox sent and got as one JSON object. The sandbox
has no way to send a token, so the service must be one without authentication.
"""

from __future__ import annotations

import csv
import json
import logging
import sys
from pathlib import Path
from typing import Any

import httpx
from healthchain.fhir import create_document_reference
from healthchain.models import CDSRequest, CDSResponse
from healthchain.models.hooks.basehookcontext import BaseHookContext
from healthchain.models.responses.cdsdiscovery import CDSServiceInformation
from healthchain.models.responses.cdsfeedback import CDSFeedback
from healthchain.sandbox import SandboxClient
from healthchain.sandbox.requestconstructors import CdsRequestConstructor
from pydantic import SerializeAsAny


class WholeRequest(CDSRequest):
    """HealthChain 0.16.1 declares `context` by its base class, so that pydantic leaves `encounterId` out."""

    context: SerializeAsAny[BaseHookContext]


class Errors(logging.Handler):
    """The sandbox answers `{}` for an error and says the rest in its log."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def send(client: SandboxClient) -> dict[str, Any]:
    errors = Errors()
    log = logging.getLogger("healthchain.sandbox.sandboxclient")
    log.addHandler(errors)
    try:
        responses = client.send_requests()
    finally:
        log.removeHandler(errors)
    # `send_requests` hands an answer that its model refuses back as it is, so it is put to the model again.
    cards = [CDSResponse(**response).model_dump(mode="json", exclude_none=True) for response in responses if response]
    sent = [request.model_dump(mode="json", exclude_none=True) for request in client.requests]
    return {"answers": cards, "errors": errors.lines, "contexts": [each["context"] for each in sent]}


def note_of(patient: str, encounter: str, text: str) -> dict[str, Any]:
    """HealthChain's own DocumentReference, with what its generator leaves out: whose it is and of which type."""
    document = create_document_reference(data=text, content_type="text/plain", status="current")
    return json.loads(document.model_dump_json(exclude_none=True)) | {
        "type": {"coding": [{"system": "http://loinc.org", "code": "18842-5"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "context": {"encounter": [{"reference": f"Encounter/{encounter}"}]},
    }


def main() -> None:
    given = json.load(sys.stdin)
    url = f"{given['url']}/cds-services"
    discovered = CDSServiceInformation(**httpx.get(url).json())
    with Path(given["note_csv"]).open(newline="") as file:
        (text,) = (row["text"] for row in csv.DictReader(file))
    found: dict[str, Any] = {"discovery": discovered.model_dump(exclude_none=True)}
    for service in discovered.services:

        def client(service: Any = service) -> SandboxClient:
            return SandboxClient(url=f"{url}/{service.id}", workflow=service.hook, timeout=30)

        stay = {"userId": "Practitioner/1", "patientId": f"hc-{service.hook}", "encounterId": "hc-stay"}
        (key,) = service.prefetch
        note = note_of(stay["patientId"], stay["encounterId"], text)
        prefetch = {key: {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": note}]}}

        whole = client()
        request = CdsRequestConstructor().construct_request(prefetch, whole.workflow, stay)
        whole.requests.append(WholeRequest(**dict(request)))
        answered = send(whole)
        feedback = CDSFeedback(
            card=answered["answers"][0]["cards"][0]["uuid"], outcome="accepted",
            outcomeTimestamp="2026-03-01T12:00:00Z",
        ).model_dump(mode="json", exclude_none=True)  # fmt: skip
        sent = httpx.post(f"{url}/{service.id}/feedback", json={"feedback": [feedback]})

        as_loaded = client()
        as_loaded.load_free_text(given["note_csv"], "text", random_seed=1)
        as_loaded.load_synthetic(2, random_seed=1)
        found[service.hook] = {"whole": answered, "feedback": sent.status_code, "as_loaded": send(as_loaded)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
