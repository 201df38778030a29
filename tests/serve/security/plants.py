"""Requests with a marker of its own in every field, header, parameter and file that the service takes.

A new route is one entry of BODIES; GET routes are planted from the OpenAPI document by themselves.
"""

from __future__ import annotations

import base64
import copy
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.serve.notes import TEXT

WORD = "Xanthippe"
"""What every marker begins with."""


class Markers:
    """Gives out markers, and knows where each was planted."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def new(self, place: str) -> str:
        self.places.append(place)
        return f"{WORD}{len(self.places) - 1:05d}"

    def place(self, text: str) -> str:
        """Where the first marker in a text was planted."""
        number = text.partition(WORD)[2][:5]
        return self.places[int(number)] if number.isdigit() and int(number) < len(self.places) else "?"


@dataclass(frozen=True)
class Planted:
    """One request."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of every value that is not a container."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def replaced(body: Any, path: tuple[Any, ...], new: Any) -> Any:
    changed = copy.deepcopy(body)
    at(changed, path[:-1])[path[-1]] = new
    return changed


def marked(body: Any, markers: Markers, place: str) -> Any:
    """The body with a marker inside every text, in such a way that references, URLs and base64 stay what they are."""
    changed = copy.deepcopy(body)
    for path in leaves(body):
        value = at(body, path)
        if isinstance(value, str) and path[-1] not in _KEPT and not (path[-1] == "code" and "coding" in path):
            marker = markers.new(f"{place} {'.'.join(map(str, path))}")
            if path[-1] == "data":
                new = encoded(base64.b64decode(value) + f" {marker}".encode())
            elif path[-1] == "div":
                new = value.replace("</div>", f"{marker}</div>")
            else:
                new = f"{value}{marker}" if value.endswith("/") else f"{value}-{marker}"
            at(changed, path[:-1])[path[-1]] = new
    return changed


# Codes, dates and types: with a marker in them the whole would be refused. Each is planted singly all the same.
_KEPT = frozenset(
    {
        "resourceType", "status", "docStatus", "contentType", "language", "date", "creation", "lastUpdated", "start",
        "end", "birthDate", "use", "mode", "type", "system", "hash", "hook", "hookInstance", "outcomeTimestamp",
        "outcome", "card", "method", "url", "task", "note_type", "occurred_at", "valueCode", "profile", "intent",
        "priority", "created", "fhirServer", "implicitRules", "name", "reference_system", "token_type", "scope",
        "valueInstant", "valueString64",
    }
)  # fmt: skip

