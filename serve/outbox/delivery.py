"""One resource to the EHR, made once and kept right, whatever was lost on the way before. Knows no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlencode

from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import ErrorKind, FhirServerError
from fhir_adapters.client.urls import parse_reference
from fhir_adapters.references import identifier_token, objects
from fhir_adapters.sinks.own_reports import DUPLICATE_IDENTIFIER_SYSTEM
from fhir_adapters.sinks.sink import Sink, WriteBack, strength, with_withdrawal

WriteMode = Literal["conditional-create", "update-as-create"]
Ending = Literal["created", "found", "changed", "gone"]
_MOVING: Final = (ErrorKind.PRECONDITION, ErrorKind.CONFLICT)
# Somebody else changes the same resource at the same time: read it again, but not for ever.
_READS: Final = 4
_MAX_DUPLICATES: Final = 100


@dataclass(frozen=True, slots=True)
class Delivered:
    """`reference` is what the EHR calls the resource (`Type/id`); None for one that it deleted."""

    reference: str | None
    how: Ending


class Delivery:
    """Writes of one sink by one client. Thread-safe; each call raises FhirServerError."""

    def __init__(self, client: FhirClient, sink: Sink, mode: WriteMode) -> None:
        self._client = client
        self._sink = sink
        self._mode = mode

    def write(self, wanted: WriteBack, *, reference: str | None = None, unsure: bool = False) -> Delivered:
        """The EHR then has one resource with the identifier, with the wanted standing.

        `reference` is where an earlier write put it. `unsure`: a write whose end is not known went before, so it is
        looked for first, and looked at again after it was made.
        """
        if reference is not None:
            return self._change_at(reference, wanted) or self._change_moved(wanted)
        if unsure and (found := self._find(wanted)) is not None:
            return self._change(found, wanted)
        if self._mode == "update-as-create":
            return self._put(wanted)
        made = self._create(wanted)
        if unsure and made.how == "created":
            # The earlier write may have been on its way still, and the server may not hold the two apart.
            self._find(wanted)
        return made

    def _create(self, wanted: WriteBack) -> Delivered:
        condition = urlencode({"identifier": wanted.token})
        try:
            written = self._client.create(wanted.resource, if_none_exist=condition)
        except FhirServerError as error:
            if error.kind not in (ErrorKind.PRECONDITION, ErrorKind.UNKNOWN_OUTCOME):
                raise
            found = self._find(wanted)
            if found is None:
                raise
            return self._change(found, wanted)
        if written.created:
            return Delivered(written.reference, "created")
        changed = self._change_at(written.reference, wanted)
        if changed is None:
            raise FhirServerError(
                f"create {wanted.resource_type}: the server says that it has it and where, and it is not there",
                kind=ErrorKind.UNKNOWN_OUTCOME,
            )
        return changed

    def _put(self, wanted: WriteBack) -> Delivered:
        place = f"{wanted.resource_type}/{wanted.resource_id}"
        if (changed := self._change_at(place, wanted)) is not None:
            return changed
        try:
            self._client.update({**wanted.resource, "id": wanted.resource_id})
        except FhirServerError as error:
            if error.kind is not ErrorKind.UNKNOWN_OUTCOME:
                raise
            changed = self._change_at(place, wanted)
            if changed is None:
                raise
            return changed
        return Delivered(place, "created")

    def _change_moved(self, wanted: WriteBack) -> Delivered:
        """A resource that was written is not there now: it has another id, or the EHR deleted it, as it may."""
        found = self._find(wanted)
        return Delivered(None, "gone") if found is None else self._change(found, wanted)

    def _find(self, wanted: WriteBack) -> dict[str, Any] | None:
        """The one resource with the identifier; of several, the others are taken out of use first."""
        try:
            return self._client.search_one_by_identifier(wanted.resource_type, wanted.token)
        except FhirServerError as error:
            if error.kind not in (ErrorKind.PRECONDITION, ErrorKind.TOO_LONG):
                raise
        return self._keep_one(wanted)

    def _keep_one(self, wanted: WriteBack) -> dict[str, Any] | None:
        """Of several resources with the identifier, keep the oldest that is not an error already.

        The others become entered-in-error and give the identifier up: as long as two have it, the server refuses every
        conditional create, and nobody can tell which one counts.
        """
        query = {"identifier": wanted.token, "_count": "50"}
        found = self._client.search(wanted.resource_type, query, max_resources=_MAX_DUPLICATES)
        same = sorted((each for each in found if _has(each, wanted.token)), key=_age)
        for duplicate in same[1:]:
            self._client.update(_out_of_use(duplicate, wanted.token), if_match=_version(duplicate))
        return same[0] if same else None

    def _change_at(self, reference: str, wanted: WriteBack) -> Delivered | None:
        """Make the resource at a reference right. None where there is none, or it was taken out of use."""
        for left in reversed(range(_READS)):
            try:
                current = self._client.read_url(reference)
            except FhirServerError as error:
                if error.kind is ErrorKind.NOT_FOUND:
                    return None
                raise
            if _is_out_of_use(current, wanted.token):
                return None
            try:
                return self._change_once(current, wanted)
            except FhirServerError as error:
                if not left or error.kind not in (*_MOVING, ErrorKind.UNKNOWN_OUTCOME):
                    raise
        raise AssertionError("unreachable: the last read returns or raises")

    def _change(self, current: dict[str, Any], wanted: WriteBack) -> Delivered:
        try:
            return self._change_once(current, wanted)
        except FhirServerError as error:
            if error.kind not in (*_MOVING, ErrorKind.UNKNOWN_OUTCOME):
                raise
        return self._change_at(_reference(current), wanted) or self._change_moved(wanted)

    def _change_once(self, current: dict[str, Any], wanted: WriteBack) -> Delivered:
        changed = self._sink.changed(current, wanted)
        if changed is None:
            return Delivered(_reference(current), "found")
        self._client.update(changed, if_match=_version(current))
        return Delivered(_reference(current), "changed")


def _reference(resource: Mapping[str, Any]) -> str:
    place = parse_reference(f"{resource.get('resourceType')}/{resource.get('id')}")
    if place is None:
        raise FhirServerError("search: the server answers a resource without an id", kind=ErrorKind.UNAVAILABLE)
    return place.literal


def _version(resource: Mapping[str, Any]) -> str | None:
    """The version to write over; None where the server keeps none, or one that is no FHIR id."""
    meta = resource.get("meta")
    version = meta.get("versionId") if isinstance(meta, dict) else None
    if not isinstance(version, str) or parse_reference(f"Any/1/_history/{version}") is None:
        return None
    return version


def _has(resource: Mapping[str, Any], token: str) -> bool:
    return any(identifier_token(each) == token for each in objects(resource.get("identifier")))


def _age(resource: Mapping[str, Any]) -> tuple[bool, str, str]:
    meta = resource.get("meta")
    updated = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return (
        strength(resource.get("status")) == strength("entered-in-error"),
        str(updated or "~"),
        str(resource.get("id")),
    )


def _is_out_of_use(resource: Mapping[str, Any], token: str) -> bool:
    # By the mark alone: an EHR may drop identifiers, and then the id that it gave is what there is.
    return _has(resource, _duplicate_token(token))


def _duplicate_token(token: str) -> str:
    return f"{DUPLICATE_IDENTIFIER_SYSTEM}|{token.partition('|')[2]}"


def _out_of_use(resource: Mapping[str, Any], token: str) -> dict[str, Any]:
    identifiers = [
        {**each, "system": DUPLICATE_IDENTIFIER_SYSTEM} if identifier_token(each) == token else each
        for each in objects(resource.get("identifier"))
    ]
    changed = {**resource, "identifier": identifiers, "status": "entered-in-error"}
    narrative = resource.get("text")
    if isinstance(narrative, dict) and str(narrative.get("div", "")).startswith("<div"):
        changed["text"] = with_withdrawal(narrative, "duplicate")
    return changed
