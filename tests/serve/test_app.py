"""The builder that `serve run serve.app:build_app key=value` calls."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.serve import Application

from serve.app import build_app
from serve.errors import SettingsError


def test_key_value_arguments_build_the_application(tmp_path: Path) -> None:
    given = {"port": "8123", "scorer_replicas": "2", "state_dir": str(tmp_path), "bundle": str(tmp_path)}
    assert isinstance(build_app(given), Application)


def test_a_wrong_argument_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="scorer_replicas"):
        build_app({"scorer_replicas": "none", "state_dir": str(tmp_path)})
