"""A `batch` Bundle of notes (POST /fhir): each entry is read on its own, and a bad one fails alone."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

from fhir_adapters.errors import FhirInputError
from fhir_adapters.parameters import ScoreRequest, parse_score_request
from fhir_adapters.r4 import check_resource_type
from lang1.tasks import TaskRegistry

SCORE_URLS: Final = ("DocumentReference/$score", "DocumentReference")
NOTE_TYPE: Final = "DocumentReference"
DEFAULT_MAX_ENTRIES: Final = 100
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")

Interaction = Literal["c", "u", "d"]
"""Create, update, delete: the letters of SMART scopes."""


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """One entry: exactly one of `request` (a note to score), `resource` (another accepted type), `deleted` (the id of
    one that is to be removed) and `error` is set.
    """

    index: int
    request: ScoreRequest | None = None
    resource: dict[str, Any] | None = None
    deleted: str | None = None
    error: FhirInputError | None = None
    type: str = NOTE_TYPE
    """Resource type and interaction of the request: what the caller must be allowed to do."""
    interaction: Interaction = "c"


def parse_batch(
    body: dict[str, Any],
    registry: TaskRegistry,
    *,
    max_entries: int = DEFAULT_MAX_ENTRIES,
    other_types: Collection[str] = (),
) -> list[BatchEntry]:
    """The entries of a batch, in order. `other_types` are resource types taken as they are (outcomes), unvalidated.

    Raises FhirInputError when the whole is wrong: 422 invalid (no Bundle), not-supported (a transaction or another
    Bundle type), required (no entry), 413 too-long (over `max_entries`). An entry's own error is in its BatchEntry.
    """
    check_resource_type(body, "Bundle")
    kind = body.get("type")
    if kind != "batch":
        reason = (
            "scores cannot be rolled back, so a transaction is" if kind == "transaction" else "other Bundle types are"
        )
        raise FhirInputError(
            f"Bundle.type is not batch; {reason} not taken; send a batch",
            code="not-supported",
            expression="Bundle.type",
        )
    entries = body.get("entry")
    if not isinstance(entries, list) or not entries:
        raise FhirInputError(
            "Bundle.entry is missing or empty; send at least one entry", code="required", expression="Bundle.entry"
        )
    if len(entries) > max_entries:
        raise FhirInputError(
            f"the Bundle has {len(entries)} entries, over the cap of {max_entries}; send several batches",
            code="too-long",
            status=413,
            expression="Bundle.entry",
        )
    return [_entry(index, entry, registry, other_types) for index, entry in enumerate(entries)]


def _entry(index: int, entry: object, registry: TaskRegistry, other_types: Collection[str]) -> BatchEntry:
    where = f"Bundle.entry[{index}]"
    try:
        if (removal := _removal(index, entry, other_types)) is not None:
            return removal
        resource, method, url = _parts(entry, where)
        resource_type = resource.get("resourceType")
        if isinstance(resource_type, str) and resource_type in other_types:
            return _other(index, resource, resource_type, method, url)
        if method != "POST" or url.removeprefix("/") not in SCORE_URLS:
            raise _wrong_request(where, f"POST {SCORE_URLS[0]}")
    except FhirInputError as error:
        return BatchEntry(index, error=error)
    try:
        return BatchEntry(index, request=parse_score_request(resource, registry))
    except FhirInputError as error:
        return BatchEntry(index, error=error.at(f"{where}.resource"))


def _removal(index: int, entry: object, other_types: Collection[str]) -> BatchEntry | None:
    request = entry.get("request") if isinstance(entry, dict) else None
    if not isinstance(request, dict) or request.get("method") != "DELETE":
        return None
    kind, _, own_id = str(request.get("url")).removeprefix("/").partition("/")
    if kind not in other_types or not _ID.fullmatch(own_id):
        wanted = f"DELETE <type>/<id> of {', '.join(sorted(other_types))}" if other_types else f"POST {SCORE_URLS[0]}"
        raise _wrong_request(f"Bundle.entry[{index}]", wanted)
    return BatchEntry(index, deleted=own_id, type=kind, interaction="d")


def _other(index: int, resource: dict[str, Any], kind: str, method: str, url: str) -> BatchEntry:
    where, url = f"Bundle.entry[{index}]", url.removeprefix("/")
    if method == "POST" and url == kind:
        return BatchEntry(index, resource=resource, type=kind)
    own_id = url.removeprefix(f"{kind}/") if method == "PUT" and url.startswith(f"{kind}/") else ""
    if not _ID.fullmatch(own_id):
        raise _wrong_request(where, f"POST {kind}, PUT {kind}/<id> or DELETE {kind}/<id>")
    if resource.get("id") != own_id:
        raise FhirInputError(
            f"the id in {where}.request.url is not the resource's own id; send the same id in both",
            code="value",
            expression=f"{where}.request.url",
        )
    return BatchEntry(index, resource=resource, type=kind, interaction="u")


def _parts(entry: object, where: str) -> tuple[dict[str, Any], str, str]:
    resource = entry.get("resource") if isinstance(entry, dict) else None
    request = entry.get("request") if isinstance(entry, dict) else None
    if not isinstance(request, dict):
        raise FhirInputError(
            f"{where}.request is missing (R4 rule bdl-3); send method POST and url {SCORE_URLS[0]}",
            code="required",
            expression=f"{where}.request",
        )
    if not isinstance(resource, dict):
        raise FhirInputError(
            f"{where}.resource is missing; send the DocumentReference", code="required", expression=f"{where}.resource"
        )
    return resource, str(request.get("method")), str(request.get("url"))


def _wrong_request(where: str, wanted: str) -> FhirInputError:
    return FhirInputError(
        f"{where}.request is not one this service takes; send {wanted}",
        code="not-supported",
        expression=f"{where}.request",
    )
