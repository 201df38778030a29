"""Bundles that the service answers with: collection, searchset and batch-response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fhir_adapters.errors import FhirInputError
from fhir_adapters.operation_outcome import outcome_from_error


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """One entry of a batch-response. `status` is an HTTP status line ("200 OK"); `outcome` an OperationOutcome."""

    status: str
    resource: dict[str, Any] | None = None
    outcome: dict[str, Any] | None = None
    location: str | None = None
    etag: str | None = None
    last_modified: str | None = None


def collection_bundle(resources: Sequence[dict[str, Any]], *, base_url: str | None = None) -> dict[str, Any]:
    """A `collection` Bundle, in the given order. `base_url` is this service's FHIR base, for `fullUrl`."""
    return _bundle("collection", entry=[_entry(resource, base_url) for resource in resources])


def searchset_bundle(
    resources: Sequence[dict[str, Any]],
    *,
    total: int,
    self_url: str,
    next_url: str | None = None,
    previous_url: str | None = None,
    base_url: str | None = None,
    outcome: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A `searchset` Bundle of one page. `total` counts all matches; `outcome` is an OperationOutcome on the search."""
    links = [("self", self_url), ("next", next_url), ("previous", previous_url)]
    entries: list[dict[str, Any]] = [
        {**_entry(resource, base_url), "search": {"mode": "match"}} for resource in resources
    ]
    if outcome is not None:
        entries.append({"resource": outcome, "search": {"mode": "outcome"}})
    link = [{"relation": relation, "url": url} for relation, url in links if url is not None]
    return _bundle("searchset", total=total, link=link, entry=entries)


def batch_response_bundle(entries: Sequence[BatchAnswer]) -> dict[str, Any]:
    """A `batch-response` Bundle, entry for entry in the order of the batch."""
    answers = []
    for one in entries:
        response = {
            "status": one.status,
            "location": one.location,
            "etag": one.etag,
            "lastModified": one.last_modified,
            "outcome": one.outcome,
        }
        answer: dict[str, Any] = {"resource": one.resource} if one.resource is not None else {}
        answers.append({**answer, "response": {name: value for name, value in response.items() if value is not None}})
    return _bundle("batch-response", entry=answers)


def failed_answer(error: FhirInputError) -> BatchAnswer:
    """The batch-response entry of an entry that failed alone."""
    return BatchAnswer(status=str(error.status), outcome=outcome_from_error(error))


def _bundle(kind: str, **members: Any) -> dict[str, Any]:
    # FHIR JSON has no empty arrays: an empty Bundle has no entry element at all.
    filled = {name: value for name, value in members.items() if value != []}
    return {"resourceType": "Bundle", "type": kind, **filled}


def _entry(resource: dict[str, Any], base_url: str | None) -> dict[str, Any]:
    full_url = _full_url(resource, base_url)
    return {"resource": resource} if full_url is None else {"fullUrl": full_url, "resource": resource}


def _full_url(resource: dict[str, Any], base_url: str | None) -> str | None:
    resource_id = resource.get("id")
    if not isinstance(resource_id, str):
        return None
    if base_url is not None:
        return f"{base_url.rstrip('/')}/{resource['resourceType']}/{resource_id}"
    try:
        return f"urn:uuid:{UUID(resource_id)}"
    except ValueError:
        return None
