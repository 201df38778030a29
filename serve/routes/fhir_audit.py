"""`GET /fhir/AuditEvent…`: who was given which scores, newest first. Reading it is itself audited."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fhir_adapters.audit_event import Access, Observer, access_to_audit_event
from fhir_adapters.bundles import searchset_bundle
from lang1 import __version__
from serve.errors import Problem, ServiceError
from serve.http.answers import fhir_response
from serve.routes.fhir_search import count_of, references_of, time_range
from serve.services import Services
from serve.settings import Settings
from serve.store.audit import AuditedAccess, AuditQuery, audit_event, audit_page, record_access

PARAMETERS = ("date", "patient")
_CONTROL = ("_count", "_cursor", "_format", "_pretty")
_EVENT_ID = re.compile(r"(\d{1,18})-(\d{1,6})")
_CURSOR = re.compile(r"(\d{1,15}):(\d{1,18}):(\d{1,6})")
_PAST, _FUTURE = 0, 2**62


def router(services: Services) -> APIRouter:
    """The routes of auditors."""
    routes = APIRouter(prefix="/fhir", tags=["audit"])
    pipeline = services.pipeline
    observer = make_observer(services.settings)
    base = services.settings.resolved_public_base_url

    @routes.get(
        "/AuditEvent",
        summary="Search AuditEvents, newest first",
        openapi_extra={"parameters": [{"name": name, "in": "query", "required": False, "schema": {"type": "string"}}
                                      for name in (*PARAMETERS, "_count")]},
    )  # fmt: skip
    async def search(request: Request) -> Response:
        context = services.context(request)
        parameters = request.query_params.multi_items()
        page = await pipeline.read(audit_page, parse_audit_search(parameters))
        await pipeline.write(record_access, "audit", context.source, context.request_id, (), context.client_address)
        bundle = searchset_bundle(
            [to_audit_event(event, observer) for event in page.events],
            total=0, self_url=_link(base, parameters), base_url=base,
            next_url=_link(base, parameters, page.after) if page.after else None,
        )  # fmt: skip
        # R4 lets a server leave the total out; counting the events of millions of rows would take longer than a page.
        del bundle["total"]
        return fhir_response(bundle)

    @routes.get("/AuditEvent/{event_id}", summary="Read one AuditEvent")
    async def read(event_id: str, request: Request) -> Response:
        context = services.context(request)
        named = _EVENT_ID.fullmatch(event_id)
        event = await pipeline.read(audit_event, int(named[1]), int(named[2])) if named else None
        if event is None:
            raise ServiceError(Problem(404, "not-found", "no such AuditEvent here"))
        await pipeline.write(record_access, "audit", context.source, context.request_id, (), context.client_address)
        return fhir_response(to_audit_event(event, observer))

    return routes


def make_observer(settings: Settings) -> Observer:
    """This service, as its AuditEvents name it."""
    return Observer(settings.resolved_public_base_url, __version__, settings.fhir_base_url)


def to_audit_event(event: AuditedAccess, observer: Observer) -> dict[str, Any]:
    """The AuditEvent of a row's event."""
    access = Access(
        event_id=f"{event.row}-{event.position}",
        recorded=datetime.fromtimestamp(event.recorded_ms / 1000, UTC),
        action=event.action,
        source=event.source,
        request_id=event.request_id,
        prediction=event.prediction,
        subject=event.subject,
        client_address=event.client_address,
    )
    return access_to_audit_event(access, observer)


def parse_audit_search(parameters: list[tuple[str, str]]) -> AuditQuery:
    """The query. Raises ServiceError 400 for a parameter that is unknown or malformed; values are never echoed."""
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        if name not in PARAMETERS and name not in _CONTROL:
            known = ", ".join((*PARAMETERS, "_count"))
            raise _bad(f"a search parameter is not known; known: {known}", "not-supported")
        if "\x00" in value or (not value and name not in _CONTROL):
            raise _bad(f"{name} is empty or holds a control character; give it a value or leave it out")
        given.setdefault(name, []).append(value)
    if len(given.get("patient", [])) > 1:
        raise _bad("patient is given more than once; give one, with commas for a choice")
    recorded: list[tuple[int | None, int | None]] = []
    excluded: list[tuple[int, int]] = []
    for value in given.get("date", []):
        low, high, excludes = _date(value)
        if excludes:
            excluded.append((low or _PAST, high or _FUTURE))
        else:
            recorded.append((low, high))
    return AuditQuery(
        subjects=references_of(given["patient"][0], "Patient") if "patient" in given else (),
        recorded=tuple(recorded),
        not_recorded=tuple(excluded),
        count=count_of(given),
        after=_cursor(given),
    )


def _date(value: str) -> tuple[int | None, int | None, bool]:
    try:
        return time_range(value)
    except ServiceError:
        raise _bad("date must be a FHIR date or instant of the calendar, with or without a prefix such as ge") from None


def _cursor(given: dict[str, list[str]]) -> tuple[int, int, int] | None:
    if not given.get("_cursor"):
        return None
    try:
        found = _CURSOR.fullmatch(base64.urlsafe_b64decode(given["_cursor"][0].encode("ascii")).decode("ascii"))
    except (ValueError, binascii.Error):
        found = None
    if found is None:
        raise _bad("_cursor is not one of ours; follow the next link as it is")
    return int(found[1]), int(found[2]), int(found[3])


def _link(base: str, parameters: list[tuple[str, str]], after: tuple[int, int, int] | None = None) -> str:
    route = f"{base}/AuditEvent"
    if after is not None:
        cursor = base64.urlsafe_b64encode(":".join(map(str, after)).encode()).decode()
        parameters = [*(each for each in parameters if each[0] != "_cursor"), ("_cursor", cursor)]
    return f"{route}?{urlencode(parameters)}" if parameters else route


def _bad(message: str, code: str = "value") -> ServiceError:
    return ServiceError(Problem(400, code, message))
