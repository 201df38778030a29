from __future__ import annotations

import os
from pathlib import Path

import pytest

from lang1.registry import Registry
from tests.lang1.registry.plain_bundle import make_plain_bundle


@pytest.fixture(autouse=True)
def _no_disk_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy disk makes each wait 10 ms; the crash test watches that they are there.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def plain_bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("plain")
    one, two, three = (make_plain_bundle(folder / version, version) for version in ("1.0.0", "1.1.0", "1.2.0"))
    return one, two, three


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.create(tmp_path / "registry")
