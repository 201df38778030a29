"""`$score` Parameters and batch Bundles."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_adapters.batch import parse_batch
from fhir_adapters.document_reference import NotePolicy
from fhir_adapters.errors import FhirInputError
from fhir_adapters.parameters import parse_score_request
from lang1.tasks import BUILT_IN
from tests.fhir_adapters.samples import document

FIRST, LAST = next(iter(BUILT_IN)), list(BUILT_IN)[-1]
DOCUMENT = {"name": "document", "resource": document()}


def parameters(*entries: Any) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": list(entries)}


def batch(*entries: Any, kind: str = "batch") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def entry(resource: Any = None, method: str = "POST", url: str = "DocumentReference/$score") -> dict[str, Any]:
    return {"resource": document() if resource is None else resource, "request": {"method": method, "url": url}}


def test_a_document_alone_asks_for_every_task() -> None:
    request = parse_score_request(document(), BUILT_IN)
    assert [task.name for task in request.tasks] == list(BUILT_IN)
    assert (request.include_superseded, request.include_preliminary, request.explain) == (None, None, False)


def test_parameters_carry_the_options() -> None:
    request = parse_score_request(
        parameters(
            {"name": "task", "valueCode": LAST},
            {"name": "task", "valueCode": FIRST},
            DOCUMENT,
            {"name": "includeSuperseded", "valueBoolean": True},
            {"name": "includePreliminary", "valueBoolean": False},
            {"name": "explain", "valueBoolean": True},
        ),
        BUILT_IN,
    )
    assert [task.name for task in request.tasks] == [FIRST, LAST]
    assert (request.include_superseded, request.include_preliminary, request.explain) == (True, False, True)
    asked = request.policy(NotePolicy(include_preliminary=True, allow_restricted=False))
    assert asked == NotePolicy(include_superseded=True, include_preliminary=False)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_task_can_be_asked_for_by_name(name: str) -> None:
    request = parse_score_request(parameters(DOCUMENT, {"name": "task", "valueCode": name}), BUILT_IN)
    assert [task.name for task in request.tasks] == [name]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"resourceType": "Patient"}, (422, "invalid")),
        ({}, (422, "invalid")),
        (parameters(), (422, "required")),
        ({"resourceType": "Parameters"}, (422, "required")),
        ({"resourceType": "Parameters", "parameter": {}}, (422, "invalid")),
        ({"resourceType": "Parameters", "parameter": [], "extra": 1}, (422, "invalid")),
        (parameters("x"), (422, "invalid")),
        (parameters(DOCUMENT, DOCUMENT), (422, "invalid")),
        (parameters(DOCUMENT, {"name": "colour", "valueCode": "red"}), (422, "invalid")),
        (parameters(DOCUMENT, {"name": "task", "valueString": FIRST}), (422, "invalid")),
        (parameters(DOCUMENT, {"name": "task", "valueCode": 1}), (422, "invalid")),
        (parameters(DOCUMENT, {"name": ["task"], "valueCode": "x"}), (422, "invalid")),
        (parameters(DOCUMENT, {"name": "task", "valueCode": "weather"}), (404, "not-found")),
        (parameters(DOCUMENT, {"name": "explain", "valueBoolean": "true"}), (422, "invalid")),
        (parameters(DOCUMENT, {"name": "explain", "valueBoolean": 1}), (422, "invalid")),
        (parameters({"name": "document", "resource": {"resourceType": "Patient"}}), (422, "invalid")),
        (parameters({"name": "document", "resource": document(status="banana")}), (422, "code-invalid")),
    ],
)
def test_wrong_parameters_are_refused(body: dict[str, Any], expected: tuple[int, str]) -> None:
    with pytest.raises(FhirInputError) as caught:
        parse_score_request(body, BUILT_IN)
    assert (caught.value.status, caught.value.code) == expected


def test_a_bad_entry_fails_alone() -> None:
    entries = parse_batch(
        batch(
            entry(),
            entry(document(status="banana")),
            entry(url="DocumentReference"),
            entry(method="PUT"),
            entry(url="Patient"),
            {"resource": document()},
            {"request": {"method": "POST", "url": "DocumentReference"}},
            "text",
            entry(parameters(DOCUMENT, {"name": "task", "valueCode": FIRST})),
            entry({"resourceType": "Patient"}),
        ),
        BUILT_IN,
    )
    assert [one.index for one in entries] == list(range(10))
    assert [one.error.code if one.error else None for one in entries] == [
        None, "code-invalid", None, "not-supported", "not-supported",
        "required", "required", "required", None, "invalid",
    ]  # fmt: skip
    assert entries[1].error is not None
    assert entries[1].error.expression == "Bundle.entry[1].resource.status"
    assert entries[8].request is not None
    assert [task.name for task in entries[8].request.tasks] == [FIRST]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"resourceType": "DocumentReference"}, (422, "invalid")),
        (batch(entry(), kind="transaction"), (422, "not-supported")),
        (batch(entry(), kind="collection"), (422, "not-supported")),
        (batch(), (422, "required")),
        ({"resourceType": "Bundle", "type": "batch"}, (422, "required")),
        (batch(entry(), entry(), entry()), (413, "too-long")),
    ],
)
def test_a_wrong_bundle_fails_whole(body: dict[str, Any], expected: tuple[int, str]) -> None:
    with pytest.raises(FhirInputError) as caught:
        parse_batch(body, BUILT_IN, max_entries=2)
    assert (caught.value.status, caught.value.code) == expected


def test_other_types_are_passed_on_where_the_service_takes_them() -> None:
    encounter = {"resourceType": "Encounter", "id": "9"}
    body = batch(
        entry(encounter, url="Encounter"), entry(encounter, "PUT", "Encounter/9"), entry(encounter, url="Patient")
    )
    taken = parse_batch(body, BUILT_IN, other_types={"Encounter"})
    assert [one.resource for one in taken] == [encounter, encounter, None]
    assert [one.error is not None for one in parse_batch(body, BUILT_IN)] == [True, True, True]
