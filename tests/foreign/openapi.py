"""The OpenAPI document as these tests read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from jsonschema import Draft202012Validator

from serve.ingress import build_api
from serve.services import Services
from serve.settings import Settings

METHODS = ("get", "put", "post", "patch", "delete")


def api_of(**settings: Any) -> FastAPI:
    """The service's routes without its processes."""
    return build_api(Services(Settings(**settings), None, "2026-01-01T00:00:00Z"))  # type: ignore[arg-type]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and Operation Object of every route."""
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                yield method.upper(), path, methods[method]


def bodies(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Media type and Media Type Object of every body that an operation takes."""
    yield from operation.get("requestBody", {}).get("content", {}).items()


def violations(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    """How a value differs from a schema of the document."""
    whole = {**schema, "components": document["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(value)]
