"""Searches: pages followed under the base alone, and identifiers that are compared here too."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from fhir_adapters.client.answers import json_of, not_fhir
from fhir_adapters.client.errors import ErrorKind, FhirServerError
from fhir_adapters.client.exchange import FHIR_JSON, Exchange
from fhir_adapters.references import identifier_token, objects

Params = Mapping[str, str] | Sequence[tuple[str, str]]
_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{1,63}")


def identifier_query(token: str) -> str:
    """The search query of an identifier token `system|value`, percent-encoded: for If-None-Exist."""
    return f"identifier={quote(_escaped(token), safe='')}"


def search(
    exchange: Exchange,
    resource_type: str,
    params: Params,
    *,
    included: bool,
    strict: bool,
    max_resources: int | None,
    timeout_s: float | None,
) -> Iterator[dict[str, Any]]:
    """The resources that match, page after page as they are taken. See `FhirClient.search`."""
    if not _TYPE.fullmatch(resource_type):
        raise ValueError("resource_type is not a FHIR resource type")
    what, given, seen = f"search {resource_type}", 0, set[str]()
    cap = exchange.limits.max_resources if max_resources is None else max_resources
    query = urlencode(params if isinstance(params, Sequence) else list(params.items()))
    headers = {"Accept": FHIR_JSON} | ({"Prefer": "handling=strict"} if strict else {})
    url: str | None = exchange.base.join(resource_type) + (f"?{query}" if query else "")
    while url is not None:
        if url in seen or len(seen) == exchange.limits.max_pages:
            raise FhirServerError(
                f"{what}: the pages do not end within {exchange.limits.max_pages}; narrow the search",
                kind=ErrorKind.TOO_LONG,
            )
        seen.add(url)
        reply = exchange.get(url, what, headers=headers, until=exchange.until(timeout_s))
        bundle = json_of(reply, what)
        if bundle.get("resourceType") != "Bundle":
            raise not_fhir(what, reply.status)
        for resource in _matches(bundle, resource_type, included):
            given += 1
            if given > cap:
                raise FhirServerError(f"{what}: over {cap} resources; narrow the search", kind=ErrorKind.TOO_LONG)
            yield resource
        url = _next(exchange, bundle)


def search_one_by_identifier(
    exchange: Exchange, resource_type: str, token: str, timeout_s: float | None
) -> dict[str, Any] | None:
    """The one resource with the identifier, or None. See `FhirClient.search_one_by_identifier`."""
    what = f"search {resource_type} by identifier"
    params = {"identifier": _escaped(token), "_count": "10"}
    found: dict[str, Any] | None = None
    for resource in search(
        exchange, resource_type, params, included=False, strict=True, max_resources=None, timeout_s=timeout_s
    ):
        if not _has_identifier(resource, token):
            # A server that passes over a parameter answers everything that it has.
            raise FhirServerError(
                f"{what}: the server answers resources without it; it must support this search",
                kind=ErrorKind.REJECTED,
                code="not-supported",
            )
        if found is not None and found.get("id") != resource.get("id"):
            raise FhirServerError(
                f"{what}: more than one resource has it; keep one",
                kind=ErrorKind.PRECONDITION,
                code="multiple-matches",
            )
        found = resource
    return found


def _escaped(token: str) -> str:
    # FHIR search syntax: a comma in a value is an "or", a bar ends the system.
    system, bar, value = token.partition("|")
    if not bar:
        system, value = "", token
    escaped = re.sub(r"([\\,$|])", r"\\\1", value)
    return re.sub(r"([\\,$])", r"\\\1", system) + bar + escaped


def _has_identifier(resource: Mapping[str, Any], token: str) -> bool:
    given = resource.get("identifier")
    for identifier in [given] if isinstance(given, dict) else objects(given):
        if (identifier_token(identifier) if "|" in token else identifier.get("value")) == token:
            return True
    return False


def _matches(bundle: Mapping[str, Any], resource_type: str, included: bool) -> Iterator[dict[str, Any]]:
    for entry in objects(bundle.get("entry")):
        resource, about = entry.get("resource"), entry.get("search")
        mode = about.get("mode") if isinstance(about, dict) else None
        if not isinstance(resource, dict):
            continue
        matched = resource.get("resourceType") == resource_type and mode in (None, "match")
        if matched or (included and mode == "include"):
            yield resource


def _next(exchange: Exchange, bundle: Mapping[str, Any]) -> str | None:
    for link in objects(bundle.get("link")):
        url = link.get("url")
        if link.get("relation") == "next" and isinstance(url, str) and url:
            return exchange.base.under(url, "a next page")
    return None
