"""The builder that `serve run serve.app:build_app name=value` and Serve config files call, as Ray calls it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.serve import Application
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

from serve.app import AppArgs, build_app
from serve.errors import SettingsError
from serve.ray_environment import DEFAULTS, REQUIRED, check_ray_environment


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in REQUIRED | DEFAULTS:
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)
    yield


def test_name_value_arguments_build_the_application_and_set_what_ray_must_start_with(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"serve\.ray_environment"):
        check_ray_environment()
    given = {"port": "8123", "scorer_replicas": "2", "state_dir": str(tmp_path), "bundle": str(tmp_path)}
    assert isinstance(call_user_app_builder_with_args_if_necessary(build_app, given), Application)
    assert REQUIRED.items() <= os.environ.items()
    check_ray_environment()


def test_arguments_name_a_settings_file_and_win_over_it(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("port: 1001\nmax_parsers: 2\n")
    settings = AppArgs.model_validate({"settings_file": str(file), "port": "1003"}).settings()
    assert (settings.port, settings.max_parsers) == (1003, 2)


def test_a_wrong_argument_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="scorer_replicas"):
        build_app(AppArgs.model_validate({"scorer_replicas": "none", "state_dir": str(tmp_path)}))
