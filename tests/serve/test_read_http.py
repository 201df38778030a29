"""Reading back: by id, by search, page by page; what the service says about itself."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from lang1.tasks import BUILT_IN
from tests.serve.notes import FHIR, SCORE, TEXT, document
from tests.serve.service import RunningService


def score(client: httpx.Client, text: str = TEXT, **changes: Any) -> list[dict[str, Any]]:
    answer = client.post(SCORE, json=document(text, **changes), headers=FHIR)
    assert answer.status_code == 200, answer.text
    return [entry["resource"] for entry in answer.json()["entry"]]


def test_a_risk_assessment_is_read_back_as_it_was_given(client: httpx.Client) -> None:
    for resource in score(client, id="readback"):
        answer = client.get(f"/fhir/RiskAssessment/{resource['id']}")
        assert answer.status_code == 200
        assert answer.json() == resource
        assert answer.headers["etag"] == 'W/"1"'


def test_search_by_patient_encounter_identifier_and_time(client: httpx.Client) -> None:
    encounter = {"encounter": [{"reference": "Encounter/search-e"}]}
    made = score(client, id="search", subject={"reference": "Patient/search-p"}, context=encounter)
    at, token = made[0]["meta"]["lastUpdated"], made[0]["identifier"][0]
    for parameters, found in (
        ({"subject": "Patient/search-p"}, len(BUILT_IN)),
        ({"patient": "search-p"}, len(BUILT_IN)),
        ({"patient": "search-p", "subject": "Patient/other"}, 0),
        ({"encounter": "search-e", "subject": "Patient/search-p"}, len(BUILT_IN)),
        ({"encounter": "other", "subject": "Patient/search-p"}, 0),
        ({"identifier": f"{token['system']}|{token['value']}"}, 1),
        ({"identifier": f"http://other|{token['value']}"}, 0),
        ({"_id": made[0]["id"]}, 1),
        ({"patient": "search-p", "_lastUpdated": f"ge{at}"}, len(BUILT_IN)),
        ({"patient": "search-p", "_lastUpdated": at}, len(BUILT_IN)),
        ({"patient": "search-p", "_lastUpdated": f"gt{at}"}, 0),
        ({"patient": "search-p", "_lastUpdated": f"ne{at}"}, 0),
        ({"patient": "search-p", "_lastUpdated": ["ge2020", "lt2021-06"]}, 0),
    ):  # fmt: skip
        bundle = client.get("/fhir/RiskAssessment", params=parameters).json()
        assert (bundle["type"], bundle["total"]) == ("searchset", found), parameters


def test_pages_hold_every_match_once(client: httpx.Client) -> None:
    made = {each["id"] for each in score(client, id="paged", subject={"reference": "Patient/paged"})}
    url: str | None = "/fhir/RiskAssessment?subject=Patient/paged&_count=2"
    seen: list[str] = []
    while url:
        bundle = client.get(url).json()
        seen += [entry["resource"]["id"] for entry in bundle["entry"]]
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
    assert len(seen) == len(made)
    assert set(seen) == made


def test_an_amended_note_supersedes_its_old_scores(client: httpx.Client) -> None:
    who = {"reference": "Patient/amended"}
    old = score(client, id="amend-1", subject=who)
    relates = [{"code": "replaces", "target": {"reference": "DocumentReference/amend-1"}}]
    score(client, id="amend-2", subject=who, relatesTo=relates, text=TEXT + " Amended: no chest pain.")
    now = client.get(f"/fhir/RiskAssessment/{old[0]['id']}")
    assert now.json()["status"] == "cancelled"
    assert now.headers["etag"] == 'W/"2"'


def test_plain_scores_have_no_patient_and_are_no_risk_assessments(client: httpx.Client) -> None:
    before = client.get("/fhir/RiskAssessment", params={"_count": "0"}).json()["total"]
    assert client.post("/v1/score", json={"notes": [{"id": "plain", "text": TEXT}]}).status_code == 200
    assert client.get("/fhir/RiskAssessment", params={"_count": "0"}).json()["total"] == before


def test_the_capability_statement_names_only_routes_that_answer(client: httpx.Client) -> None:
    statement = client.get("/fhir/metadata").json()
    assert (statement["resourceType"], statement["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
    for resource in statement["rest"][0]["resource"]:
        if any(each["code"] == "search-type" for each in resource.get("interaction", [])):
            for parameter in resource.get("searchParam", []):
                value = "2024" if parameter["type"] == "date" else "x"
                answer = client.get(f"/fhir/{resource['type']}", params={parameter["name"]: value})
                assert answer.status_code == 200, (resource["type"], parameter["name"])


@pytest.mark.parametrize("kind", ["OperationDefinition", "StructureDefinition", "CodeSystem"])
def test_definitions_are_listed_and_read_by_id(client: httpx.Client, kind: str) -> None:
    listed = client.get(f"/fhir/{kind}").json()
    assert listed["total"] >= 1
    for entry in listed["entry"]:
        assert client.get(f"/fhir/{kind}/{entry['resource']['id']}").json() == entry["resource"]


def test_the_model_is_described(client: httpx.Client) -> None:
    model = client.get("/v1/model").json()
    assert model["model"]["name"] == "lang1-tiny"
    assert [task["name"] for task in model["tasks"]] == list(BUILT_IN)
    assert model["card"].startswith("# Tiny")


def test_openapi_names_the_routes(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {SCORE, "/fhir", "/v1/score", "/v1/model", "/livez", "/readyz", "/metrics"} <= paths.keys()


def test_metrics_carry_only_the_allowed_labels(client: httpx.Client, service: RunningService) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    client.get("/v1/nothing")
    # All are closed sets of this program's own words: nothing that a caller sends becomes a label.
    allowed = {"task", "note_type", "model_version", "code", "signal", "bound", "le"}
    allowed |= {"type", "sink", "shown", "direction"}
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    assert {label for family in families for sample in family.samples for label in sample.labels} <= allowed
    assert service.metric("lang1_model_info", model_version="0.0.1") == 1
    assert service.metric("lang1_requests_total", code="404") >= 1
