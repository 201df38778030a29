"""A store of facts, on SQLite and on a real PostgreSQL: copies of one that was migrated once."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from serve.store.core import Store
from tests.serve.outcomes.resources import NOW, Hospital


class Clock:
    """Each transaction a second later."""

    def __init__(self) -> None:
        self.ms = int(NOW.timestamp() * 1000)

    def __call__(self) -> int:
        self.ms += 1000
        return self.ms


def _migrated(url: str) -> None:
    store = Store(url)
    store.migrate()
    store.close()


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("facts") / "empty.sqlite3"
    _migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def empty_postgres(postgres_url: str) -> str:
    """Name of the template."""
    name = f"facts{uuid.uuid4().hex}"
    _execute(postgres_url, f"CREATE DATABASE {name}")
    _migrated(postgres_url.rpartition("/")[0] + "/" + name)
    return name


def _execute(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        copy = shutil.copy(request.getfixturevalue("empty_sqlite"), tmp_path / "store.sqlite3")
        return f"sqlite:///{copy}"
    base, name = request.getfixturevalue("postgres_url"), f"t{uuid.uuid4().hex}"
    _execute(base, f"CREATE DATABASE {name} TEMPLATE {request.getfixturevalue('empty_postgres')}")
    return str(base.rpartition("/")[0] + "/" + name)


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[Store]:
    opened = Store(url, clock_ms=clock)
    yield opened
    opened.close()


@pytest.fixture
def lite(tmp_path: Path, empty_sqlite: Path, clock: Clock) -> Iterator[Store]:
    """On SQLite alone, for what does not touch the database's own ways."""
    opened = Store(f"sqlite:///{shutil.copy(empty_sqlite, tmp_path / 'lite.sqlite3')}", clock_ms=clock)
    yield opened
    opened.close()


@pytest.fixture
def hospital(store: Store) -> Hospital:
    return Hospital(store)


@pytest.fixture
def light(lite: Store) -> Hospital:
    return Hospital(lite)
