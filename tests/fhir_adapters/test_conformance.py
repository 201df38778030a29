"""Everything else that the service says in FHIR: valid to R4B and to validators that are not ours."""

from __future__ import annotations

import copy
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from fhir_adapters import canonical
from fhir_adapters.bundles import BatchAnswer, batch_response_bundle, collection_bundle, failed_answer, searchset_bundle
from fhir_adapters.capability import SEARCH_PARAMETERS, ServedResource, capability_statement
from fhir_adapters.definitions import conformance_resources
from fhir_adapters.errors import HTTP_STATUS, FhirInputError, from_lang1_error, http_status
from fhir_adapters.operation_outcome import operation_outcome, outcome_from_error
from fhir_adapters.parameters import PARAMETERS
from fhir_adapters.risk_assessment import scores_to_risk_assessments
from lang1.errors import NoteError, ScoringError, UnknownTaskError
from lang1.tasks import BUILT_IN
from tests import node_validator
from tests.fhir_adapters.samples import IDS, OCCURRENCE, note_of, scores
from tests.node_validator import validate_r4

DATE = "2026-03-01T00:00:00Z"
ASSESSMENTS = scores_to_risk_assessments(scores(), note_of().identity, IDS, OCCURRENCE, BUILT_IN)
STATEMENT = capability_statement(
    BUILT_IN, software_version="0.1.0", url="https://lang1.example/fhir", date=DATE, smart=True
)
DEFINITIONS = conformance_resources(BUILT_IN, version="0.1.0", date=DATE)
BUNDLES = [
    collection_bundle(ASSESSMENTS),
    collection_bundle(ASSESSMENTS, base_url="https://lang1.example/fhir/"),
    collection_bundle([]),
    searchset_bundle(
        ASSESSMENTS[:2], total=5, self_url="https://x/a?p=1", next_url="https://x/a?p=2", base_url="https://x"
    ),
    searchset_bundle([], total=0, self_url="https://x/a", outcome=operation_outcome("warning", "not-supported", "no")),
    batch_response_bundle(
        [
            BatchAnswer("200 OK", collection_bundle(ASSESSMENTS[:1]), location="RiskAssessment/1"),
            BatchAnswer("200 OK", ASSESSMENTS[0], etag='W/"1"', last_modified=DATE),
            failed_answer(FhirInputError("what; mend", code="value", expression="Bundle.entry[1].resource")),
        ]
    ),
]
OUTCOMES = [
    outcome_from_error(FhirInputError("what; mend", code=code, expression="Bundle.entry[0]")) for code in HTTP_STATUS
]
EVERYTHING = [STATEMENT, *DEFINITIONS, *BUNDLES, *OUTCOMES]


def test_everything_is_valid_r4b() -> None:
    for resource in EVERYTHING:
        name = resource["resourceType"]
        getattr(import_module(f"fhir.resources.R4B.{name.lower()}"), name).model_validate(resource)


def test_everything_is_valid_r4_to_others() -> None:
    for resource, problems in zip(EVERYTHING, validate_r4(EVERYTHING), strict=True):
        assert problems == [], resource["resourceType"]


def test_the_other_validators_can_fail() -> None:
    def broken(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
        resource = copy.deepcopy(ASSESSMENTS[0])
        place: Any = resource
        for step in path[:-1]:
            place = place[step]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        return resource

    outcomes = copy.deepcopy(DEFINITIONS[-1])
    del outcomes["concept"][0]["property"][0]["valueCode"]
    controls = [
        broken(("status",), "banana"),
        broken(("subject",), None),
        broken(("colour",), "red"),
        broken(("prediction", 0, "probabilityDecimal"), "high"),
        broken(("extension", 0, "url"), None),
        outcomes,
        {"resourceType": "OperationOutcome"},
    ]
    for control, problems in zip(controls, validate_r4(controls), strict=True):
        assert problems, control["resourceType"]


def test_absent_validators_skip_the_test_or_fail_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(node_validator, "NODE_FOLDER", tmp_path)
    monkeypatch.delenv("LANG1_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="npm ci"):
        node_validator.require_validators()
    monkeypatch.setenv("LANG1_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception):
        node_validator.require_validators()


def test_every_extension_of_an_answer_has_a_definition() -> None:
    defined = {resource["url"] for resource in DEFINITIONS if resource["resourceType"] == "StructureDefinition"}
    assert {extension["url"] for answer in ASSESSMENTS for extension in answer["extension"]} <= defined
    assert canonical.PRELIMINARY_NOTE_EXTENSION in defined


def test_every_code_of_an_answer_is_in_its_code_system() -> None:
    systems = {
        resource["url"]: {concept["code"] for concept in resource["concept"]}
        for resource in DEFINITIONS
        if resource["resourceType"] == "CodeSystem"
    }
    for answer in ASSESSMENTS:
        for coding in [*answer["code"]["coding"], *(c for p in answer["prediction"] for c in p["outcome"]["coding"])]:
            assert coding["code"] in systems[coding["system"]]


def test_the_statement_and_the_operation_follow_the_registry_and_the_parser() -> None:
    operation = next(resource for resource in DEFINITIONS if resource["resourceType"] == "OperationDefinition")
    assert [one["name"] for one in operation["parameter"] if one["use"] == "in"] == list(PARAMETERS)
    assert operation["url"] == STATEMENT["rest"][0]["resource"][0]["operation"][0]["definition"]
    assert all(task.title in STATEMENT["rest"][0]["documentation"] for task in BUILT_IN.values())
    assert STATEMENT["rest"][0]["interaction"] == [{"code": "batch"}]


@pytest.mark.parametrize("name", SEARCH_PARAMETERS)
def test_a_search_parameter_of_the_routes_is_listed(name: str) -> None:
    served = ServedResource("RiskAssessment", ("search-type",), (name,))
    statement = capability_statement(BUILT_IN, software_version="1", url="https://x", date=DATE, resources=[served])
    assert statement["rest"][0]["resource"][0]["searchParam"][0]["name"] == name


def test_errors_of_the_domain_have_a_status() -> None:
    assert http_status(NoteError("x")) == 422
    assert http_status(UnknownTaskError("x")) == 404
    assert http_status(ScoringError("x")) == 500
    assert http_status(FhirInputError("x", code="too-long", status=413)) == 413
    assert from_lang1_error(UnknownTaskError("x")).status == 404


def test_importing_the_package_is_light() -> None:
    import subprocess
    import sys

    modules = (
        "json_body operation_outcome document_note risk_assessment parameters batch capability definitions note_files"
    )
    imports = "; ".join(f"import fhir_adapters.{name}" for name in modules.split())
    heavy = ("torch", "ray", "fhir.resources", "lxml", "pypdf")
    code = f"import json, sys; {imports}; print(json.dumps([name for name in {heavy} if name in sys.modules]))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []
