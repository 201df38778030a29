"""Ray's own command line starts the same application, and a new `user_config` swaps the bundle in place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from lang1.tasks import BUILT_IN
from serve.app_names import APPLICATION, SCORER
from serve.ray_environment import DEFAULTS, REQUIRED
from tests.serve.notes import FHIR, SCORE, TEXT, document
from tests.serve.service import free_port
from tests.tiny_bundle import make_tiny_bundle

START_LIMIT_S = 240
SERVE = [sys.executable, "-m", "ray.serve.scripts", "run"]


def config(port: int, state_dir: Path, bundle: Path, loaded: Path, **settings: Any) -> dict[str, Any]:
    """A Serve config file: `bundle` is the builder's, `loaded` what the scorers are told to load."""
    return {
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": "/",
                "import_path": "serve.app:build_app",
                "args": {"state_dir": str(state_dir), "bundle": str(bundle), "port": port, **settings},
                "deployments": [{"name": SCORER, "user_config": {"bundle": str(loaded)}}],
            }
        ],
    }


@contextmanager
def serve_run(file: Path, ray_folder: str, output: Path) -> Iterator[dict[str, str]]:
    """`serve run FILE` with a Ray of its own, stopped by its process id; yields the environment that reaches it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LANG1_", "RAY_"))}
    environment |= REQUIRED | DEFAULTS | {"RAY_TMPDIR": ray_folder}
    root = Path(__file__).parents[2]
    with output.open("wb") as log:
        process = subprocess.Popen(
            [*SERVE, str(file)], stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=root, start_new_session=True
        )
    try:
        yield environment
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its own session: start_new_session
            process.wait(10)


def wait_for(condition: Any, output: Path, limit_s: float = START_LIMIT_S) -> None:
    until = time.monotonic() + limit_s
    while True:
        with suppress(httpx.TransportError):
            if condition():
                return
        assert time.monotonic() < until, output.read_text(errors="replace")[-3000:]
        time.sleep(0.1)  # polls with a limit


def version_of(answer: httpx.Response) -> str:
    (version,) = {each["resource"]["method"]["coding"][0]["version"] for each in answer.json()["entry"]}
    return str(version)


@pytest.mark.slow
def test_a_config_file_starts_the_service_and_swaps_the_bundle_under_load(tmp_path: Path) -> None:
    first = make_tiny_bundle(tmp_path / "first")
    second = make_tiny_bundle(tmp_path / "second", seed=1, version="0.0.2")
    port, file, output = free_port(), tmp_path / "serve.yaml", tmp_path / "output.log"
    file.write_text(yaml.safe_dump(config(port, tmp_path / "state", first, first, deadline_s=60)))
    statuses: list[int] = []
    with (
        # A short path: Ray puts Unix sockets below it, whose names have 107 characters at most.
        tempfile.TemporaryDirectory(prefix="l1-", dir="/tmp", ignore_cleanup_errors=True) as ray_folder,
        serve_run(file, ray_folder, output) as environment,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client,
    ):
        wait_for(lambda: client.get("/readyz").status_code == 200, output)
        note = document(id="swapped")
        before = client.post(SCORE, json=note, headers=FHIR)
        assert len(before.json()["entry"]) == len(BUILT_IN)
        assert "x-lang1" not in before.headers
        assert client.post(SCORE, json=note, headers=FHIR).json() == before.json()
        assert 'lang1_notes_scored_total{model_version="0.0.1",note_type="34117-2"} 1.0' in client.get("/metrics").text

        file.write_text(yaml.safe_dump(config(port, tmp_path / "state", first, second, deadline_s=60)))
        swapped = threading.Event()

        def keep_scoring() -> None:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as own:
                while not swapped.is_set():
                    call = {"notes": [{"id": str(len(statuses)), "text": TEXT}]}
                    statuses.append(own.post("/v1/score", json=call).status_code)

        load = threading.Thread(target=keep_scoring)
        load.start()
        try:
            subprocess.run(
                [*SERVE, "--address", "auto", "--non-blocking", str(file)],
                env=environment, cwd=Path(__file__).parents[2], check=True, capture_output=True, timeout=300,
            )  # fmt: skip
            wait_for(lambda: client.get("/v1/model").json()["model"]["version"] == "0.0.2", output)
            # An ingress whose question to a busy scorer timed out answers from its record a little longer.
            wait_for(lambda: version_of(client.post(SCORE, json=note, headers=FHIR)) == "0.0.2", output)
            after = client.post(SCORE, json=note, headers=FHIR)
        finally:
            swapped.set()
            load.join(60)
        assert set(statuses) == {200}
        assert version_of(after) == "0.0.2"
        assert 'lang1_model_info{model_version="0.0.2"} 1.0' in client.get("/metrics").text
        assert after.json()["entry"][0]["resource"]["id"] != before.json()["entry"][0]["resource"]["id"]
        assert client.get("/v1/model").json()["model"]["version"] == "0.0.2"

        logs = [each for each in Path(ray_folder).rglob("*") if each.is_file() and "serve" in each.parts]
        assert any("proxy" in each.name for each in logs)
        for each in logs:
            assert b"DocumentReference/$score" not in each.read_bytes(), each.name


@pytest.mark.slow
def test_a_rolling_redeploy_under_load_fails_no_request(tmp_path: Path) -> None:
    """Every replica is replaced, because a setting of all of them changed."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    port, file, output = free_port(), tmp_path / "serve.yaml", tmp_path / "output.log"

    def write(**settings: Any) -> None:
        file.write_text(yaml.safe_dump(config(port, tmp_path / "state", bundle, bundle, ingress_replicas=2,
                                              monitor_every_s=None, deadline_s=60, **settings)))  # fmt: skip

    write()
    statuses: list[int] = []
    with (
        tempfile.TemporaryDirectory(prefix="l1-", dir="/tmp", ignore_cleanup_errors=True) as ray_folder,
        serve_run(file, ray_folder, output) as environment,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=90, trust_env=False) as client,
    ):
        wait_for(lambda: client.get("/readyz").status_code == 200, output)
        over = threading.Event()

        def keep_scoring(name: str) -> None:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=90, trust_env=False) as own:
                count = 0
                while not over.is_set():
                    count += 1
                    call = {"notes": [{"id": f"{name}-{count}", "text": TEXT}]}
                    statuses.append(own.post("/v1/score", json=call).status_code)

        def refuses_two() -> bool:
            notes = [{"id": "a", "text": "x"}, {"id": "b", "text": "x"}]
            return client.post("/v1/score", json={"notes": notes}).status_code == 422

        load = [threading.Thread(target=keep_scoring, args=(name,)) for name in ("one", "two")]
        for each in load:
            each.start()
        try:
            write(max_notes_per_call=1)
            subprocess.run(
                [*SERVE, "--address", "auto", "--non-blocking", str(file)],
                env=environment, cwd=Path(__file__).parents[2], check=True, capture_output=True, timeout=300,
            )  # fmt: skip
            # Both ingress replicas are new: ten answers in a row, which the proxy deals out between them.
            wait_for(lambda: all(refuses_two() for _ in range(10)), output)
        finally:
            over.set()
            for each in load:
                each.join(90)
        assert len(statuses) > 20
        assert set(statuses) == {200}
        recorded = client.get("/metrics").text
        assert "lang1_notes_scored_total" in recorded
