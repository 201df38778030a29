"""The routes' OpenAPI document, completed: shapes, bodies and every error that a route can answer."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serve.auth.access import OPEN, ROUTES, Access
from serve.http.answers import FHIR_JSON, PROBLEM_JSON, is_fhir_path
from serve.openapi.examples import examples
from serve.openapi.fhir import fhir_shapes
from serve.openapi.operations import OPERATIONS, Operation
from serve.openapi.plain import plain_shapes
from serve.openapi.rollout import rollout_shapes
from serve.openapi.security import SCHEMES, requirements
from serve.openapi.shapes import TEXT, Schema, named
from serve.settings import Settings

_OPS: Final = frozenset({"/livez", "/readyz", "/metrics"})
_ALWAYS: Final = (500, 503)
# 403 also without authentication: for calls from another machine.
_GUARDED: Final = (403, 406, 504)
_OF_BODY: Final = (400, 413, 415, 422)
_METHODS: Final = ("get", "put", "post", "patch", "delete")
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds.", "schema": {"type": "string", "pattern": r"^\d+$"}}}
_LIMITS: Final = {("ScoreCall", "notes"): "max_notes_per_call", ("OutcomesCall", "outcomes"): "max_outcomes_per_call"}
_REFERENCE: Final = re.compile(r"#/components/schemas/([A-Za-z0-9_.-]+)")
_OF_FRAMEWORK: Final = ("HTTPValidationError", "ValidationError")


def describe_api(api: FastAPI, settings: Settings) -> None:
    """Let `api` state all its answers at `/openapi.json`, also those of routes that are added later."""

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            api.openapi_schema = _complete(
                get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes),
                settings,
            )
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _complete(document: dict[str, Any], settings: Settings) -> dict[str, Any]:
    components = document.setdefault("components", {})
    if settings.authenticates:
        components["securitySchemes"] = SCHEMES
    shapes = components.setdefault("schemas", {})
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                access = ROUTES.get((method.upper(), path)) if settings.authenticates else OPEN
                _lift_definitions(methods[method], shapes)
                _complete_operation(path, methods[method], OPERATIONS.get((method.upper(), path)), access)
    shapes |= (
        plain_shapes()
        | rollout_shapes()
        | fhir_shapes(settings.max_batch_entries, settings.probability_scale)
        | {"Text": TEXT}
    )
    for (shape, member), setting in _LIMITS.items():
        if shape in shapes:
            shapes[shape]["properties"][member]["maxItems"] = getattr(settings, setting)
    for name in (*_OF_FRAMEWORK, *_unused(document)):
        shapes.pop(name, None)
    return document


def _unused(document: dict[str, Any]) -> list[str]:
    """Components of routes that this instance does not have."""
    shapes: dict[str, Schema] = document["components"]["schemas"]
    reached: set[str] = set()
    waiting = _REFERENCE.findall(json.dumps(document["paths"]))
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += _REFERENCE.findall(json.dumps(shapes[name]))
    return [name for name in shapes if name not in reached]


def _lift_definitions(operation: dict[str, Any], shapes: dict[str, Schema]) -> None:
    """Make components of a body that a route declares by its pydantic model, so that its references lead somewhere."""
    for body in operation.get("requestBody", {}).get("content", {}).values():
        schema = body.get("schema", {})
        if "title" in schema and "properties" in schema:
            shapes |= schema.pop("$defs", {})
            shapes[schema["title"]] = schema
            body["schema"] = named(schema["title"])


def _complete_operation(path: str, operation: dict[str, Any], known: Operation | None, access: Access | None) -> None:
    answers = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422", "")):
        # Never sent: serve.ingress answers a problem in its place.
        del answers["422"]
    if known is not None:
        _describe(path, operation, known)
    if path == "/readyz":
        # Not ready is an answer, not only a failure.
        answers["503"] = _answer(503, {"application/json": named("Ready"), PROBLEM_JSON: named("Problem")})
    errors = _errors(path, operation, known)
    if access is not None and access.page:
        answers["303"] = {"description": "To the login.", "headers": {"Location": {"schema": TEXT}}}
    if access != OPEN:
        operation["security"] = requirements(access)
        errors |= {401, 403}
    for status in errors:
        answers.setdefault(str(status), _error(path, status))
    operation["responses"] = dict(sorted(answers.items()))


def _describe(path: str, operation: dict[str, Any], known: Operation) -> None:
    operation["operationId"] = known.id
    good = operation["responses"]["200"]
    if known.answer is not None:
        media_type = known.media_type or (FHIR_JSON if is_fhir_path(path) else "application/json")
        good = operation["responses"]["200"] = _answer(200, {media_type: named(known.answer)})
    if known.links:
        good["links"] = dict(known.links)
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in known.parameters:
            parameter["schema"] = known.parameters[parameter["name"]]
    if known.takes is not None:
        # The older spellings that serve.http.body also takes are not for new clients.
        media_types = (FHIR_JSON, "application/json") if is_fhir_path(path) else ("application/json",)
        content = {media_type: {"schema": named(known.takes)} for media_type in media_types}
        operation["requestBody"] = {"required": True, "content": content}
    if known.example is not None:
        for body in operation["requestBody"]["content"].values():
            body["examples"] = {known.example: {"value": examples()[known.example]}}


def _errors(path: str, operation: dict[str, Any], known: Operation | None) -> set[int]:
    places = {parameter["in"] for parameter in operation.get("parameters", ())}
    return {
        *_ALWAYS,
        *(() if path in _OPS else _GUARDED),
        *(_OF_BODY if "requestBody" in operation else ()),
        *((404,) if "path" in places else ()),
        *(((400,) if is_fhir_path(path) else (422,)) if "query" in places else ()),
        *(known.errors if known else ()),
    }


def _error(path: str, status: int) -> dict[str, Any]:
    shape = {FHIR_JSON: named("OperationOutcome")} if is_fhir_path(path) else {PROBLEM_JSON: named("Problem")}
    answer = _answer(status, shape)
    return answer | {"headers": _RETRY_AFTER} if status == 503 else answer


def _answer(status: int, content: dict[str, Schema]) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {media_type: {"schema": schema} for media_type, schema in content.items()},
    }
