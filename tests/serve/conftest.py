"""One running service for the session, two replicas of ingress and scorer; its FHIR answers are validated last."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

from serve.store.core import Store
from tests.serve import postgres
from tests.serve.service import RunningService
from tests.tiny_bundle import make_tiny_bundle

FHIR_ANSWERS: list[dict[str, Any]] = []


def collect(response: httpx.Response) -> None:
    """Keep each distinct shape of FHIR answer for the validator."""
    if response.headers.get("content-type", "").startswith("application/fhir+json"):
        response.read()
        FHIR_ANSWERS.append(response.json())


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    reason = postgres.missing()
    if reason:
        if os.environ.get("LANG1_REQUIRE_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)
    with postgres.running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[RunningService]:
    running = RunningService(
        tmp_path_factory.mktemp("service"), bundle, ingress_replicas=2, scorer_replicas=2,
        max_body_bytes=1_000_000, max_attachment_bytes=500_000, max_text_chars=200_000, parser_timeout_s=5,
        fhir_base_url="http://127.0.0.1:9/fhir", deadline_s=60, monitor_every_s=3600,
    )  # fmt: skip
    running.client.event_hooks["response"].append(collect)
    yield running
    running.stop()


@pytest.fixture
def client(service: RunningService) -> httpx.Client:
    return service.client


def _execute(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _migrated(url: str) -> None:
    store = Store(url)
    store.migrate()
    store.close()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the newest schema, to be copied: migrating anew would take most of a test's time."""
    path = tmp_path_factory.mktemp("schema") / "empty.sqlite3"
    _migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url: str) -> str:
    """Name of a database of the newest schema, a template for others."""
    name = f"schema{uuid.uuid4().hex}"
    _execute(postgres_url, f"CREATE DATABASE {name}")
    _migrated(postgres_url.rpartition("/")[0] + "/" + name)
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of the newest schema, without rows."""
    if request.param == "sqlite":
        copy = shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "store.sqlite3")
        return f"sqlite:///{copy}"
    base, name = request.getfixturevalue("postgres_url"), f"t{uuid.uuid4().hex}"
    _execute(base, f"CREATE DATABASE {name} TEMPLATE {request.getfixturevalue('migrated_postgres')}")
    return str(base.rpartition("/")[0] + "/" + name)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite3'}"
    base, name = request.getfixturevalue("postgres_url"), f"t{uuid.uuid4().hex}"
    _execute(base, f"CREATE DATABASE {name}")
    return str(base.rpartition("/")[0] + "/" + name)


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        self.ms += 1
        return self.ms


@pytest.fixture
def open_store(url: str) -> Iterator[Callable[..., Store]]:
    opened: list[Store] = []

    def make(**options: object) -> Store:
        store = Store(url, **options)  # type: ignore[arg-type]
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    return open_store(clock_ms=Clock())
