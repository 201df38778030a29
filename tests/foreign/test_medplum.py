"""Medplum's FHIR router as the EHR: what is written back passes its own validation, and is there once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lang1 import DEMO_BUNDLE
from lang1.tasks import BUILT_IN
from tests.foreign.conftest import discharge_summary
from tests.foreign.node_programs import medplum_ehr
from tests.node_validator import require_validators, validate_r4
from tests.serve.notes import FHIR, SCORE
from tests.serve.service import RunningService

WAIT_S = 60
NOTES = 5
# Of the demo's note, a discharge summary, with the setting write_unmatched_types off.
MATCHING = [task.name for task in BUILT_IN.values() if "18842-5" in task.note_types]


def client_of(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers=FHIR, trust_env=False, timeout=30)


@pytest.fixture(scope="module")
def ehr(ehr_url: str | None) -> Iterator[httpx.Client]:
    require_validators()
    assert ehr_url is not None
    with client_of(ehr_url) as client:
        yield client


def found(ehr: httpx.Client, resource_type: str, **search: str) -> list[dict[str, Any]]:
    answer = ehr.get(f"/{resource_type}", params={"_count": "100"} | search)
    assert answer.status_code == 200, answer.text
    return [entry["resource"] for entry in answer.json().get("entry", [])]


def until(condition: Callable[[], bool]) -> None:
    """Polls with a limit."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "not written back in time"
        time.sleep(0.1)


def test_the_ehr_is_strict_and_knows_if_none_exist(ehr: httpx.Client) -> None:
    good = {
        "resourceType": "RiskAssessment", "status": "final", "subject": {"reference": "Patient/1"},
        "identifier": [{"system": "urn:x", "value": "1"}],
    }  # fmt: skip
    assert ehr.post("/RiskAssessment", json={**good, "status": None}).status_code == 400
    assert ehr.post("/RiskAssessment", json={**good, "banana": 1}).status_code == 400
    once = {"If-None-Exist": "identifier=urn:x|1"}
    first, second = (ehr.post("/RiskAssessment", json=good, headers=once) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert len(found(ehr, "RiskAssessment", identifier="urn:x|1")) == 1
    batch = {"resourceType": "Bundle", "type": "batch", "entry": [
        {"resource": good, "request": {"method": "POST", "url": "RiskAssessment", "ifNoneExist": "identifier=urn:x|1"}}
    ]}  # fmt: skip
    answer = ehr.post("", json=batch).json()
    assert answer["entry"][0]["response"]["status"].startswith("200")
    assert ehr.delete(f"/RiskAssessment/{first.json()['id']}").status_code == 200


def check_written_once(service: RunningService, ehr: httpx.Client, resource_type: str, each_note: int) -> None:
    """Five notes are written back as `each_note` resources each; sent again they make no more."""
    patients = [f"medplum-{n}" for n in range(NOTES)]

    def written(patient: str) -> list[dict[str, Any]]:
        return found(ehr, resource_type, subject=f"Patient/{patient}")

    def score(patient: str) -> None:
        answer = service.client.post(SCORE, json=discharge_summary(patient), headers=FHIR)
        assert answer.status_code == 200, answer.text

    for patient in patients:
        score(patient)
    until(lambda: all(len(written(patient)) >= each_note for patient in patients))
    first = {patient: written(patient) for patient in patients}
    assert {len(resources) for resources in first.values()} == {each_note}
    everything = [each for resources in first.values() for each in resources]
    assert [problems for problems in validate_r4(everything) if problems] == []

    for patient in (*patients, "medplum-last"):
        score(patient)
    # The writer takes the oldest first: once the last note's are there, the others had their turn.
    until(lambda: len(written("medplum-last")) >= each_note)
    assert {patient: written(patient) for patient in patients} == first
    assert service.metric("lang1_outbox_dead") == 0


def test_scores_are_written_back_once(service: RunningService, ehr: httpx.Client) -> None:
    check_written_once(service, ehr, "RiskAssessment", len(BUILT_IN))
    for resource in found(ehr, "RiskAssessment", subject="Patient/medplum-0"):
        (identifier,) = resource["identifier"]
        answer = service.client.get("/fhir/RiskAssessment", params={"identifier": identifier["value"]}).json()
        (own,) = (entry["resource"] for entry in answer["entry"])
        assert own["prediction"] == resource["prediction"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sink", "resource_type", "each_note", "write_mode"),
    [
        ("risk-assessment", "RiskAssessment", len(MATCHING), "update-as-create"),
        ("observation", "Observation", len(MATCHING), "conditional-create"),
        ("document-report", "DocumentReference", 1, "conditional-create"),
    ],
)
def test_other_sinks_and_modes(tmp_path: Path, sink: str, resource_type: str, each_note: int, write_mode: str) -> None:
    with medplum_ehr() as url, client_of(url) as ehr:
        running = RunningService(
            tmp_path, DEMO_BUNDLE, deadline_s=60, fhir_base_url=url, sink=sink, write_mode=write_mode
        )
        try:
            check_written_once(running, ehr, resource_type, each_note)
        finally:
            running.stop()
