"""What each route takes and answers. A route that is not here must say so itself; a test walks them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fhir_adapters.cds_hooks import SERVICES
from serve.beds.settings import MAX_HORIZON_DAYS
from serve.openapi.fhir import FHIR_ID, SEARCH_DATE
from serve.openapi.shapes import COUNT, FILLED, TIME, UUID, Schema, many, one_of
from serve.routes.fhir_search import PARAMETERS, SUPPORTED
from serve.routes.retraining import MAX_LIMIT

PROMETHEUS: Final = "text/plain"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. Errors that come with a body, a path parameter and so on need not be named."""

    id: str
    answer: str | None = None
    """Component of the 200, where the route does not declare it."""
    takes: str | None = None
    """Component of the body, where the route does not declare it."""
    errors: tuple[int, ...] = ()
    """Statuses that only this route has."""
    media_type: str | None = None
    """Of the 200, where it is not the route family's."""
    parameters: Mapping[str, Schema] = field(default_factory=dict)
    """Shapes of path and query parameters."""
    links: Mapping[str, Any] = field(default_factory=dict)
    """What the 200 leads to (OpenAPI Link Objects)."""
    example: str | None = None
    """Name of a ready body, see `examples`."""


_FIRST: Final = "$response.body#/entry/0/resource"
_TO_READ: Final = {
    "RiskAssessment": {"operationId": "readRiskAssessment", "parameters": {"assessment_id": f"{_FIRST}/id"}},
    "RiskAssessments of the patient": {
        "operationId": "searchRiskAssessments", "parameters": {"subject": f"{_FIRST}/subject/reference"},
    },
}  # fmt: skip
_TO_FEEDBACK: Final = {
    "Feedback on the first card": {
        "operationId": "sendCardFeedback", "parameters": {"service_id": "$request.path.service_id"},
        "requestBody": {"feedback": [
            {"card": "$response.body#/cards/0/uuid", "outcome": "accepted", "outcomeTimestamp": "2026-01-01T00:00:00Z"}
        ]},
    },
}  # fmt: skip
_SERVICE_ID: Final = {"service_id": one_of(*SERVICES) | {"examples": ["lang1-encounter-discharge"]}}


def _to_definition(kind: str) -> dict[str, Any]:
    return {kind: {"operationId": f"read{kind}", "parameters": {"definition_id": f"{_FIRST}/id"}}}


OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("GET", "/livez"): Operation("isAlive", "Alive"),
    ("GET", "/readyz"): Operation("isReady", "Ready"),
    ("GET", "/metrics"): Operation("metrics", "Text", media_type=PROMETHEUS),
    ("POST", "/v1/score"): Operation("scoreNotes", "ScoreAnswer", errors=(404,), example="notes"),
    ("POST", "/v1/outcomes"): Operation("recordOutcomes", "OutcomeResults"),
    ("GET", "/v1/outcomes/coverage"): Operation(
        "readOutcomeCoverage", "OutcomeCoverage",
        parameters=dict.fromkeys(("discharged_from", "discharged_before"), TIME),
    ),
    ("GET", "/v1/beds/forecast"): Operation(
        "forecastBeds", errors=(404,),
        parameters={"days": {"type": "integer", "minimum": 1, "maximum": MAX_HORIZON_DAYS}},
    ),
    ("GET", "/beds"): Operation("showBedBoard", "Text", media_type="text/html"),
    ("GET", "/v1/model"): Operation("readModel", "Model"),
    ("GET", "/v1/models"): Operation("listModels", "Models"),
    # 501: the service has no registry. 404: no bundle with this hash. 409: the state does not allow the move.
    ("GET", "/v1/rollout"): Operation("readRollout", "Rollout", errors=(501,)),
    ("POST", "/v1/rollout"): Operation("moveRollout", "RolloutMoved", errors=(404, 409, 501), example="move"),
    ("GET", "/v1/retraining"): Operation(
        "listRetraining", parameters={"limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}}
    ),
    ("POST", "/v1/retraining"): Operation("askRetraining", example="retraining"),
    ("POST", "/v1/retraining/alerts"): Operation("askRetrainingByAlerts", example="alertmanager"),
    ("POST", "/fhir/DocumentReference/$score"): Operation(
        # 424 and 502: the attachment is a URL on the EHR's FHIR server, and it is not there or does not answer.
        "scoreDocument", "ScoreBundle", "ScoreInput", (404, 424, 502), links=_TO_READ, example="document",
    ),
    ("POST", "/fhir"): Operation("scoreBatch", "BatchResponse", "Batch", example="batch"),
    ("POST", "/fhir/$notification"): Operation(
        # 404: the setting `notifications` is off.
        "takeNotification", "OperationOutcome", "Notification", (404,), example="handshake",
    ),
    ("GET", "/fhir/RiskAssessment/{assessment_id}"): Operation(
        "readRiskAssessment", "RiskAssessment", parameters={"assessment_id": UUID}
    ),
    ("GET", "/fhir/RiskAssessment"): Operation(
        "searchRiskAssessments", "RiskAssessmentSearchset", links=_TO_READ,
        parameters={
            **dict.fromkeys(PARAMETERS, FILLED), "_lastUpdated": many(SEARCH_DATE, 1), "_count": COUNT,
            **{name: one_of(*values) for name, values in SUPPORTED.items()},
        },
    ),
    ("GET", "/fhir/AuditEvent"): Operation(
        "searchAuditEvents", "AuditEventSearchset",
        parameters={"date": many(SEARCH_DATE, 1), "patient": FILLED, "_count": COUNT},
        links={"AuditEvent": {"operationId": "readAuditEvent", "parameters": {"event_id": f"{_FIRST}/id"}}},
    ),
    ("GET", "/fhir/AuditEvent/{event_id}"): Operation(
        "readAuditEvent", "AuditEvent", parameters={"event_id": FHIR_ID}
    ),
    ("GET", "/fhir/metadata"): Operation("readCapabilities", "CapabilityStatement"),
    **{
        ("GET", f"/fhir/{kind}/{{definition_id}}"): Operation(
            f"read{kind}", kind, parameters={"definition_id": FHIR_ID}
        )
        for kind in ("OperationDefinition", "StructureDefinition", "CodeSystem")
    },
    **{
        ("GET", f"/fhir/{kind}"): Operation(f"search{kind}s", f"{kind}Searchset", links=_to_definition(kind))
        for kind in ("OperationDefinition", "StructureDefinition", "CodeSystem")
    },
    ("GET", "/.well-known/jwks.json"): Operation("readOwnKeys", "JwkSet", errors=(404,)),
    ("GET", "/.well-known/smart-configuration"): Operation(
        "readSmartConfiguration", "SmartConfiguration", errors=(404,)
    ),
    ("GET", "/fhir/.well-known/smart-configuration"): Operation(
        "readSmartConfigurationOfFhir", "SmartConfiguration", errors=(404,), media_type="application/json"
    ),
    ("GET", "/cds-services"): Operation("discoverCdsServices", "CdsServices"),
    ("POST", "/cds-services/{service_id}"): Operation(
        "callCdsService", "CdsCards", "CdsRequest", (412, 424, 502), parameters=_SERVICE_ID, links=_TO_FEEDBACK,
        example="hook",
    ),
    ("POST", "/cds-services/{service_id}/feedback"): Operation(
        "sendCardFeedback", "Nothing", "CdsFeedback", parameters=_SERVICE_ID
    ),
}  # fmt: skip
