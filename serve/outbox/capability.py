"""Whether the server can be written to exactly once, by what its CapabilityStatement says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import ErrorKind, FhirServerError
from fhir_adapters.references import objects
from serve.outbox.delivery import WriteMode

_INTERACTIONS = ("create", "read", "update", "search-type")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`refusal` says why nothing is written and the mend; `warnings` what the statement leaves open."""

    refusal: str | None = None
    warnings: tuple[str, ...] = ()


def check_capabilities(statement: Mapping[str, Any], resource_type: str, mode: WriteMode) -> Verdict:
    """Refuse what would be written twice or never; what the statement does not say is a warning."""
    servers = [each for each in objects(statement.get("rest")) if each.get("mode") == "server"]
    listed = [each for rest in servers for each in objects(rest.get("resource"))]
    if not listed:
        return Verdict(warnings=("the server's CapabilityStatement lists no resources, so nothing could be checked",))
    found = next((each for each in listed if each.get("type") == resource_type), None)
    if found is None:
        return Verdict(f"the server takes no {resource_type}; set sink to another one")
    refusal = _cannot(found, mode)
    if refusal is not None:
        return Verdict(f"{resource_type}: {refusal}")
    return Verdict(warnings=tuple(f"{resource_type}: {each}" for each in _unsaid(found, mode)))


def _cannot(found: Mapping[str, Any], mode: WriteMode) -> str | None:
    puts = found.get("updateCreate") is True
    if mode == "update-as-create":
        if found.get("updateCreate") is False:
            return "the server does not let clients choose ids; set write_mode to conditional-create"
        return None
    if found.get("conditionalCreate") is False:
        if puts:
            return "the server does not support If-None-Exist; set write_mode to update-as-create"
        return "the server supports neither If-None-Exist nor ids chosen by clients; have one of them turned on"
    return None


def _unsaid(found: Mapping[str, Any], mode: WriteMode) -> list[str]:
    element = "conditionalCreate" if mode == "conditional-create" else "updateCreate"
    words = []
    if element not in found:
        words.append(f"the CapabilityStatement does not say {element}; make sure that the server supports it")
    said = {each.get("code") for each in objects(found.get("interaction"))}
    needed = [each for each in _INTERACTIONS if each != "create" or mode == "conditional-create"]
    if missing := [each for each in needed if each not in said]:
        words.append(f"the CapabilityStatement does not list {', '.join(missing)}, which the write-back needs")
    named = {each.get("name") for each in objects(found.get("searchParam"))}
    if named and "identifier" not in named:
        words.append("the CapabilityStatement does not list a search by identifier, which finds lost writes")
    return words


class WriteRefusedError(Exception):
    """The server cannot be written to as it is set. The message names the mend and nothing of the server's text."""


class Gate:
    """Checks the server once for each sink, before the first write. Thread-safe."""

    def __init__(self, client: FhirClient, mode: WriteMode, warn: Callable[[str], None]) -> None:
        self._client = client
        self._mode = mode
        self._warn = warn
        self._open: set[str] = set()
        self._lock = threading.Lock()

    def check(self, resource_type: str) -> None:
        """Raises WriteRefusedError, and FhirServerError while the server is away; a refusal is checked anew each time.

        A server that shows no statement is warned of and written to: a 412 or a duplicate still comes to light.
        """
        with self._lock:
            if resource_type in self._open:
                return
            try:
                verdict = check_capabilities(self._client.capabilities(), resource_type, self._mode)
            except FhirServerError as error:
                if error.kind not in (ErrorKind.NOT_FOUND, ErrorKind.FORBIDDEN, ErrorKind.REJECTED, ErrorKind.TOO_LONG):
                    raise
                verdict = Verdict(warnings=(f"the server shows no CapabilityStatement ({error.kind})",))
            if verdict.refusal is not None:
                raise WriteRefusedError(verdict.refusal)
            for words in verdict.warnings:
                self._warn(words)
            self._open.add(resource_type)
