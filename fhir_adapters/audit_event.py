"""One audited access to one score, or one search, as a FHIR R4 AuditEvent in IHE's Basic Audit Log Patterns (BALP 1.1).

https://profiles.ihe.net/ITI/BALP. An event names a BALP profile in `meta.profile` only when it holds all that the
profile requires: a client of unknown network address, or a search of unknown words, leaves it out.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fhir_adapters.canonical import CANONICAL_BASE
from fhir_adapters.references import identifier_from_token

BALP: Final = "https://profiles.ihe.net/ITI/BALP"
PREDICTION_IDENTIFIER_SYSTEM: Final = f"{CANONICAL_BASE}/identifier/prediction"
CLIENT_IDENTIFIER_SYSTEM: Final = f"{CANONICAL_BASE}/identifier/client"
SERVICE_ID: Final = "service"

_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem"
_REST: Final = {"system": f"{_TERMINOLOGY}/audit-event-type", "code": "rest", "display": "Restful Operation"}
_INTERACTION_SYSTEM: Final = "http://hl7.org/fhir/restful-interaction"
_DICOM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_SOURCE_ROLE: Final = {"system": _DICOM, "code": "110153", "display": "Source Role ID"}
_DESTINATION_ROLE: Final = {"system": _DICOM, "code": "110152", "display": "Destination Role ID"}
_IP_ADDRESS, _URI = "2", "5"
_RESOURCE: Final = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)/[A-Za-z0-9.-]{1,64}(?:/_history/[A-Za-z0-9.-]{1,64})?$")


@dataclass(frozen=True, slots=True)
class Access:
    """One event. `query` is the search as it was asked, `RiskAssessment?patient=1`; addresses are None when unknown."""

    event_id: str
    recorded: datetime
    """Aware."""
    action: str
    """As the audit table has it: `score`, `show`, `read`, `search`, `audit`, `write-back`, `retract`, `merge`, …"""
    source: str
    """Who asked: the name of the client system."""
    request_id: str
    prediction: str | None = None
    """The score's id; it is also the id of its RiskAssessment, where it has a patient."""
    subject: str | None = None
    """A literal reference or `system|value`; None when there is none, or none any more."""
    client_address: str | None = None
    query: str | None = None


@dataclass(frozen=True, slots=True)
class Observer:
    """This service, which records, and the FHIR server that it writes to."""

    url: str
    software_version: str
    ehr_url: str | None = None


@dataclass(frozen=True, slots=True)
class _Pattern:
    profile: str
    action: str
    interactions: tuple[str, ...]
    client_is_source: bool = True
    """DICOM's roles: who gives the data, or, in a search, the question."""


# $score makes RiskAssessments and stores them; BALP has no pattern of its own for operations.
_SCORE: Final = _Pattern("Create", "C", ("create", "operation"))
_PATTERNS: Final = {
    "score": _SCORE,
    "show": _Pattern("Read", "R", ("read", "operation"), client_is_source=False),
    "read": _Pattern("Read", "R", ("read",), client_is_source=False),
    "search": _Pattern("Query", "E", ("search-type",)),
    "audit": _Pattern("Query", "E", ("search-type",)),
    "write-back": _Pattern("Create", "C", ("create",)),
    "retract": _Pattern("Update", "U", ("update",)),
    "merge": _Pattern("Update", "U", ("update",)),
    "forget": _Pattern("Delete", "D", ("delete",)),
    "prune": _Pattern("Delete", "D", ("delete",)),
}
# A row of newer code is still shown, as what is certain of it: something was carried out.
_UNKNOWN: Final = _Pattern("", "E", ("operation",))


def access_to_audit_event(access: Access, observer: Observer) -> dict[str, Any]:
    """The AuditEvent of an access, as JSON values."""
    pattern = _PATTERNS.get(access.action, _UNKNOWN)
    agents = _agents(access, pattern, observer)
    entities = _entities(access, pattern)
    profile = _profile(pattern, agents, entities)
    return {
        "resourceType": "AuditEvent",
        "id": access.event_id,
        **({"meta": {"profile": [profile]}} if profile else {}),
        "contained": [_service(observer)],
        "type": _REST,
        "subtype": [{"system": _INTERACTION_SYSTEM, "code": code, "display": code} for code in pattern.interactions],
        "action": pattern.action,
        "recorded": access.recorded.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "outcome": "0",
        "agent": agents,
        "source": {
            "observer": {"reference": f"#{SERVICE_ID}"},
            "type": [
                {"system": f"{_TERMINOLOGY}/security-source-type", "code": "4", "display": "Application Server"},
            ],
        },
        "entity": entities,
    }


