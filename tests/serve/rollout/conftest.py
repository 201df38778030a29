from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.store.core import Store
from tests.serve.auth.conftest import idp as idp
from tests.serve.rollout.parts import Rig


@pytest.fixture
def sqlite_store(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Store]:
    """Rollouts ask nothing special of a database; the store's own tests run on both."""
    store = Store(f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'store.sqlite3')}")
    yield store
    store.close()


@pytest.fixture
def rig(tmp_path: Path, sqlite_store: Store) -> Rig:
    return Rig(tmp_path, sqlite_store)
