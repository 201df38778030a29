"""The audit table as FHIR AuditEvents: one event a score or searched patient, paged, of a patient, audited itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from serve.auth.caller import SCOPE_KEY, anyone
from serve.errors import ServiceError
from serve.http.answers import problem_response
from serve.pipeline import Pipeline
from serve.routes import fhir_audit
from serve.services import Services
from serve.settings import Settings
from serve.store.core import Store
from serve.store.records import AuditEntry
from tests.node_validator import validate_r4
from tests.serve.store_notes import note

REQUEST = "8e7d0f6a-93a5-4f07-9a43-0a3f7c1f6b11"


class DirectPipeline:
    """Reads and writes of a pipeline, on a store in this process."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, work: Callable[..., Any], *args: Any) -> Any:
        return self._store.read(work, *args)

    async def write(self, work: Callable[..., Any], *args: Any) -> Any:
        return self._store.write(work, *args)


class Auditor:
    """Calls the routes."""

    def __init__(self, store: Store) -> None:
        self.app = FastAPI()
        services = Services(Settings(), cast("Pipeline", DirectPipeline(store)), "2026-11-21T00:00:00Z")
        self.app.include_router(fhir_audit.router(services))

        async def problem(request: Any, error: Exception) -> Any:
            assert isinstance(error, ServiceError)
            return problem_response(request.url.path, error.problem)

        self.app.add_exception_handler(ServiceError, problem)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, SCOPE_KEY: anyone("auditor")}, receive, send)

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._let_in)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
                return await client.get(path, params=parameters or None)

        return asyncio.run(call())

    def events(self, **parameters: Any) -> list[dict[str, Any]]:
        answer = self.get("/fhir/AuditEvent", **parameters)
        assert answer.status_code == 200, answer.text
        return [entry["resource"] for entry in answer.json().get("entry", [])]


@pytest.fixture
def auditor(store: Store) -> Auditor:
    """Patient/1 scored, Patient/2 scored and read, both searched."""
    first, second = note("DocumentReference/1"), note("DocumentReference/2", subject="Patient/2")
    for each in (first, second):
        store.commit([each], [AuditEntry("score", "epic", REQUEST, tuple(p.id for p in each.predictions))])
    store.commit([], [AuditEntry("read", "portal", REQUEST, (second.predictions[0].id,))])
    everything = tuple(p.id for each in (first, second) for p in each.predictions)
    store.commit([], [AuditEntry("search", "portal", REQUEST, everything)])
    return Auditor(store)


def patients(event: dict[str, Any]) -> list[str]:
    return [each["what"]["reference"] for each in event["entity"] if each["type"]["code"] == "1"]


def test_there_is_one_event_a_score_and_one_a_searched_patient_newest_first(auditor: Auditor) -> None:
    found = [(each["action"], patients(each)) for each in auditor.events()]
    assert found == [
        ("E", ["Patient/1"]), ("E", ["Patient/2"]), ("R", ["Patient/2"]),
        ("C", ["Patient/2"]), ("C", ["Patient/2"]), ("C", ["Patient/1"]), ("C", ["Patient/1"]),
    ]  # fmt: skip


def test_every_event_is_valid_r4_and_read_by_its_id(auditor: Auditor) -> None:
    events = auditor.events()
    assert [found for found in validate_r4(events) if found] == []
    assert len({each["id"] for each in events}) == len(events)
    for each in events:
        assert auditor.get(f"/fhir/AuditEvent/{each['id']}").json() == each


def test_a_patients_events_are_found_and_no_others(auditor: Auditor) -> None:
    for patient in ("1", "Patient/1", "Patient/1,Patient/none"):
        found = auditor.events(patient=patient)
        assert [each["action"] for each in found] == ["E", "C", "C"], patient
        assert all(patients(each) == ["Patient/1"] for each in found)
    assert auditor.events(patient="3") == []


def test_pages_hold_every_event_once_while_rows_are_added(auditor: Auditor) -> None:
    at_first = auditor.events()
    url: str | None = "/fhir/AuditEvent?_count=2"
    seen: list[str] = []
    pages = 0
    while url and pages < 20:
        bundle = auditor.get(url).json()  # each call adds an audit row of its own
        assert "total" not in bundle
        seen += [entry["resource"]["id"] for entry in bundle["entry"]]
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        pages += 1
    assert seen == [auditor.get("/fhir/AuditEvent", _count=500).json()["entry"][pages]["resource"]["id"], *[
        each["id"] for each in at_first]]  # fmt: skip


def test_the_audit_of_a_day_is_of_that_day(auditor: Auditor) -> None:
    # The store's clock of these tests stands in January 1970.
    assert len(auditor.events(date="1970")) == 7
    assert auditor.events(date="gt1970-01-01") == []
    assert len(auditor.events(date=["ge1970-01-01", "lt1970-01-02"])) >= 7
    assert auditor.events(date="ne1970-01-01") == []


def test_reading_the_audit_is_audited(auditor: Auditor) -> None:
    auditor.events()
    newest = auditor.events()[0]
    assert (newest["action"], newest["subtype"][0]["code"]) == ("E", "search-type")
    one = auditor.get(f"/fhir/AuditEvent/{newest['id']}")
    assert one.status_code == 200
    assert len([each for each in auditor.events() if len(each["entity"]) == 1]) == 3


def test_a_wrong_search_is_refused_without_its_words(auditor: Auditor) -> None:
    for query in ("subject=x", "date=soon", "date=", "patient=a&patient=b", "_count=-1", "_cursor=Pat", "patient=%00"):
        answer = auditor.get(f"/fhir/AuditEvent?{query}")
        assert answer.status_code == 400, query
        assert answer.json()["resourceType"] == "OperationOutcome"
        assert "soon" not in answer.text
        assert "Pat" not in answer.text


def test_an_unknown_event_is_not_found(auditor: Auditor) -> None:
    for event_id in ("1", "1-99", "x", "999-0", "1-0'--", f"{10**17}-0"):
        assert auditor.get(f"/fhir/AuditEvent/{event_id}").status_code == 404, event_id
