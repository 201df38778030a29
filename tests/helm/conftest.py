"""The settings of a release are read as in its pods: from its values and Secrets, not from this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serve.ray_environment import DEFAULTS, REQUIRED


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of this machine, and none that building an application leaves behind."""
    for name in [*REQUIRED, *DEFAULTS, *(each for each in os.environ if each.startswith("LANG1_"))]:
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANG1_DATABASE_URL", "postgresql+psycopg://database/lang1")


@pytest.fixture
def mapping(tmp_path: Path) -> dict[str, str]:
    """The one file that is read with the settings, here as it would be in a pod."""
    file = tmp_path / "outcomes.yaml"
    file.write_text("{}")
    return {"outcome_mapping_file": str(file)}
