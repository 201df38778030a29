"""Faults while the service runs: what the client gets, and that nothing is lost or half written."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from lang1.tasks import BUILT_IN
from tests.serve.conftest import collect
from tests.serve.notes import FHIR, SCORE, TEXT, document
from tests.serve.service import RunningService
from tests.tiny_bundle import make_tiny_bundle


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold SQLite's write lock, as a stuck backup would."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def issue_code(answer: httpx.Response) -> str:
    return str(answer.json()["issue"][0]["code"])


def test_a_locked_database_is_503_no_store_and_nothing_is_lost(client: httpx.Client, service: RunningService) -> None:
    known = client.post(SCORE, json=document(id="known"), headers=FHIR).json()["entry"][0]["resource"]["id"]
    note = document(id="locked", subject={"reference": "Patient/locked"})
    with locked(service.database):
        answer = client.post(SCORE, json=note, headers=FHIR)
        assert (answer.status_code, issue_code(answer)) == (503, "no-store")
        assert int(answer.headers["retry-after"]) > 0
        # A reading that cannot be recorded is not given either.
        assert client.get(f"/fhir/RiskAssessment/{known}").status_code == 503
    assert client.get("/fhir/RiskAssessment?patient=locked").json()["total"] == 0
    assert client.post(SCORE, json=note, headers=FHIR).status_code == 200
    assert client.get("/fhir/RiskAssessment?patient=locked").json()["total"] == len(BUILT_IN)


def test_a_scorer_killed_in_flight_is_retried(client: httpx.Client, service: RunningService) -> None:
    victim, other = service.replica_pids("Scorer")
    scored = service.metric("lang1_notes_scored_total")
    os.kill(victim, signal.SIGSTOP)  # so that work is really in flight when it dies
    run = uuid.uuid4().hex
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        work = [pool.submit(client.post, SCORE, json=document(id=f"{run}-{i}"), headers=FHIR) for i in range(12)]
        wait_until(lambda: any(each.done() for each in work))
        os.kill(victim, signal.SIGKILL)
        answers = [each.result() for each in work]
    assert [answer.status_code for answer in answers] == [200] * 12
    assert service.metric("lang1_notes_scored_total") == scored + 12
    wait_until(lambda: len(service.replica_pids("Scorer")) == 2)
    assert other in service.replica_pids("Scorer")
    assert client.get("/readyz").status_code == 200


def test_a_client_that_goes_away_leaves_all_or_nothing(client: httpx.Client, service: RunningService) -> None:
    gone = 0
    for i in range(10):
        note = document(id=f"gone-{i}", subject={"reference": f"Patient/gone-{i}"})
        try:
            httpx.post(service.url + SCORE, json=note, headers=FHIR, timeout=httpx.Timeout(5, read=0.001 + i * 0.002))
        except httpx.ReadTimeout:
            gone += 1
    assert gone
    for i in range(10):
        total = client.get(f"/fhir/RiskAssessment?patient=gone-{i}").json()["total"]
        assert total in (0, len(BUILT_IN))


@pytest.fixture(scope="module")
def sick_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """NaN in the weights, a queue of one note, one note a pass, a short deadline."""
    poisoned = make_tiny_bundle(tmp_path_factory.mktemp("poisoned") / "bundle", poison=True)
    running = RunningService(
        tmp_path_factory.mktemp("sick"), poisoned, max_queued_notes=1, max_batch_tokens=64, deadline_s=5.0
    )
    running.client.event_hooks["response"].append(collect)
    yield running
    running.stop()


def test_nan_logits_are_500_and_nothing_is_written(sick_service: RunningService) -> None:
    answer = sick_service.client.post(SCORE, json=document(), headers=FHIR)
    assert (answer.status_code, issue_code(answer)) == (500, "exception")
    assert sick_service.client.get("/fhir/RiskAssessment").json()["total"] == 0
    assert sick_service.metric("lang1_notes_scored_total") == 0
    assert sick_service.metric("lang1_notes_failed_total", code="exception") >= 1


def test_a_full_queue_is_503_throttled_with_retry_after(sick_service: RunningService) -> None:
    notes = [{"id": str(i), "text": f"{TEXT} {i} " + "more words of the note " * 100} for i in range(64)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        long_call = pool.submit(sick_service.client.post, "/v1/score", json={"notes": notes})
        answers = []
        while not long_call.done():
            answers.append(sick_service.client.post(SCORE, json=document(), headers=FHIR))
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused
    assert {issue_code(answer) for answer in refused} == {"throttled"}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)


def test_a_passed_deadline_is_504(sick_service: RunningService) -> None:
    (scorer,) = sick_service.replica_pids("Scorer")
    os.kill(scorer, signal.SIGSTOP)
    try:
        started = time.monotonic()
        answer = sick_service.client.post(SCORE, json=document(), headers=FHIR)
        assert (answer.status_code, issue_code(answer)) == (504, "timeout")
        assert time.monotonic() - started < 20
    finally:
        os.kill(scorer, signal.SIGCONT)


def wait_until(condition: object, limit_s: float = 30) -> None:
    until = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "the condition was not met in time"
        time.sleep(0.05)  # polls with a limit
