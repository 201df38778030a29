"""`/openapi.json` is valid OpenAPI 3.1 and says of every route what it takes and all that it can answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import openapi_spec_validator
import pytest

from serve.auth.access import OPEN, ROUTES
from serve.http.guard import Guard
from serve.openapi.examples import examples
from serve.openapi.operations import OPERATIONS as TABLE
from tests.foreign.openapi import api_of, bodies, operations, violations
from tests.serve.service import RunningService

DOCUMENT = api_of().openapi()
OPERATIONS = [pytest.param(*each, id=f"{each[0]} {each[1]}") for each in operations(DOCUMENT)]
TAKING_BODIES = [each for each in OPERATIONS if "requestBody" in each.values[2]]
ISSUER = {"issuer": "https://auth.example.org", "audience": "lang1", "jwks_url": "https://auth.example.org/jwks"}


def test_it_is_valid_openapi() -> None:
    openapi_spec_validator.validate(DOCUMENT)
    names = [operation["operationId"] for _, _, operation in operations(DOCUMENT)]
    assert len(set(names)) == len(names)


def test_no_shape_is_unused_or_of_the_framework() -> None:
    text = json.dumps(DOCUMENT)
    unused = [name for name in DOCUMENT["components"]["schemas"] if f'#/components/schemas/{name}"' not in text]
    assert unused == []
    assert "HTTPValidationError" not in text


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_every_answer_has_a_shape(method: str, path: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    good = {status: answer for status, answer in answers.items() if status < "300"}
    assert good, "no success is documented; add the route to serve/openapi/operations.py, or let it declare its answers"
    for status, answer in good.items():
        shapes = [each.get("schema") for each in answer.get("content", {}).values()]
        assert status == "204" or (shapes and all(shapes)), f"{status} has no shape; see serve/openapi/operations.py"
    wanted = ("application/fhir+json", "OperationOutcome") if path.startswith("/fhir") else (
        "application/problem+json", "Problem"
    )  # fmt: skip
    errors = {status: answer["content"] for status, answer in answers.items() if status >= "400"}
    assert set(errors) >= {"500", "503"}
    for status, content in errors.items():
        assert content[wanted[0]]["schema"] == {"$ref": f"#/components/schemas/{wanted[1]}"}, status
    if method == "POST":
        assert set(errors) >= {"400", "413", "415", "422"}
        assert list(bodies(operation)), "a body is documented"


def test_the_table_of_operations_names_routes_that_there_are() -> None:
    assert set(TABLE) <= {(method, path) for method, path, _ in operations(DOCUMENT)}


# Alertmanager adds fields to its webhook in new versions.
TOLERANT = {"/v1/retraining/alerts"}


@pytest.mark.parametrize(("method", "path", "operation"), TAKING_BODIES)
def test_examples_fit_their_shapes(method: str, path: str, operation: dict[str, Any]) -> None:
    for _, body in bodies(operation):
        for example in body.get("examples", {}).values():
            assert violations(DOCUMENT, body["schema"], example["value"]) == []
            wrong = {**example["value"], "hook": 1, "resourceType": 1, "notes": 1}
            assert bool(violations(DOCUMENT, body["schema"], wrong)) == (path not in TOLERANT)


def test_with_authentication_every_route_states_its_scopes() -> None:
    document = api_of(auth_issuers=[ISSUER]).openapi()
    openapi_spec_validator.validate(document)
    for method, path, operation in operations(document):
        access = ROUTES.get((method, path))
        assert access is not None, f"{method} {path} is in no rule of serve/auth/access.py, so it is closed to everyone"
        if access == OPEN:
            assert "security" not in operation
            continue
        assert {"401", "403"} <= set(operation["responses"])
        asked = {scope for each in operation["security"] for scope in each.get("bearer", ())}
        assert asked == set(access.scopes)
        assert {} not in operation["security"] or access.by == "metrics"


def check(document: dict[str, Any], operation: dict[str, Any], answer: httpx.Response) -> None:
    """A live answer is one of the documented ones, media type and shape too."""
    assert str(answer.status_code) in operation["responses"], answer.text
    content = operation["responses"][str(answer.status_code)]["content"]
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in content
    value = answer.json() if media_type.endswith("json") else answer.text
    assert violations(document, content[media_type]["schema"], value) == []


@pytest.mark.parametrize("path", ["/v1/model", "/fhir/metadata"])
def test_an_error_nobody_planned_for_has_the_documented_form(path: str) -> None:
    async def get() -> httpx.Response:
        # Without a pipeline each of these fails where its author did not think of it.
        transport = httpx.ASGITransport(Guard(api_of()), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path)

    answer = asyncio.run(get())
    assert answer.status_code == 500
    check(DOCUMENT, DOCUMENT["paths"][path]["get"], answer)
    assert "NoneType" not in answer.text


@pytest.mark.parametrize(("method", "path", "operation"), TAKING_BODIES)
def test_bodies_and_documented_errors_of_the_live_service(
    service: RunningService, method: str, path: str, operation: dict[str, Any]
) -> None:
    url = path.replace("{service_id}", "lang1-encounter-discharge")
    media_type, body = next(bodies(operation))
    example: Any = next((each["value"] for each in body.get("examples", {}).values()), {})
    sent = json.dumps(example).encode()

    def send(content: bytes = sent, **headers: str) -> httpx.Response:
        answer = service.client.request(method, url, content=content, headers={"Content-Type": media_type} | headers)
        check(DOCUMENT, operation, answer)
        return answer

    if example:
        # The service of the session has no registry.
        assert send().status_code == (501 if path == "/v1/rollout" else 200)
    assert send(**{"Content-Type": "text/csv"}).status_code == 415
    assert send(Accept="text/csv").status_code == 406
    assert send(b"{").status_code == 400
    assert send(b"{}").status_code in (400, 422)
    assert send(b" " * 1_100_000).status_code == 413


@pytest.mark.parametrize(("method", "path", "operation"), [each for each in OPERATIONS if each.values[0] == "GET"])
def test_reads_of_the_live_service(service: RunningService, method: str, path: str, operation: dict[str, Any]) -> None:
    if "{" not in path:
        check(DOCUMENT, operation, service.client.get(path))
        return
    answer = service.client.get(path.replace("{", "").replace("}", ""))
    assert answer.status_code == 404
    check(DOCUMENT, operation, answer)


def test_the_document_is_served_as_it_is_built(service: RunningService) -> None:
    served = service.client.get("/openapi.json").json()
    assert served["paths"].keys() == DOCUMENT["paths"].keys()
    assert examples()["document"] == next(iter(
        served["paths"]["/fhir/DocumentReference/$score"]["post"]["requestBody"]["content"]["application/fhir+json"][
            "examples"
        ].values()
    ))["value"]  # fmt: skip
