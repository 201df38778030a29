"""A store on SQLite, a test EHR and a writer without Ray between them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serve.store.core import Store
from tests.ehr.server import TestEhr
from tests.serve.outbox.rig import Rig


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'outbox.sqlite3'}"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated once: a copy takes a hundredth of the time."""
    path = tmp_path_factory.mktemp("outbox") / "empty.sqlite3"
    store = Store(f"sqlite:///{path}")
    store.migrate()
    store.close()
    return path


@pytest.fixture
def open_outbox(empty_database: Path) -> Iterator[Callable[..., Store]]:
    """Opens a store with a sink."""
    opened: list[Store] = []

    def make(url: str, sink: str | None = "risk-assessment", **options: object) -> Store:
        file = Path(url.removeprefix("sqlite:///"))
        if url.startswith("sqlite") and not file.exists():
            shutil.copy(empty_database, file)
        store = Store(url, sink=sink, **options)  # type: ignore[arg-type]
        if not url.startswith("sqlite"):
            store.migrate()
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def ehr() -> Iterator[TestEhr]:
    with TestEhr() as running:
        yield running


@pytest.fixture
def rig(open_outbox: Callable[..., Store], sqlite_url: str, ehr: TestEhr) -> Rig:
    return Rig(open_outbox(sqlite_url), ehr.url)
