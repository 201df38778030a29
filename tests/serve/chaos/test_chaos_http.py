"""Whatever is killed while notes come in by all ways: one resource a score in the EHR, none lost, none twice."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from tests.ehr.server import TestEhr
from tests.serve.chaos.storm import Storm
from tests.serve.service import RunningService

# What may still be under way when the last call was answered: leases of killed writers, waits between tries, and a
# writer that is behind.
SETTLE_LIMIT_S = 180.0
SETTLE_LIMIT_PER_NOTE_S = 0.2
LOCK_S = 1.0


@pytest.fixture
def ehr() -> Iterator[TestEhr]:
    with TestEhr() as running:
        yield running


def start(folder: Path, bundle: Path, ehr: TestEhr, **settings: Any) -> RunningService:
    return RunningService(
        folder, bundle, fhir_base_url=ehr.url, sink="risk-assessment", notifications=True, poll_every_s=1,
        poll_since="2020-01-01", ingress_replicas=2, scorer_replicas=1, deadline_s=20, write_retry_base_s=0.2,
        write_retry_max_s=2, write_probe_s=0.5, write_lease_s=5, write_concurrency=8, intake_retry_s=0.3, **settings,
    )  # fmt: skip


def lock_sqlite(file: Path) -> Callable[[], None]:
    """Another program holds the write lock for a second."""

    def cut() -> None:
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(file, timeout=2)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(LOCK_S)  # the fault itself: a lock that lasts
            connection.rollback()

    return cut


def cut_postgres(url: str) -> Callable[[], None]:
    """The server ends every connection but its own."""

    def cut() -> None:
        engine = create_engine(url)
        with engine.connect() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                     "WHERE pid <> pg_backend_pid() AND datname = current_database()")
            )  # fmt: skip
        engine.dispose()

    return cut


def new_database(server_url: str) -> str:
    """A database of its own on the server: cutting its connections is nobody else's."""
    name = f"storm{uuid.uuid4().hex}"
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server_url.rpartition("/")[0] + "/" + name


def weather(storm: Storm) -> None:
    storm.blow()
    until = time.monotonic() + SETTLE_LIMIT_S + SETTLE_LIMIT_PER_NOTE_S * storm.notes
    while not storm.settled() and time.monotonic() < until:
        time.sleep(0.5)  # polls with a limit; each look reads every resource
    storm.check()
    assert sum(storm.killed.values()) >= 3, "nothing was killed: no storm"
    assert storm.ehr.faults.hits["drop-after"], "no answer was lost: no storm"


def test_two_hundred_notes_on_sqlite(tmp_path: Path, bundle: Path, ehr: TestEhr) -> None:
    service = start(tmp_path, bundle, ehr)
    try:
        weather(Storm(service, ehr, notes=200, seed=7, cut_database=lock_sqlite(service.database)))
    finally:
        assert service.stop() == 0


@pytest.mark.slow
def test_two_thousand_notes_on_postgresql(tmp_path: Path, bundle: Path, ehr: TestEhr, postgres_url: str) -> None:
    url = new_database(postgres_url)
    service = start(tmp_path, bundle, ehr, database_url=url, store_replicas=2)
    try:
        weather(Storm(service, ehr, notes=2000, seed=11, cut_database=cut_postgres(url), max_kills=40))
    finally:
        assert service.stop() == 0
