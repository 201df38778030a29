"""A store of facts, on SQLite and on a real PostgreSQL: copies of one that was migrated once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.store.core import Store
from tests.serve.outcomes.resources import NOW, Hospital


class Clock:
    """Each transaction a second later."""

    def __init__(self) -> None:
        self.ms = int(NOW.timestamp() * 1000)

    def __call__(self) -> int:
        self.ms += 1000
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[Store]:
    opened = Store(url, clock_ms=clock)
    yield opened
    opened.close()


@pytest.fixture
def lite(tmp_path: Path, migrated_sqlite: Path, clock: Clock) -> Iterator[Store]:
    """On SQLite alone, for what does not touch the database's own ways."""
    opened = Store(f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'lite.sqlite3')}", clock_ms=clock)
    yield opened
    opened.close()


@pytest.fixture
def hospital(store: Store) -> Hospital:
    return Hospital(store)


@pytest.fixture
def light(lite: Store) -> Hospital:
    return Hospital(lite)
