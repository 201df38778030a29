"""The marks of what this service writes, by which it knows its own reports: they must never be scored as notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fhir_adapters.canonical import CANONICAL_BASE
from fhir_adapters.references import codings, objects

OBSERVATION_IDENTIFIER_SYSTEM: Final = f"{CANONICAL_BASE}/identifier/observation"
REPORT_IDENTIFIER_SYSTEM: Final = f"{CANONICAL_BASE}/identifier/risk-report"
DUPLICATE_IDENTIFIER_SYSTEM: Final = f"{CANONICAL_BASE}/identifier/duplicate"
"""Of a copy that was taken out of use: it keeps the value under this system, and one resource has the identifier."""
DOCUMENT_CATEGORY_SYSTEM: Final = f"{CANONICAL_BASE}/CodeSystem/lang1-document-category"
RISK_REPORT: Final = "risk-report"


def is_own_report(resource: Mapping[str, Any]) -> bool:
    """Whether a DocumentReference, as any JSON, is a report of this service.

    Any one mark will do (identifier, category, tag): an EHR may drop some of them.
    """
    named = objects(resource.get("identifier")) + objects([resource.get("masterIdentifier")])
    if any(each.get("system") == REPORT_IDENTIFIER_SYSTEM or _is_duplicate(each) for each in named):
        return True
    meta = resource.get("meta")
    marks = objects(meta.get("tag")) if isinstance(meta, dict) else []
    for category in objects(resource.get("category")):
        marks += codings(category)
    return any(each.get("system") == DOCUMENT_CATEGORY_SYSTEM for each in marks)


def _is_duplicate(identifier: Mapping[str, Any]) -> bool:
    return identifier.get("system") == DUPLICATE_IDENTIFIER_SYSTEM
