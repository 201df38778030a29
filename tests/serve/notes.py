"""Notes and FHIR resources for the tests, all invented."""

from __future__ import annotations

import base64
from typing import Any

TEXT = (
    "The patient was admitted with chest pain and shortness of breath. History of diabetes, heart failure and renal "
    "disease. Plan: diuresis, echocardiogram, and follow up with cardiology after discharge."
)
SCORE = "/fhir/DocumentReference/$score"
FHIR = {"Content-Type": "application/fhir+json"}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def document(text: str = TEXT, **changes: Any) -> dict[str, Any]:
    """A good DocumentReference; `changes` replace elements, and None removes one."""
    resource: dict[str, Any] = {
        "resourceType": "DocumentReference",
        "id": "note-1",
        "status": "current",
        "type": {"coding": [{"system": "http://loinc.org", "code": "34117-2"}]},
        "subject": {"reference": "Patient/p1"},
        "content": [{"attachment": {"contentType": "text/plain", "data": encoded(text)}}],
        "context": {"encounter": [{"reference": "Encounter/e1"}]},
    }
    resource |= changes
    return {name: value for name, value in resource.items() if value is not None}


def with_attachment(**attachment: Any) -> dict[str, Any]:
    return document(content=[{"attachment": attachment}])


def parameters(resource: dict[str, Any], *tasks: str, **flags: bool) -> dict[str, Any]:
    entries: list[dict[str, Any]] = [{"name": "document", "resource": resource}]
    entries += [{"name": "task", "valueCode": task} for task in tasks]
    entries += [{"name": name, "valueBoolean": value} for name, value in flags.items()]
    return {"resourceType": "Parameters", "parameter": entries}


def batch(*resources: dict[str, Any]) -> dict[str, Any]:
    entries = [
        {"resource": each, "request": {"method": "POST", "url": "DocumentReference/$score"}} for each in resources
    ]
    return {"resourceType": "Bundle", "type": "batch", "entry": entries}