def _service(observer: Observer) -> dict[str, Any]:
    return {
        "resourceType": "Device",
        "id": SERVICE_ID,
        "deviceName": [{"name": "Lang1", "type": "user-friendly-name"}],
        "version": [{"value": observer.software_version}],
        "url": observer.url,
    }


def _agents(access: Access, pattern: _Pattern, observer: Observer) -> list[dict[str, Any]]:
    itself = {"who": {"reference": f"#{SERVICE_ID}"}}
    own_network = {"network": {"address": observer.url, "type": _URI}}
    if access.action == "write-back":
        # Here the service is the client, and the hospital's FHIR server the other side.
        client: dict[str, Any] = {**itself, **own_network}
        server: dict[str, Any] = {"who": {"display": "FHIR server of the EHR"}}
        if observer.ehr_url is not None:
            server["network"] = {"address": observer.ehr_url, "type": _URI}
    else:
        client = {"who": {"identifier": {"system": CLIENT_IDENTIFIER_SYSTEM, "value": access.source}}}
        if access.client_address is not None:
            client["network"] = {"address": access.client_address, "type": _IP_ADDRESS}
        server = {**itself, **own_network}
    roles = (_SOURCE_ROLE, _DESTINATION_ROLE) if pattern.client_is_source else (_DESTINATION_ROLE, _SOURCE_ROLE)
    return [
        {"type": _concept(roles[0]), **client, "requestor": True},
        {"type": _concept(roles[1]), **server, "requestor": False},
    ]


def _entities(access: Access, pattern: _Pattern) -> list[dict[str, Any]]:
    entities: list[dict[str, Any]] = [
        {
            "what": {"identifier": {"value": access.request_id}},
            "type": {"system": f"{BALP}/CodeSystem/BasicAuditEntityType", "code": "XrequestId"},
        }
    ]
    if access.prediction is not None and pattern.profile != "Query":
        entities.append(
            {
                "what": _what(access.prediction, access.subject),
                "type": _entity_type("2", "System Object"),
                "role": _entity_role("4", "Domain Resource"),
            }
        )
    if pattern.profile == "Query" and access.query is not None:
        entities.append(
            {
                "type": _entity_type("2", "System Object"),
                "role": _entity_role("24", "Query"),
                "query": base64.b64encode(access.query.encode()).decode(),
            }
        )
    if access.subject is not None and (patient := _patient(access.subject)) is not None:
        entities.append({"what": patient, "type": _entity_type("1", "Person"), "role": _entity_role("1", "Patient")})
    return entities


def _what(prediction: str, subject: str | None) -> dict[str, Any]:
    if subject is not None:
        return {"reference": f"RiskAssessment/{prediction}", "type": "RiskAssessment"}
    # R4 has no RiskAssessment without a subject: a score of plain text has none, and one that was deleted no more.
    return {"identifier": {"system": PREDICTION_IDENTIFIER_SYSTEM, "value": prediction}}


def _patient(subject: str) -> dict[str, Any] | None:
    """A Reference to the patient; None for a subject that is known to be something else (a Group, a Device)."""
    if "|" in subject:
        return {"type": "Patient", "identifier": identifier_from_token(subject)}
    kind = _RESOURCE.search(subject)
    if kind is not None and kind[1] != "Patient":
        return None
    return {"reference": subject, "type": "Patient"}


def _profile(pattern: _Pattern, agents: list[dict[str, Any]], entities: list[dict[str, Any]]) -> str | None:
    """The BALP profile that the event meets, if any."""
    kinds = {entity["type"]["code"] for entity in entities}
    if not pattern.profile or not all("network" in agent for agent in agents) or "2" not in kinds:
        return None
    of_patient = "Patient" if "1" in kinds else ""
    return f"{BALP}/StructureDefinition/IHE.BasicAudit.{of_patient}{pattern.profile}"


def _entity_type(code: str, display: str) -> dict[str, str]:
    return {"system": f"{_TERMINOLOGY}/audit-entity-type", "code": code, "display": display}


def _entity_role(code: str, display: str) -> dict[str, str]:
    return {"system": f"{_TERMINOLOGY}/object-role", "code": code, "display": display}


def _concept(coding: dict[str, str]) -> dict[str, Any]:
    return {"coding": [coding]}