DOCUMENT: dict[str, Any] = {
    "resourceType": "DocumentReference",
    "id": "d",
    "meta": {
        "versionId": "1", "lastUpdated": "2026-01-05T10:00:00Z", "source": "urn:uuid:3fa85f64",
        "profile": ["http://hl7.org/fhir/StructureDefinition/DocumentReference"],
        "security": [{"system": "urn:x", "display": "label"}], "tag": [{"system": "urn:x", "display": "tag"}],
    },
    "language": "en",
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">narrative</div>'},
    "contained": [{"resourceType": "Patient", "id": "c", "name": [{"family": "family", "given": ["given"]}],
                   "birthDate": "1950-01-01", "telecom": [{"system": "phone", "value": "555"}]}],
    "extension": [{"url": "http://example.org/x", "valueString": "extension"}],
    "masterIdentifier": {"system": "urn:ietf:rfc:3986", "value": "master"},
    "identifier": [{"system": "urn:mrn", "value": "identifier", "assigner": {"display": "assigner"}}],
    "status": "current",
    "docStatus": "final",
    "type": {"coding": [{"system": "http://loinc.org", "code": "34117-2", "display": "display"}], "text": "text"},
    "category": [{"coding": [{"system": "urn:x", "display": "category"}], "text": "text"}],
    "subject": {"reference": "Patient/", "display": "subject", "identifier": {"system": "urn:mrn", "value": "mrn"}},
    "date": "2026-01-05T10:00:00Z",
    "author": [{"reference": "Practitioner/", "display": "author"}],
    "authenticator": {"reference": "Practitioner/", "display": "authenticator"},
    "custodian": {"reference": "Organization/", "display": "custodian"},
    "relatesTo": [{"code": "appends", "target": {"reference": "DocumentReference/", "display": "target"}}],
    "description": "description",
    "securityLabel": [{"coding": [{"system": "urn:x", "display": "label"}], "text": "label"}],
    "content": [
        {
            "attachment": {"contentType": "text/plain", "language": "en", "data": encoded(TEXT), "title": "title",
                           "creation": "2026-01-05T10:00:00Z"},
            "format": {"system": "urn:x", "code": "urn:x:1", "display": "format"},
        }
    ],
    "context": {
        "encounter": [{"reference": "Encounter/", "display": "encounter"}],
        "event": [{"text": "event"}],
        "period": {"start": "2026-01-01T10:00:00Z", "end": "2026-01-05T10:00:00Z"},
        "facilityType": {"text": "facility"},
        "practiceSetting": {"text": "setting"},
        "sourcePatientInfo": {"reference": "Patient/", "display": "info"},
        "related": [{"reference": "Claim/", "display": "related"}],
    },
}  # fmt: skip
_PARAMETERS = {
    "resourceType": "Parameters",
    "id": "p",
    "parameter": [
        {"name": "document", "resource": DOCUMENT},
        {"name": "task", "valueCode": "readmission_30d"},
        {"name": "explain", "valueBoolean": True},
    ],
}
_STAY = {
    "resourceType": "Encounter", "id": "e", "meta": {"lastUpdated": "2026-01-05T10:00:00Z"}, "status": "finished",
    "identifier": [{"system": "urn:visit", "value": "visit"}], "class": {"system": "urn:act", "code": "IMP"},
    "subject": {"reference": "Patient/", "display": "name"}, "period": {"start": "2026-01-01", "end": "2026-01-05"},
    "location": [{"location": {"reference": "Location/", "display": "ward"}}],
    "hospitalization": {"dischargeDisposition": {"text": "home"}},
}  # fmt: skip
_CONDITION = {
    "resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/", "display": "name"},
    "encounter": {"reference": "Encounter/"}, "recorder": {"display": "recorder"}, "note": [{"text": "note"}],
    "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "I50.9"}], "text": "heart failure"},
}  # fmt: skip
_CLAIM = {
    "resourceType": "ClaimResponse", "id": "r", "status": "active", "type": {"text": "claim"}, "use": "claim",
    "patient": {"reference": "Patient/", "display": "name"}, "created": "2026-01-05", "outcome": "complete",
    "insurer": {"display": "insurer"}, "disposition": "denied", "request": {"reference": "Claim/"},
}  # fmt: skip


def _batch(*entries: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "resourceType": "Bundle", "id": "b", "type": "batch",
        "entry": [{"fullUrl": "urn:uuid:3fa85f64", "resource": resource, "request": {"method": method, "url": url}}
                  for method, url, resource in entries],
    }  # fmt: skip


