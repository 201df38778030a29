"""What the service says about itself: CapabilityStatement, generated from its routes and tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fhir_adapters.canonical import CANONICAL_BASE, FHIR_JSON, FHIR_VERSION, SCORE_OPERATION
from lang1.tasks import Task

SEARCH_PARAMETERS: Final[Mapping[str, tuple[str, str]]] = {
    "subject": ("reference", "http://hl7.org/fhir/SearchParameter/RiskAssessment-subject"),
    "patient": ("reference", "http://hl7.org/fhir/SearchParameter/clinical-patient"),
    "encounter": ("reference", "http://hl7.org/fhir/SearchParameter/RiskAssessment-encounter"),
    "identifier": ("token", "http://hl7.org/fhir/SearchParameter/clinical-identifier"),
    "method": ("token", "http://hl7.org/fhir/SearchParameter/RiskAssessment-method"),
    "_lastUpdated": ("date", "http://hl7.org/fhir/SearchParameter/Resource-lastUpdated"),
    "_id": ("token", "http://hl7.org/fhir/SearchParameter/Resource-id"),
}
"""R4 search parameters of RiskAssessment that a service may offer: type and definition."""


@dataclass(frozen=True, slots=True)
class ServedResource:
    """One resource type of the routes: its R4 interaction codes (`read`, `search-type`, ...) and search parameters."""

    type: str
    interactions: tuple[str, ...] = ()
    search_parameters: tuple[str, ...] = ()
    operations: tuple[tuple[str, str], ...] = ()
    """(name without `$`, canonical URL of its OperationDefinition)."""


DEFAULT_RESOURCES: Final = (
    ServedResource("DocumentReference", operations=(("score", SCORE_OPERATION),)),
    ServedResource(
        "RiskAssessment",
        interactions=("read", "search-type"),
        search_parameters=("subject", "patient", "encounter", "identifier", "_lastUpdated"),
    ),
)


def capability_statement(
    registry: Mapping[str, Task],
    *,
    software_version: str,
    url: str,
    date: str,
    resources: Sequence[ServedResource] = DEFAULT_RESOURCES,
    system_interactions: Collection[str] = ("batch",),
    smart: bool = False,
) -> dict[str, Any]:
    """The R4 CapabilityStatement of this instance. `url` is its FHIR base, `date` a FHIR dateTime (start or release).

    Raises KeyError for a search parameter that is not in SEARCH_PARAMETERS.
    """
    rest: dict[str, Any] = {
        "mode": "server",
        "documentation": f"Scores clinical notes for: {'; '.join(task.title for task in registry.values())}.",
        "resource": [_resource(served) for served in resources],
    }
    if smart:
        service = {"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}
        rest["security"] = {"cors": False, "service": [{"coding": [service]}]}
    if system_interactions:
        rest["interaction"] = [{"code": code} for code in system_interactions]
    return {
        "resourceType": "CapabilityStatement",
        "url": f"{CANONICAL_BASE}/CapabilityStatement/lang1",
        "version": software_version,
        "name": "Lang1",
        "title": "Lang1 risk scoring of clinical notes",
        "status": "active",
        "date": date,
        "kind": "instance",
        "software": {"name": "Lang1", "version": software_version},
        "implementation": {"description": "Lang1 inference service", "url": url},
        "fhirVersion": FHIR_VERSION,
        "format": [FHIR_JSON, "json"],
        "rest": [rest],
    }


def _resource(served: ServedResource) -> dict[str, Any]:
    resource: dict[str, Any] = {"type": served.type}
    if served.interactions:
        resource["interaction"] = [{"code": code} for code in served.interactions]
    if served.search_parameters:
        resource["searchParam"] = [
            {"name": name, "definition": SEARCH_PARAMETERS[name][1], "type": SEARCH_PARAMETERS[name][0]}
            for name in served.search_parameters
        ]
    if served.operations:
        resource["operation"] = [{"name": name, "definition": definition} for name, definition in served.operations]
    return resource
