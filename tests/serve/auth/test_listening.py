"""A Serve config file that binds every address starts nothing while there is no authentication."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest
import yaml

from tests.serve.service import free_port
from tests.serve.test_serve_run import START_LIMIT_S, config, serve_run
from tests.tiny_bundle import make_tiny_bundle


@pytest.mark.slow
def test_a_config_file_that_binds_every_address_is_refused(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    file, output = tmp_path / "serve.yaml", tmp_path / "output.log"
    wanted = config(free_port(), tmp_path / "state", bundle, bundle)
    wanted["http_options"]["host"] = "0.0.0.0"  # noqa: S104
    file.write_text(yaml.safe_dump(wanted))
    # A short path: Ray puts Unix sockets below it, whose names have 107 characters at most.
    with (
        tempfile.TemporaryDirectory(prefix="l1-", dir="/tmp", ignore_cleanup_errors=True) as ray_folder,
        serve_run(file, ray_folder, output),
    ):
        until = time.monotonic() + START_LIMIT_S
        said = "Ray Serve listens on 0.0.0.0 and there is no authentication"
        while not any(said in each.read_text(errors="replace") for each in written(ray_folder, output)):
            assert time.monotonic() < until, output.read_text(errors="replace")[-3000:]
            time.sleep(0.2)  # polls with a limit


def written(ray_folder: str, output: Path) -> list[Path]:
    return [output, *(each for each in Path(ray_folder).rglob("*.log") if "serve" in each.parts)]
