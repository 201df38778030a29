"""fhir-kit-client (npm), a client for Node and browsers: the whole of the FHIR routes in one pass."""

from __future__ import annotations

from typing import Any

import pytest

from lang1.tasks import BUILT_IN
from tests.foreign.conftest import discharge_summary
from tests.foreign.node_programs import run_node
from tests.node_validator import validate_r4
from tests.serve.notes import batch

PATIENT = "kit"


@pytest.fixture(scope="module")
def seen(fhir_url: str) -> dict[str, Any]:
    from tests.foreign.conftest import TOKEN

    refused = discharge_summary(PATIENT, status="entered-in-error")
    return run_node(
        "fhir_kit_client.mjs",
        {
            "baseUrl": fhir_url, "token": TOKEN, "document": discharge_summary(PATIENT), "refused": refused,
            "batch": batch(discharge_summary("kit-a"), refused, discharge_summary("kit-b")),
        },
    )  # fmt: skip


def test_capability_statement_names_what_is_called(seen: dict[str, Any]) -> None:
    (rest,) = seen["capability"]["rest"]
    offered = {each["type"]: each for each in rest["resource"]}
    assert [each["name"] for each in offered["DocumentReference"]["operation"]] == ["score"]
    assert {each["code"] for each in offered["RiskAssessment"]["interaction"]} == {"read", "search-type"}
    assert {"code": "batch"} in rest["interaction"]


def test_scores_are_read_back_and_paged(seen: dict[str, Any]) -> None:
    found = [entry["resource"] for entry in seen["scored"]["entry"]]
    assert [each["code"]["coding"][0]["code"] for each in found] == list(BUILT_IN)
    assert (seen["status"], seen["read"]) == (200, found[0])
    pages = [[entry["resource"]["id"] for entry in page["entry"]] for page in seen["pages"]]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {each for page in pages for each in page} == {each["id"] for each in found}


def test_a_batch_answers_entry_by_entry(seen: dict[str, Any]) -> None:
    statuses = [entry["response"]["status"] for entry in seen["batched"]["entry"]]
    assert [status[:3] for status in statuses] == ["200", "422", "200"]


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        ("refused", 422, "business-rule"),
        ("absent", 404, "not-found"),
        ("search", 400, "not-supported"),
        ("unknown", 404, "not-found"),
        ("remove", 405, "not-supported"),
    ],
)
def test_errors_reach_the_client_as_operation_outcomes(seen: dict[str, Any], call: str, status: int, code: str) -> None:
    failure = seen["failures"][call]
    assert failure["status"] == status
    assert failure["data"]["resourceType"] == "OperationOutcome"
    assert failure["data"]["issue"][0]["code"] == code


def test_all_that_the_client_got_is_valid_r4(seen: dict[str, Any]) -> None:
    outcomes = [failure["data"] for failure in seen["failures"].values()]
    answers = [seen["capability"], seen["scored"], seen["read"], seen["batched"], *seen["pages"], *outcomes]
    assert [found for found in validate_r4(answers) if found] == []
