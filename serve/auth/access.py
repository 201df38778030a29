"""Who may call which route: one table. A route that is not in it is closed to everyone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from starlette.routing import compile_path

from fhir_adapters.outcomes.facts import FACT_TYPES
from serve.auth.scopes import BEDS_READ, METRICS_READ, NOTIFY, OPERATE, OUTCOMES_WRITE, RETRAINING_ASK, SCORE

By = Literal["anyone", "token", "cds", "metrics", "notification"]


@dataclass(frozen=True, slots=True)
class Access:
    """What proves a caller on a route, and the scopes of which one is enough."""

    by: By = "token"
    scopes: tuple[str, ...] = ()
    session: bool = False
    """A person who is logged in may call too, with `PAGE_SCOPES`."""
    page: bool = False
    """HTML: a browser without a session is sent to the login."""


OPEN: Final = Access("anyone")
PAGE_SCOPES: Final = frozenset({BEDS_READ})
"""What a person who is logged in may do."""


def _needs(*scopes: str, session: bool = False, page: bool = False) -> Access:
    return Access("token", scopes, session, page)


# One is enough at the door; the route asks `Caller.allows` for each entry.
_BATCH: Final = (
    "system/DocumentReference.c",
    *(f"system/{resource}.{letter}" for resource in FACT_TYPES for letter in "cud"),
)

ROUTES: Final[Mapping[tuple[str, str], Access]] = {
    ("GET", "/livez"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): Access("metrics", (METRICS_READ,)),
    ("GET", "/openapi.json"): OPEN,
    ("GET", "/.well-known/smart-configuration"): OPEN,
    ("GET", "/.well-known/jwks.json"): OPEN,
    ("GET", "/login"): OPEN,
    ("GET", "/login/callback"): OPEN,
    ("POST", "/logout"): OPEN,
    ("POST", "/v1/score"): _needs(SCORE),
    ("GET", "/v1/model"): _needs(SCORE, METRICS_READ, OPERATE),
    ("GET", "/v1/models"): _needs(SCORE, METRICS_READ, OPERATE),
    ("GET", "/v1/rollout"): _needs(METRICS_READ, OPERATE),
    ("POST", "/v1/rollout"): _needs(OPERATE),
    ("POST", "/v1/outcomes"): _needs(OUTCOMES_WRITE),
    ("GET", "/v1/outcomes/coverage"): _needs(OUTCOMES_WRITE, OPERATE),
    ("GET", "/v1/retraining"): _needs(OPERATE),
    ("POST", "/v1/retraining"): _needs(OPERATE),
    ("POST", "/v1/retraining/alerts"): _needs(RETRAINING_ASK, OPERATE),
    ("GET", "/v1/beds/forecast"): _needs(BEDS_READ, session=True),
    ("GET", "/beds"): _needs(BEDS_READ, session=True, page=True),
    ("GET", "/beds/static/{name}"): OPEN,
    ("POST", "/fhir"): _needs(*_BATCH),
    ("POST", "/fhir/DocumentReference/$score"): _needs("system/DocumentReference.c"),
    ("POST", "/fhir/$notification"): Access("notification", (NOTIFY,)),
    ("GET", "/fhir/RiskAssessment"): _needs("system/RiskAssessment.s"),
    ("GET", "/fhir/RiskAssessment/{assessment_id}"): _needs("system/RiskAssessment.r"),
    ("GET", "/fhir/AuditEvent"): _needs("system/AuditEvent.s"),
    ("GET", "/fhir/AuditEvent/{event_id}"): _needs("system/AuditEvent.r"),
    # What the service says of itself: no patient's data in it.
    ("GET", "/fhir/metadata"): OPEN,
    ("GET", "/fhir/.well-known/smart-configuration"): OPEN,
    **{
        ("GET", f"/fhir/{kind}{one}"): OPEN
        for kind in ("OperationDefinition", "StructureDefinition", "CodeSystem")
        for one in ("", "/{definition_id}")
    },
    ("GET", "/cds-services"): OPEN,
    ("POST", "/cds-services/{service_id}"): Access("cds"),
    ("POST", "/cds-services/{service_id}/feedback"): Access("cds"),
}  # fmt: skip

PAGES: Final = frozenset(path for (_, path), access in ROUTES.items() if access.page) | {
    "/login", "/login/callback", "/logout"
}  # fmt: skip
"""Paths that answer in HTML."""

_PATTERNS: Final = [
    (method, compile_path(template)[0], template) for method, template in ROUTES if "{" in template
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Match:
    """A route of the table and the values of its path."""

    template: str
    access: Access
    values: Mapping[str, Any]


def find_access(method: str, path: str) -> Match | None:
    """The rule for a request, matched as the router does; None where the table has none."""
    access = ROUTES.get((method, path))
    if access is not None and "{" not in path:
        return Match(path, access, {})
    for known, pattern, template in _PATTERNS:
        if known == method and (found := pattern.match(path)):
            return Match(template, ROUTES[known, template], found.groupdict())
    return None
