"""The service on a real PostgreSQL with two store replicas: same ids for all, one row each, kept over a restart."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

from lang1.tasks import BUILT_IN
from tests.serve.notes import FHIR, SCORE, document
from tests.serve.service import RunningService

CLIENTS, DOCUMENTS = 16, 10


def rows(url: str) -> int:
    engine = create_engine(url)
    with engine.connect() as connection:
        count = int(connection.execute(text("SELECT count(*) FROM predictions")).scalar_one())
    engine.dispose()
    return count


@pytest.mark.slow
def test_many_clients_with_the_same_documents_get_one_record_each_that_outlives_a_restart(
    tmp_path: Path, bundle: Path, postgres_url: str
) -> None:
    service = RunningService(
        tmp_path, bundle, database_url=postgres_url, store_replicas=2, ingress_replicas=2, deadline_s=60
    )
    notes = [document(id=f"pg-{i}", subject={"reference": f"Patient/pg-{i}"}) for i in range(DOCUMENTS)]

    def send_all(client: int) -> list[Any]:
        # Every client begins elsewhere, so that most documents are under way more than once at a time.
        order = [(client + i) % DOCUMENTS for i in range(DOCUMENTS)]
        with httpx.Client(base_url=service.url, timeout=60, trust_env=False) as own:
            answers = {place: own.post(SCORE, json=notes[place], headers=FHIR) for place in order}
        assert {answer.status_code for answer in answers.values()} == {200}
        return [answers[place].json() for place in range(DOCUMENTS)]

    try:
        assert len(service.replica_pids("Store")) == 2
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            first, *others = pool.map(send_all, range(CLIENTS))
        assert all(other == first for other in others)
        assert rows(postgres_url) == DOCUMENTS * len(BUILT_IN)
        assert service.metric("lang1_notes_scored_total") == DOCUMENTS

        assert service.stop() == 0
        service.start()
        assert send_all(0) == first
        assert rows(postgres_url) == DOCUMENTS * len(BUILT_IN)
        assert service.metric("lang1_notes_scored_total") == 0
    finally:
        service.stop()
