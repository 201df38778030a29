"""The FHIR client: reads, searches and writes on one server."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from fhir_adapters.client import searching
from fhir_adapters.client.answers import Written, failure, json_of, not_fhir, written
from fhir_adapters.client.clock import SYSTEM_CLOCK, Clock
from fhir_adapters.client.exchange import FHIR_JSON, Exchange, Limits
from fhir_adapters.client.searching import Params
from fhir_adapters.client.tokens import NoToken, TokenSource
from fhir_adapters.client.urls import Base, parse_reference
from fhir_adapters.client.wire import Reply, Timeouts, Wire

_HEADER: Final = re.compile(r"[\x20-\x7e]{1,4096}")


class FhirClient:
    """A FHIR R4 server under one base URL. Thread-safe; `close` it at the end.

    Reads are tried again inside, with jitter, until `timeouts.total_s` or a call's own `timeout_s`. A write is sent
    once (and once more after a 401, with a new token): who wrote decides about more, by the error's kind. Follows no
    redirect and nothing outside the base. Every method raises FhirServerError.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token_source: TokenSource | None = None,
        timeouts: Timeouts | None = None,
        max_response_bytes: int = 16 * 2**20,
        max_pages: int = 1000,
        max_resources: int = 100_000,
        max_attempts: int = 4,
        max_connections: int = 16,
        tls: ssl.SSLContext | None = None,
        clock: Clock = SYSTEM_CLOCK,
        wire: Wire | None = None,
    ) -> None:
        limits = timeouts or Timeouts()
        self.exchange = Exchange(
            base=Base.of(base_url),
            wire=wire or Wire(timeouts=limits, tls=tls, max_connections=max_connections, clock=clock),
            tokens=token_source or NoToken(),
            timeouts=limits,
            limits=Limits(max_response_bytes, max_pages, max_resources, max_attempts),
            clock=clock,
        )

    def __repr__(self) -> str:
        return f"FhirClient({self.base_url!r})"

    @property
    def base(self) -> Base:
        """The FHIR base, and which URLs are under it."""
        return self.exchange.base

    @property
    def base_url(self) -> str:
        """The FHIR base, without a slash at its end."""
        return self.exchange.base.url

    def close(self) -> None:
        """Close the connections, also those of `with_token`."""
        self.exchange.wire.close()

    def with_token(self, token_source: TokenSource) -> FhirClient:
        """The same server, limits and connections with another token: for `fhirAuthorization` of one CDS call."""
        other = object.__new__(FhirClient)
        other.exchange = replace(self.exchange, tokens=token_source)
        return other

    def read(self, resource_type: str, resource_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """A resource by type and id."""
        return self.read_url(f"{resource_type}/{resource_id}", timeout_s=timeout_s)

    def read_url(self, url: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """A resource by reference: `Type/id`, with or without `/_history/version`, also absolute under the base.

        Raises `security` for any other URL, which is not fetched.
        """
        wanted = self.exchange.base.reference(url)
        return self._resource(wanted.path, wanted.type, timeout_s)

    def read_bytes(
        self,
        url: str,
        *,
        accept: str,
        max_bytes: int | None = None,
        timeout_s: float | None = None,
        max_attempts: int | None = None,
    ) -> tuple[str, bytes]:
        """Content-Type and body of what a reference (as in `read_url`) names, as the server gives it."""
        wanted = self.exchange.base.reference(url)
        reply = self.exchange.get(
            self.exchange.base.join(wanted.path), f"read {wanted.type}",
            headers={"Accept": accept}, until=self.exchange.until(timeout_s), max_bytes=max_bytes,
            max_attempts=max_attempts,
        )  # fmt: skip
        return reply.headers.get("content-type", "application/octet-stream"), reply.body

    def capabilities(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """The server's CapabilityStatement."""
        return self._resource("metadata", "CapabilityStatement", timeout_s)

    def search(
        self,
        resource_type: str,
        params: Params,
        *,
        included: bool = False,
        strict: bool = True,
        max_resources: int | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The resources that match, page after page as they are taken; with `included`, those of `_include` too.

        `strict` asks the server to refuse parameters that it does not know. `timeout_s` is for one page. Raises
        `security` for a next link outside the base, `too-long` past the caps on pages and resources, after what is
        under the cap was given.
        """
        return searching.search(
            self.exchange, resource_type, params,
            included=included, strict=strict, max_resources=max_resources, timeout_s=timeout_s,
        )  # fmt: skip

    def search_one_by_identifier(
        self, resource_type: str, token: str, *, timeout_s: float | None = None
    ) -> dict[str, Any] | None:
        """The one resource with the identifier `system|value`; None where there is none.

        Raises `precondition` where there are more; `rejected` where the server answers resources that do not have the
        identifier, so that their absence would prove nothing.
        """
        return searching.search_one_by_identifier(self.exchange, resource_type, token, timeout_s)

    def create(
        self, resource: Mapping[str, Any], *, if_none_exist: str | None = None, timeout_s: float | None = None
    ) -> Written:
        """POST a resource; with `if_none_exist` (a query, as of `identifier_query`) only where none matches it.

        Raises `precondition` where several match, `unknown-outcome` where the answer was lost.
        """
        headers = {}
        if if_none_exist is not None:
            if not _HEADER.fullmatch(if_none_exist):
                raise ValueError("if_none_exist must be printable ASCII; percent-encode it")
            headers["If-None-Exist"] = if_none_exist
        type_ = resource["resourceType"]
        reply = self._write("POST", type_, resource, headers, timeout_s)
        return written(reply, resource, f"create {type_}", created=reply.status == 201 or if_none_exist is None)

    def update(
        self, resource: Mapping[str, Any], *, if_match: str | None = None, timeout_s: float | None = None
    ) -> Written:
        """PUT a resource under its id; with `if_match` (a version id) only over that version.

        Raises `precondition` or `conflict` over another version, `unknown-outcome` where the answer was lost.
        """
        type_ = resource["resourceType"]
        place = parse_reference(f"{type_}/{resource.get('id', '')}")
        if place is None or place.id != resource["id"]:
            raise ValueError("the resource to update has no FHIR id")
        headers = {}
        if if_match is not None:
            if parse_reference(f"{place.literal}/_history/{if_match}") is None:
                raise ValueError("if_match is not a FHIR version id")
            headers["If-Match"] = f'W/"{if_match}"'
        reply = self._write("PUT", place.literal, resource, headers, timeout_s)
        return written(reply, resource, f"update {type_}", created=reply.status == 201)

    def _resource(self, path: str, resource_type: str, timeout_s: float | None) -> dict[str, Any]:
        what = f"read {resource_type}"
        reply = self.exchange.get(self.exchange.base.join(path), what, until=self.exchange.until(timeout_s))
        resource = json_of(reply, what)
        if resource.get("resourceType") != resource_type:
            raise not_fhir(what, reply.status)
        return resource

    def _write(
        self, method: str, path: str, resource: Mapping[str, Any], headers: Mapping[str, str], timeout_s: float | None
    ) -> Reply:
        what = f"{'create' if method == 'POST' else 'update'} {resource['resourceType']}"
        sent = {"Accept": FHIR_JSON, "Content-Type": FHIR_JSON, "Prefer": "return=minimal", **headers}
        reply = self.exchange.send(
            method, self.exchange.base.join(path), sent, orjson.dumps(resource), what,
            until=self.exchange.until(timeout_s),
        )  # fmt: skip
        if reply.status not in (200, 201):
            raise failure(reply, what, now=self.exchange.clock.now(), write=True)
        return reply
