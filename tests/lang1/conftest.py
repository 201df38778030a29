from __future__ import annotations

from pathlib import Path

import pytest

from lang1.scorer import PackedScorer
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def tiny_scorer(tiny_bundle: Path) -> PackedScorer:
    return PackedScorer.load(tiny_bundle, device="cpu")