_PREFETCH = {
    "hook": "patient-view", "hookInstance": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "fhirServer": "https://ehr.example",
    "fhirAuthorization": {"access_token": "secret", "token_type": "Bearer", "expires_in": 300, "scope": "user/*.read",
                          "subject": "client", "patient": "patient"},
    "context": {"userId": "Practitioner/", "patientId": "p", "encounterId": "e"},
    "prefetch": {"notes": {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": DOCUMENT}]},
                 "patient": {"resourceType": "Patient", "name": [{"family": "family"}]}},
    "extension": {"vendor": "vendor"},
}  # fmt: skip
_FEEDBACK = {
    "feedback": [
        {"card": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "outcome": "overridden",
         "overrideReason": {"reason": {"system": "urn:x", "code": "why", "display": "why"}, "userComment": "comment"},
         "acceptedSuggestions": [{"id": "suggestion"}], "outcomeTimestamp": "2026-01-05T10:00:00Z"}
    ]
}  # fmt: skip
_NOTIFICATION = {
    "resourceType": "Bundle", "id": "n", "type": "history",
    "entry": [
        {"fullUrl": "urn:uuid:3fa85f64", "request": {"method": "GET", "url": "Subscription/s/$status"},
         "resource": {"resourceType": "Parameters", "id": "s", "parameter": [
             {"name": "subscription", "valueReference": {"reference": "https://ehr.example/fhir/Subscription/"}},
             {"name": "topic", "valueCanonical": "http://example.org/topic"},
             {"name": "status", "valueCode": "active"}, {"name": "type", "valueCode": "event-notification"},
             {"name": "notification-event", "part": [
                 {"name": "event-number", "valueString": "2"},
                 {"name": "focus", "valueReference": {"reference": "DocumentReference/"}}]}]}},
        {"fullUrl": "https://ehr.example/fhir/DocumentReference/d", "resource": DOCUMENT,
         "request": {"method": "POST", "url": "DocumentReference"}},
    ],
}  # fmt: skip

BODIES: dict[str, list[dict[str, Any]]] = {
    "/fhir/DocumentReference/$score": [DOCUMENT, _PARAMETERS],
    "/fhir": [
        _batch(("POST", "DocumentReference/$score", DOCUMENT), ("PUT", "Encounter/e", _STAY),
               ("PUT", "Condition/c", _CONDITION), ("PUT", "ClaimResponse/r", _CLAIM)),
    ],
    "/fhir/$notification": [_NOTIFICATION],
    "/v1/score": [{"notes": [{"id": "n", "text": TEXT, "note_type": "34117-2"}], "tasks": ["readmission_30d"],
                   "explain": True}],
    "/v1/outcomes": [{"outcomes": [{"encounter": "Encounter/", "subject": "Patient/", "task": "readmission_30d",
                                    "option": "yes", "occurred_at": "2026-01-05T10:00:00Z"}]}],
    "/cds-services/{service_id}": [_PREFETCH],
    "/cds-services/{service_id}/feedback": [_FEEDBACK],
    "/logout": [{}],
}  # fmt: skip
"""Good bodies of every route that takes one, by its path in the OpenAPI document."""
KNOWN_VALUES = {"service_id": "lang1-patient-view"}
"""Values with which a path is a route at all."""


def attachments(marker: Callable[[str], str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Attachments of every type, each good or broken in its own way, the marker in each."""
    for kind, whole in _files().items():
        for way, break_it in _BREAKS.items():
            text = whole.replace(b"@", marker(f"{kind} {way}").encode())
            yield f"{kind} {way}", {"contentType": kind, "data": encoded(break_it(text)), "title": marker("title")}
    plain = encoded(TEXT)
    yield "base64", {"contentType": "text/plain", "data": f"{marker('base64')}!{plain}"}
    yield "hash", {"contentType": "text/plain", "data": plain, "hash": encoded(marker("hash")[:20].ljust(20))}
    yield "type", {"contentType": marker("type"), "data": plain}
    yield "charset", {"contentType": f"text/plain; charset={marker('charset')}", "data": plain}
    yield "image", {"contentType": "image/png", "data": encoded(f"\x89PNG {marker('image')}")}
    for way, url in (("elsewhere", "http://elsewhere.example/{}"), ("base", "http://127.0.0.1:9/fhir/Binary/{}"),
                     ("relative", "Binary/{}"), ("user", "http://{}@127.0.0.1:9/fhir/Binary/1"),
                     ("file", "file:///etc/{}")):  # fmt: skip
        yield f"url {way}", {"contentType": "text/plain", "url": url.format(marker(way))}


def _files() -> dict[str, bytes]:
    stream = zlib.compress(f"BT /F1 12 Tf ({TEXT} @) Tj ET".encode())
    return {
        "text/plain": f"{TEXT} @".encode(),
        "text/html": f"<html><head><title>@</title></head><body><p class='@'>{TEXT} @</p><!-- @ --></body>".encode(),
        "application/xhtml+xml": f'<div xmlns="http://www.w3.org/1999/xhtml" id="@">{TEXT} @</div>'.encode(),
        "text/xml": f'<ClinicalDocument xmlns="urn:hl7-org:v3"><title>@</title><component><structuredBody><component>'
        f"<section><text>{TEXT} @</text></section></component></structuredBody></component>"
        "</ClinicalDocument>".encode(),
        "text/rtf": rb"{\rtf1\ansi{\info{\author @}}" + f"{TEXT} @".encode() + b"}",
        "application/pdf": b"%PDF-1.4\n1 0 obj<</Title(@)/Length " + str(len(stream)).encode()
        + b"/Filter/FlateDecode>>stream\n" + stream + b"\nendstream endobj trailer<</Root 1 0 R/Info(@)>>",
    }  # fmt: skip


_BREAKS: dict[str, Callable[[bytes], bytes]] = {
    "whole": lambda data: data,
    "cut": lambda data: data[: len(data) * 2 // 3],
    "wrong bytes": lambda data: data + b"\xff\xfe\xfa",
    "nested": lambda data: data[:40] * 400,
    "entity": lambda data: b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + data,
}
