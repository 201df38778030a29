"""A service told by a real HTTP EHR: notifications in, notes fetched, scored once, whatever is killed on the way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lang1.cli import pull
from lang1.tasks import BUILT_IN
from tests.ehr.notifications import Notifier
from tests.ehr.server import TestEhr
from tests.serve.notes import FHIR, SCORE, TEXT, batch, document
from tests.serve.service import RunningService

# A service and an EHR to start; the storm test has both in every run.
pytestmark = pytest.mark.slow

PHI = "Zebediah-Quillfeather-31337"
HOOK = "/fhir/$notification"


def until(condition: Callable[[], bool], limit_s: float = 120) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"not within {limit_s} s"
        time.sleep(0.05)  # polls with a limit


def options(ehr: TestEhr) -> dict[str, Any]:
    return {"fhir_base_url": ehr.url, "notifications": True, "intake_retry_s": 0.2, "gap_wait_s": 0.5, "deadline_s": 60}


@pytest.fixture(scope="module")
def ehr() -> Iterator[TestEhr]:
    with TestEhr() as running:
        yield running


@pytest.fixture(scope="module")
def told(ehr: TestEhr, tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[RunningService]:
    running = RunningService(tmp_path_factory.mktemp("told"), bundle, **options(ehr))
    yield running
    running.stop()


def scores(service: RunningService, patient: str) -> list[dict[str, Any]]:
    """Every RiskAssessment of a patient."""
    found: list[dict[str, Any]] = []
    url: str | None = f"/fhir/RiskAssessment?patient={patient}&_count=100"
    while url:
        page = service.client.get(url).json()
        found += [entry["resource"] for entry in page.get("entry", [])]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    return found


def notes_of(service: RunningService, patient: str) -> int:
    """Scored notes of a patient; each note has every task once, or the test fails."""
    found = scores(service, patient)
    notes = len({each["basis"][0]["reference"] for each in found})
    assert len(found) == notes * len(BUILT_IN)
    return notes


def of(patient: str, text: str = TEXT, **more: Any) -> dict[str, Any]:
    return document(text, subject={"reference": f"Patient/{patient}"}, **more)


def test_a_note_that_is_told_of_is_in_the_search_soon(told: RunningService, ehr: TestEhr) -> None:
    source = Notifier(ehr, told.url + HOOK, subscription="thin")
    assert source.handshake().status_code == 200
    assert source.event(ehr.add(of("thin", id="thin"))).status_code == 200
    until(lambda: notes_of(told, "thin") == 1)
    assert source.repeat(1).status_code == source.heartbeat().status_code == 200
    assert told.metric("lang1_notifications_total", code="event-notification") >= 2


def test_whole_notes_are_scored_before_the_answer(told: RunningService, ehr: TestEhr) -> None:
    source = Notifier(ehr, told.url + HOOK, content="full-resource", subscription="whole")
    assert source.event(ehr.add(of("whole", id="whole"))).status_code == 200
    assert notes_of(told, "whole") == 1


def test_what_is_no_notification_is_refused(told: RunningService) -> None:
    for body in ({"resourceType": "Bundle", "type": "history"}, batch(document()), {"resourceType": PHI}):
        answer = told.client.post(HOOK, json=body, headers=FHIR)
        assert (answer.status_code, answer.json()["resourceType"]) == (422, "OperationOutcome")
        assert PHI not in answer.text
    assert told.client.post(HOOK, content=b"{", headers=FHIR).status_code == 400


def test_a_mistake_that_is_posted_is_refused_and_takes_back_what_was_scored(told: RunningService) -> None:
    for patient, post in (
        ("alone", lambda note: told.client.post(SCORE, json=note, headers=FHIR)),
        ("batched", lambda note: told.client.post("/fhir", json=batch(note), headers=FHIR)),
    ):
        note = of(patient, id=patient)
        assert post(note).status_code == 200
        answer = post(note | {"status": "entered-in-error"})
        assert "business-rule" in answer.text
        assert {each["status"] for each in scores(told, patient)} == {"entered-in-error"}
        assert {each["meta"]["versionId"] for each in scores(told, patient)} == {"2"}


def test_an_amended_version_that_is_posted_supersedes_in_either_order(told: RunningService) -> None:
    for patient, order in (("forward", (0, 1)), ("backward", (1, 0))):
        versions = [
            of(patient, f"{TEXT} {text}", id=patient, meta={"versionId": str(number), "lastUpdated": moment})
            for number, (text, moment) in enumerate(
                [("First.", "2026-01-01T00:00:00Z"), ("Amended.", "2026-01-02T00:00:00Z")], 1
            )
        ]
        for place in order:
            assert told.client.post(SCORE, json=versions[place], headers=FHIR).status_code == 200
        by_version = {each["basis"][0]["reference"]: each["status"] for each in scores(told, patient)}
        assert sorted(by_version.items()) == [
            (f"DocumentReference/{patient}/_history/1", "cancelled"),
            (f"DocumentReference/{patient}/_history/2", "final"),
        ]


@pytest.mark.slow
def test_a_killed_intake_replica_loses_no_event_and_scores_none_twice(told: RunningService, ehr: TestEhr) -> None:
    source = Notifier(ehr, told.url + HOOK, subscription="killed")
    before = told.metric("lang1_notes_scored_total")
    for place in range(50):
        assert source.event(ehr.add(of("killed", f"{TEXT} Number {place}.", id=f"k{place}"))).status_code == 200
        if place == 25:
            os.kill(told.replica_pids("Intake")[0], signal.SIGKILL)
    until(lambda: notes_of(told, "killed") == 50)
    until(lambda: told.metric("lang1_intake_pending") == 0)
    assert told.metric("lang1_notes_scored_total") == before + 50


def test_an_export_is_pulled_into_the_running_service(told: RunningService, ehr: TestEhr, tmp_path: Path) -> None:
    for place in range(12):
        ehr.add(of("pulled", f"{TEXT} Number {place}.", id=f"p{place}"))
    (tmp_path / "settings.yaml").write_text(f"fhir_base_url: {ehr.url}\nport: {told.port}\n")
    call = ["bulk", "--state", str(tmp_path / "s"), "--settings", str(tmp_path / "settings.yaml"), "--batch", "10"]
    assert CliRunner().invoke(pull.app, call).exit_code == 0
    assert notes_of(told, "pulled") == 12


def test_planted_phi_is_in_no_log_and_no_metric(told: RunningService, ehr: TestEhr) -> None:
    source = Notifier(ehr, told.url + HOOK, subscription="phi")
    source.event(ehr.add(of(PHI, f"{TEXT} {PHI}", id=PHI)), f"DocumentReference/{PHI}-missing", f"Patient/{PHI}")
    ehr.add({"resourceType": "DocumentReference", "id": f"{PHI}-bad", "status": PHI})
    source.event(f"DocumentReference/{PHI}-bad")
    until(lambda: notes_of(told, PHI) == 1)
    until(lambda: told.metric("lang1_intake_dead") >= 2)
    assert PHI not in told.client.get("/metrics").text
    written = [*(file for file in told.log_dir.rglob("*") if file.is_file()), told.output]
    assert any("Intake" in file.name for file in written)
    for file in written:
        content = file.read_bytes()
        assert PHI.encode() not in content, file.name
        assert b"ZZPLANTEDPATIENT" not in content, file.name


@pytest.mark.slow
def test_a_service_that_is_stopped_or_killed_in_the_middle_goes_on_after_its_restart(
    ehr: TestEhr, tmp_path: Path, bundle: Path
) -> None:
    service = RunningService(tmp_path, bundle, **options(ehr))
    try:
        source = Notifier(ehr, service.url + HOOK, subscription="stopped")
        for part in range(3):
            for place in range(20):
                name = f"s{part}-{place}"
                source.event(ehr.add(of("stopped", f"{TEXT} Note {name}.", id=name)), until_taken_s=60)
            if part == 0:
                assert service.stop() == 0
                service.start()
            elif part == 1:
                os.killpg(service.process.pid, signal.SIGKILL)  # its own session: start_new_session
                service.process.wait(10)
                service.start()
        until(lambda: notes_of(service, "stopped") == 60)
        until(lambda: service.metric("lang1_intake_pending") == 0)
        # While it was away events were counted and not told.
        source.lose(1, ehr.add(of("stopped", f"{TEXT} Lost.", id="lost")))
        source.heartbeat()
        until(lambda: notes_of(service, "stopped") == 61)
    finally:
        service.stop()
