"""A DocumentReference that takes itself back: read for that alone, since such documents are often emptied first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fhir_adapters.references import identifier_token, is_storable, objects, text_of

_IN_ERROR: Final = "entered-in-error"
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")


@dataclass(frozen=True, slots=True)
class MistakenDocument:
    """A document that was entered in error. References are PHI, for the store and not for logs."""

    document: str
    """As scores name it: see `document_name`."""
    subject: str | None
    """Literal reference or `system|value`; None where the document no longer says whose it was."""


def mistaken_document(resource: Mapping[str, Any]) -> MistakenDocument | None:
    """What a DocumentReference in JSON takes back; None for one that stands, or that nothing names."""
    if resource.get("resourceType") != "DocumentReference":
        return None
    if _IN_ERROR not in (resource.get("status"), resource.get("docStatus")):
        return None
    found = text_of(resource, "id")
    name = document_name(
        found if found is not None and _ID.fullmatch(found) else None,
        identifier_token(resource.get("masterIdentifier")),
        next(filter(None, map(identifier_token, objects(resource.get("identifier")))), None),
    )
    if name is None or not is_storable(name):
        return None
    subject = resource.get("subject")
    literal = text_of(subject, "reference")
    token = identifier_token(subject.get("identifier")) if isinstance(subject, dict) else None
    who = token if literal is None or literal.startswith("#") else literal
    return MistakenDocument(name, who if who is not None and is_storable(who) else None)


def document_name(document_id: str | None, master_identifier: str | None, identifier: str | None) -> str | None:
    """How a document is named to its source: `DocumentReference/<id>`, else its masterIdentifier or identifier."""
    return f"DocumentReference/{document_id}" if document_id is not None else master_identifier or identifier
