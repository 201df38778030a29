"""A request and an answer of the test EHR, and what it writes into its errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

FHIR_JSON = "application/fhir+json; charset=utf-8"
PLANTED = "ZZPLANTEDPATIENT"
"""Stands in every error text of the server: real ones quote what was sent. It may turn up nowhere in the service."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Request:
        """Header names are in lower case."""
        parts = urlsplit(target)
        return cls(method, parts.path, tuple(parse_qsl(parts.query, keep_blank_values=True)), headers, body)

    def param(self, name: str) -> str | None:
        return next((value for key, value in self.query if key == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def prefers(self, what: str) -> bool:
        return what in self.headers.get("prefer", "").replace(" ", "").replace(";", ",").split(",")


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_headers(self, **headers: str) -> Reply:
        return replace(self, headers={**self.headers, **{name.replace("_", "-"): v for name, v in headers.items()}})


@dataclass(frozen=True)
class Seen:
    """A request as it was answered; `status` is None where the connection was dropped."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    status: int | None


class Refused(Exception):  # noqa: N818  # an answer, not a mistake
    """An answer that is an OperationOutcome."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(status, code)
        self.reply = outcome(status, code)


def fhir(resource: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, json.dumps(resource).encode(), {"Content-Type": FHIR_JSON}).with_headers(**headers)


def plain_json(value: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def outcome(status: int, code: str, severity: str = "error") -> Reply:
    issue = {"severity": severity, "code": code, "diagnostics": f"about {PLANTED}", "details": {"text": PLANTED}}
    return fhir({"resourceType": "OperationOutcome", "issue": [issue]}, status)
