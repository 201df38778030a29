"""fhirpy, sync and async, reads what it had scored."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound

from lang1.tasks import BUILT_IN
from tests.foreign.conftest import discharge_summary
from tests.node_validator import validate_r4

SCORE = "DocumentReference/$score"


def authorization(token: str | None) -> str | None:
    return None if token is None else f"Bearer {token}"


@pytest.fixture
def client(fhir_url: str, token: str | None) -> SyncFHIRClient:
    return SyncFHIRClient(fhir_url, authorization=authorization(token))


def scored(client: SyncFHIRClient, patient: str) -> list[dict[str, Any]]:
    bundle = client.execute(SCORE, data=discharge_summary(patient))
    return [entry["resource"] for entry in bundle["entry"]]


def test_sync_client_scores_reads_and_searches_over_pages(client: SyncFHIRClient) -> None:
    assert client.execute("metadata", method="get")["fhirVersion"] == "4.0.1"
    found = scored(client, "fhirpy")
    assert [each["code"]["coding"][0]["code"] for each in found] == list(BUILT_IN)

    one = client.reference("RiskAssessment", found[0]["id"]).to_resource()
    assert one.serialize() == found[0]
    assert one.get_by_path(["prediction", 0, "probabilityDecimal"]) == found[0]["prediction"][0]["probabilityDecimal"]

    search = client.resources("RiskAssessment").search(patient="fhirpy").limit(2)
    assert len(search.fetch()) == 2
    paged = search.fetch_all()
    assert {each.id for each in paged} == {each["id"] for each in found}
    assert search.count() == len(found)
    summary = client.resources("RiskAssessment").search(patient="fhirpy", _summary="count").fetch_raw()
    assert (summary["total"], summary.get("entry")) == (len(found), None)
    assert len(search.sort("-_lastUpdated").fetch_all()) == len(found)
    by_encounter = client.resources("RiskAssessment").search(encounter="Encounter/fhirpy-stay", _id=found[1]["id"])
    only = by_encounter.get()
    assert only.id == found[1]["id"]
    assert validate_r4([only.serialize()]) == [[]]


def test_sync_client_sees_errors_as_operation_outcomes(client: SyncFHIRClient) -> None:
    with pytest.raises(OperationOutcome) as refused:
        client.execute(SCORE, data=discharge_summary("fhirpy", status="entered-in-error"))
    assert refused.value.resource["issue"][0]["code"] == "business-rule"
    with pytest.raises(ResourceNotFound):
        client.reference("RiskAssessment", "absent").to_resource()
    for asked in (
        client.resources("RiskAssessment").search(nonsense="1"),
        client.resources("RiskAssessment").sort("x"),
    ):
        with pytest.raises(OperationOutcome):
            asked.fetch()


def test_async_client_scores_at_once_and_pages(fhir_url: str, token: str | None) -> None:
    client = AsyncFHIRClient(fhir_url, authorization=authorization(token))
    patients = [f"fhirpy-async-{n}" for n in range(4)]

    async def both() -> list[set[str]]:
        answers = await asyncio.gather(*(client.execute(SCORE, data=discharge_summary(each)) for each in patients))
        assert all(len(answer["entry"]) == len(BUILT_IN) for answer in answers)
        found = []
        for patient in patients:
            search = client.resources("RiskAssessment").search(subject=f"Patient/{patient}").limit(3)
            found.append({each.id async for each in search})
        return found

    found = asyncio.run(both())
    assert [len(ids) for ids in found] == [len(BUILT_IN)] * len(patients)
    assert len(set.union(*found)) == len(BUILT_IN) * len(patients)
