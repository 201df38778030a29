"""fhirclient (SMART on FHIR Python): its R4 models take every answer, strictly."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from fhirclient.client import FHIRClient
from fhirclient.models.bundle import Bundle
from fhirclient.models.capabilitystatement import CapabilityStatement
from fhirclient.models.documentreference import DocumentReference
from fhirclient.models.fhirsearch import FHIRSearch
from fhirclient.models.operationoutcome import OperationOutcome
from fhirclient.models.parameters import Parameters
from fhirclient.models.riskassessment import RiskAssessment
from fhirclient.server import FHIRNotFoundException, FHIRServer

from lang1.tasks import BUILT_IN
from tests.foreign.conftest import discharge_summary

SCORE = "DocumentReference/$score"


@pytest.fixture
def server(fhir_url: str, token: str | None) -> FHIRServer:
    server = FHIRClient({"app_id": "foreign", "api_base": fhir_url}).server
    if token is not None:
        server.session.headers["Authorization"] = f"Bearer {token}"
    return server


def score(server: FHIRServer, resource: DocumentReference | Parameters) -> Bundle:
    answer: dict[str, Any] = server.post_json(SCORE, resource.as_json()).json()
    return Bundle(answer, strict=True)


def test_models_take_the_capability_statement_and_the_scores(server: FHIRServer) -> None:
    assert server.prepare()
    statement = server.capabilityStatement
    assert isinstance(statement, CapabilityStatement)
    assert {each.type for each in statement.rest[0].resource} >= {"RiskAssessment", "DocumentReference"}

    document = DocumentReference(discharge_summary("smart"), strict=True)
    bundle = score(server, document)
    found = [entry.resource for entry in bundle.entry]
    assert all(isinstance(each, RiskAssessment) for each in found)
    assert [each.code.coding[0].code for each in found] == list(BUILT_IN)
    assert all(0 <= prediction.probabilityDecimal <= 1 for each in found for prediction in each.prediction)

    one = RiskAssessment.read(found[0].id, server)
    assert one.as_json() == found[0].as_json()


def test_parameters_choose_a_task(server: FHIRServer) -> None:
    document = discharge_summary("smart-one")
    chosen = [
        {"name": "document", "resource": document},
        {"name": "task", "valueCode": "readmission_30d"},
        {"name": "explain", "valueBoolean": True},
    ]
    bundle = score(server, Parameters({"resourceType": "Parameters", "parameter": chosen}, strict=True))
    (only,) = (entry.resource for entry in bundle.entry)
    assert only.code.coding[0].code == "readmission_30d"
    assert "Without the passage" in only.prediction[0].rationale


def test_search_goes_over_pages(server: FHIRServer) -> None:
    score(server, DocumentReference(discharge_summary("smart-pages")))
    search: FHIRSearch = RiskAssessment.where({"subject": "Patient/smart-pages", "_count": "2"})
    pages = list(search.perform_iter(server))
    assert [len(page.entry) for page in pages] == [2, 2, 1]
    assert {page.total for page in pages} == {len(BUILT_IN)}
    found = list(search.perform_resources_iter(server))
    assert len({each.id for each in found}) == len(BUILT_IN)


def test_errors_are_operation_outcomes(server: FHIRServer) -> None:
    with pytest.raises(FHIRNotFoundException) as absent:
        RiskAssessment.read("absent", server)
    assert OperationOutcome(absent.value.response.json(), strict=True).issue[0].code == "not-found"
    with pytest.raises(requests.HTTPError) as refused:
        server.post_json(SCORE, discharge_summary("smart", docStatus="preliminary"))
    assert OperationOutcome(refused.value.response.json(), strict=True).issue[0].code == "business-rule"
