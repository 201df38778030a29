"""Notes that a CDS Hooks call did not bring along: fetched from the configured server alone, with the call's token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fhir_adapters.cds_hooks import SERVICES, CdsRequest, parse_cds_request
from fhir_adapters.errors import FhirInputError
from lang1.tasks import BUILT_IN
from serve.ehr.cds_notes import CdsNotes
from serve.errors import ServiceError
from serve.note_job import RequestContext
from serve.settings import load_settings
from tests.ehr.server import TestEhr
from tests.serve.notes import document

SERVICE = SERVICES["lang1-encounter-discharge"]
TOKEN = "token-of-the-call"


@pytest.fixture
def ehr() -> Iterator[TestEhr]:
    with TestEhr() as running:
        running.add(document(id="n1"))
        running.add(document(id="other-stay", context={"encounter": [{"reference": "Encounter/e2"}]}))
        yield running


def asked(server: str | None) -> CdsRequest:
    body: dict[str, Any] = {
        "hook": "encounter-discharge", "hookInstance": "0f3bb9a7-6b1c-4b0e-9c0d-4f3a1f6a2b11",
        "context": {"userId": "Practitioner/1", "patientId": "p1", "encounterId": "e1"},
    }  # fmt: skip
    if server is not None:
        body |= {"fhirServer": server, "fhirAuthorization": {"access_token": TOKEN, "token_type": "Bearer"}}
    return parse_cds_request(body, SERVICE)


def fetch(ehr: TestEhr, request: CdsRequest) -> CdsRequest | None:
    notes = CdsNotes(load_settings(fhir_base_url=ehr.url))
    context = RequestContext("test", "r", time.monotonic() + 20)
    return asyncio.run(notes.fetch(request, SERVICE, BUILT_IN, context))


def test_the_notes_of_the_stay_come_with_the_calls_own_token(ehr: TestEhr) -> None:
    found = fetch(ehr, asked(ehr.url))
    assert found is not None
    assert found.documents is not None
    assert [each.document_id for each in found.documents] == ["n1"]
    # This server sorts by no date, so it was asked again without.
    sorted_first, unsorted = ehr.requests("GET", "DocumentReference")
    assert (sorted_first.status, unsorted.status) == (400, 200)
    assert {each.headers["authorization"] for each in (sorted_first, unsorted)} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("server", [None, "http://127.0.0.1:1/fhir", "http://169.254.169.254/fhir", "no url"])
def test_a_call_cannot_send_the_service_elsewhere(ehr: TestEhr, server: str | None) -> None:
    assert fetch(ehr, asked(server)) is None
    assert ehr.requests() == []


def test_a_server_that_refuses_has_no_notes_and_one_that_is_down_says_so(ehr: TestEhr) -> None:
    ehr.faults.status(403, 1, path="DocumentReference")
    assert fetch(ehr, asked(ehr.url)) is None
    with ehr.down(), pytest.raises(ServiceError) as raised:
        fetch(ehr, asked(ehr.url))
    assert (raised.value.problem.status, raised.value.problem.code) == (502, "transient")


def test_another_patients_note_is_refused(ehr: TestEhr) -> None:
    with pytest.raises(FhirInputError, match="another patient"):
        asked(ehr.url).with_fetched([document(subject={"reference": "Patient/somebody-else"})])
