"""The whole service over HTTP with a real FHIR server behind it: from `$score` to a resource in the EHR."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lang1.tasks import BUILT_IN
from tests.ehr.server import TestEhr, wait_for
from tests.serve.conftest import FHIR_ANSWERS
from tests.serve.notes import FHIR, SCORE, document
from tests.serve.service import RunningService

# A service and an EHR to start; the storm test has both in every run.
pytestmark = pytest.mark.slow

LIMIT_S = 40.0
ALL = len(BUILT_IN)


@pytest.fixture(scope="module")
def hospital() -> Iterator[TestEhr]:
    with TestEhr() as running:
        yield running


@pytest.fixture(scope="module")
def writing(tmp_path_factory: pytest.TempPathFactory, bundle: Path, hospital: TestEhr) -> Iterator[RunningService]:
    running = RunningService(
        tmp_path_factory.mktemp("writing"), bundle, sink="risk-assessment", fhir_base_url=hospital.url,
        write_unmatched_types=True, write_lease_s=2, write_probe_s=0.2, write_retry_base_s=0.1,
    )  # fmt: skip
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def no_faults(hospital: TestEhr) -> Iterator[None]:
    yield
    hospital.faults.clear()


def new_document(**changes: Any) -> dict[str, Any]:
    return document(id=f"wb-{uuid.uuid4().hex[:12]}", **changes)


def send(service: RunningService, note: dict[str, Any]) -> list[dict[str, Any]]:
    answer = service.client.post(SCORE, json=note, headers=FHIR)
    assert answer.status_code == 200, answer.text
    entries = [each["resource"] for each in answer.json()["entry"]]
    return [each for each in entries if each["resourceType"] == "RiskAssessment"]


def written(ehr: TestEhr, scores: list[dict[str, Any]]) -> dict[str, str]:
    """Status by identifier of what the EHR has of these scores; a second copy of one fails."""
    wanted = {each["identifier"][0]["value"] for each in scores}
    found = [each for each in ehr.resources("RiskAssessment") if each["identifier"][0]["value"] in wanted]
    counts = Counter(each["identifier"][0]["value"] for each in found)
    assert not counts or max(counts.values()) == 1, "written twice"
    return {each["identifier"][0]["value"]: each["status"] for each in found}


def until_all(ehr: TestEhr, scores: list[dict[str, Any]], status: str = "final") -> None:
    wait_until(lambda: list(written(ehr, scores).values()) == [status] * len(scores))


def wait_until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    wait_for(condition, limit_s)


def test_a_score_is_written_back_once_and_a_resend_writes_nothing(writing: RunningService, hospital: TestEhr) -> None:
    note = new_document()
    scores = send(writing, note)
    until_all(hospital, scores)
    kept = hospital.resources("RiskAssessment")[0]
    assert kept["subject"] == {"reference": "Patient/p1"}
    assert kept["basis"][0]["reference"].startswith(f"DocumentReference/{note['id']}")
    posts = len(hospital.requests("POST", "RiskAssessment"))
    assert send(writing, note) == scores
    until_all(hospital, send(writing, new_document()))
    assert len(hospital.requests("POST", "RiskAssessment")) == posts + ALL


def test_an_amended_note_cancels_the_old_scores_in_the_ehr(writing: RunningService, hospital: TestEhr) -> None:
    first = new_document()
    old = send(writing, first)
    until_all(hospital, old)
    target = {"reference": f"DocumentReference/{first['id']}"}
    new = send(writing, new_document(relatesTo=[{"code": "replaces", "target": target}]))
    until_all(hospital, old, "cancelled")
    until_all(hospital, new)


def test_while_the_ehr_is_down_scores_are_answered_and_follow_later(writing: RunningService, hospital: TestEhr) -> None:
    with hospital.down():
        scores = [score for _ in range(3) for score in send(writing, new_document())]
        wait_until(lambda: writing.metric("lang1_outbox_written_total", code="unavailable") > 0)
        wait_until(lambda: writing.metric("lang1_outbox_pending") == len(scores))
        listed = command(writing, "list", "--pending", "--json")
        shown = [json.loads(line) for line in listed.stdout.splitlines()]
        assert {each["status"] for each in shown} == {"pending"}
        assert "Patient/" not in listed.stdout + listed.stderr
    until_all(hospital, scores)
    wait_until(lambda: writing.metric("lang1_outbox_pending") == 0)


def test_lost_answers_and_tokens_write_nothing_twice(writing: RunningService, hospital: TestEhr) -> None:
    hospital.faults.drop_after(3, method="POST", path="RiskAssessment")
    hospital.faults.status(401, 1, method="POST", path="RiskAssessment", code="login")
    until_all(hospital, send(writing, new_document()))


def test_dead_letters_are_listed_and_replayed_while_the_service_runs(
    writing: RunningService, hospital: TestEhr
) -> None:
    hospital.faults.status(422, ALL, method="POST", path="RiskAssessment", code="business-rule")
    scores = send(writing, new_document())
    wait_until(lambda: writing.metric("lang1_outbox_dead") == ALL)
    listed = command(writing, "list", "--dead", "--json")
    dead = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {each["error"] for each in dead} == {"rejected/422/business-rule"}
    assert sorted(each["task"] for each in dead) == sorted(BUILT_IN)
    assert command(writing, "replay", str(dead[0]["id"])).stdout == "1 replayed\n"
    assert command(writing, "replay", "--all-dead").stdout == f"{ALL - 1} replayed\n"
    until_all(hospital, scores)


@pytest.mark.slow
def test_a_writer_killed_under_load_writes_each_score_once(writing: RunningService, hospital: TestEhr) -> None:
    hospital.faults.delay(0.02, 10_000, method="POST", path="RiskAssessment")
    stop = threading.Event()
    scores: list[dict[str, Any]] = []

    def load() -> None:
        while not stop.is_set():
            scores.extend(send(writing, new_document()))

    with ThreadPoolExecutor(2) as pool:
        senders = [pool.submit(load) for _ in range(2)]
        for _ in range(2):
            (victim,) = writing.replica_pids("Writer")
            before = len(hospital.requests("POST", "RiskAssessment"))
            wait_until(lambda before=before: len(hospital.requests("POST", "RiskAssessment")) >= before + 5)  # type: ignore[misc]
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda victim=victim: len(now := writing.replica_pids("Writer")) == 1 and victim not in now)  # type: ignore[misc]
        stop.set()
        for each in senders:
            each.result()
    hospital.faults.clear()
    assert len(scores) > 2 * ALL
    until_all(hospital, scores)


def test_what_was_written_is_validated_with_the_answers(writing: RunningService, hospital: TestEhr) -> None:
    sample = hospital.resources("RiskAssessment")[:20]
    assert sample
    FHIR_ANSWERS.extend(sample)


def test_nothing_of_a_patient_is_in_the_logs(writing: RunningService) -> None:
    logs = [file for file in writing.log_dir.rglob("*") if file.is_file()]
    assert logs
    for file in logs:
        assert b"Patient/p1" not in file.read_bytes(), file.name


def command(service: RunningService, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from lang1.cli.outbox import app; app(prog_name='lang1 outbox', args=sys.argv[1:])"
    settings = service.output.parent / "settings.yaml"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--settings", str(settings)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done
