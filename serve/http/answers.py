"""JSON answers, and problems in the form each route promises: OperationOutcome on FHIR routes, RFC 9457 elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

from fhir_adapters.operation_outcome import operation_outcome
from serve.errors import Problem

FHIR_JSON = "application/fhir+json"
PROBLEM_JSON = "application/problem+json"
_NO_STORE = {"Cache-Control": "no-store"}  # answers are PHI


def is_fhir_path(path: str) -> bool:
    """Whether a route speaks FHIR."""
    return path == "/fhir" or path.startswith("/fhir/")


def fhir_response(resource: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A FHIR resource as `application/fhir+json`."""
    return Response(orjson.dumps(resource), status, {**_NO_STORE, **(headers or {})}, media_type=FHIR_JSON)


def json_response(value: Any, status: int = 200) -> Response:
    """Plain JSON."""
    return Response(orjson.dumps(value), status, _NO_STORE, media_type="application/json")


def problem_json(problem: Problem) -> dict[str, Any]:
    """RFC 9457 members of a problem; `code` is the FHIR issue code. No `instance`: a path may hold an identifier."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.message,
    }
    if problem.expression:
        body["pointer"] = problem.expression
    return body


def problem_outcome(problem: Problem) -> dict[str, Any]:
    """The OperationOutcome of a problem."""
    return operation_outcome("error", problem.code, problem.message, problem.expression)


def problem_response(path: str, problem: Problem) -> Response:
    """A problem in the form of the route at `path`, with Retry-After where it helps."""
    headers = {**_NO_STORE, **problem.headers}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    if is_fhir_path(path):
        return fhir_response(problem_outcome(problem), problem.status, headers)
    return Response(orjson.dumps(problem_json(problem)), problem.status, headers, media_type=PROBLEM_JSON)
