"""Stores on both databases, with a clock that the tests set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from serve.store.core import Store
from tests.ehr.server import TestEhr


class Clock:
    """Milliseconds; each look at it is one later."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        self.ms += 1
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_store(url: str, clock: Clock) -> Iterator[Callable[..., Store]]:
    opened: list[Store] = []

    def make(**options: object) -> Store:
        store = Store(url, clock_ms=clock, **options)  # type: ignore[arg-type]
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def turn(url: str) -> AbstractContextManager[object]:
    """Held around a write where several write at once: SQLite has one writer, in the service too."""
    return threading.Lock() if url.startswith("sqlite") else nullcontext()


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    store = open_store()
    store.migrate()
    return store


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    """A store with the real time, for tests whose subject is not the database."""
    made = Store(f"sqlite:///{tmp_path / 'intake.sqlite3'}")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def ehr() -> Iterator[TestEhr]:
    with TestEhr() as running:
        yield running
