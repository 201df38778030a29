"""Jobs of another Ray: what is sent, what is understood, what is refused; and once with a real Ray and its token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serve.errors import SettingsError
from serve.retraining.jobs import JobsAwayError, JobState, JobView
from serve.retraining.ray_jobs import RayJobs
from serve.retraining.requests import Request
from tests.ehr.server import wait_for
from tests.serve.retraining.parts import BUNDLE, Work, settings
from tests.serve.service import free_port

TOKEN = "a-token-of-the-test-0123456789"
REQUEST = Request("r1", "person", "ops", "why", (), "1.0.0", BUNDLE, 1_790_000_000_123, "running", 1, 0, 5, None, None)


class JobServer:
    """Ray's four routes. `jobs` are its answers by id; `answer` stands for all of them."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.submitted: list[dict[str, Any]] = []
        self.answer: tuple[int, bytes] | None = None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.serve(self)

            def do_POST(self) -> None:
                server.serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        status, answer = self.answer or self._route(handler, body)
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    def _route(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        if handler.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, b"Unauthorized"
        name = handler.path.removeprefix("/api/jobs/")
        if handler.command == "POST" and not name:
            self.submitted.append(json.loads(body))
            self.jobs[self.submitted[-1]["submission_id"]] = {"status": "PENDING"}
            return 200, b'{"submission_id": "x"}'
        if name.endswith("/stop"):
            self.jobs[name.removesuffix("/stop")] = {"status": "STOPPED"}
            return 200, b'{"stopped": true}'
        found = self.jobs.get(name)
        return (200, json.dumps(found).encode()) if found else (404, b"Job does not exist")


@pytest.fixture
def server() -> Iterator[JobServer]:
    running = JobServer()
    yield running
    running.close()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., RayJobs]:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")

    def made(url: str, **more: Any) -> RayJobs:
        given = {"retraining_spec": "/specs/it's here.yaml", "ray_jobs_url": url, "ray_jobs_token_file": str(token)}
        return RayJobs(settings(tmp_path, **(given | more)))

    return made


def test_a_job_is_submitted_once_under_its_name(server: JobServer, make: Callable[..., RayJobs]) -> None:
    jobs = make(server.url, ray_jobs_gpus=1)
    assert jobs.look("try-1") == JobView(JobState.ABSENT)
    for _ in range(2):
        jobs.begin("try-1", REQUEST)
    (sent,) = server.submitted
    assert sent["submission_id"] == "try-1"
    assert sent["entrypoint"] == (
        """lang1 retrain run --spec '/specs/it'"'"'s here.yaml' --as-of 2026-09-21T14:13:20Z """
        "'--as=ops (person)' --reason=why"
    )
    assert (sent["entrypoint_num_cpus"], sent["entrypoint_num_gpus"]) == (1.0, 1.0)
    assert jobs.look("try-1") == JobView(JobState.RUNNING)
    jobs.end("try-1")
    assert jobs.look("try-1") == JobView(JobState.KILLED)


@pytest.mark.parametrize(("told", "view"), [
    ({"status": "RUNNING", "driver_exit_code": None}, JobView(JobState.RUNNING)),
    ({"status": "SUCCEEDED", "driver_exit_code": 0}, JobView(JobState.ENDED, 0)),
    ({"status": "FAILED", "driver_exit_code": 3, "message": "x"}, JobView(JobState.ENDED, 3)),
    ({"status": "FAILED", "driver_exit_code": None}, JobView(JobState.KILLED)),
    ({"status": "STOPPED"}, JobView(JobState.KILLED)),
])  # fmt: skip
def test_rays_words_are_understood(
    server: JobServer, make: Callable[..., RayJobs], told: dict[str, Any], view: JobView
) -> None:
    server.jobs["j"] = told
    assert make(server.url).look("j") == view


@pytest.mark.parametrize(("answer", "code"), [
    ((500, b"Traceback: Jane Doe"), "status-500"), ((401, b""), "status-401"), ((302, b""), "status-302"),
    ((200, b"<html>"), "not-json"), ((200, b'{"status": "NEW"}'), "unknown-status"),
])  # fmt: skip
def test_what_is_no_answer_of_ray_is_away_and_not_quoted(
    server: JobServer, make: Callable[..., RayJobs], answer: tuple[int, bytes], code: str
) -> None:
    server.answer = answer
    with pytest.raises(JobsAwayError) as told:
        make(server.url).look("j")
    assert told.value.code == code


def test_a_ray_that_is_gone_is_away(server: JobServer, make: Callable[..., RayJobs]) -> None:
    jobs = make(server.url)
    server.close()
    with pytest.raises(JobsAwayError):
        jobs.look("j")


def test_a_new_token_is_read_without_a_restart(server: JobServer, make: Callable[..., RayJobs], tmp_path: Path) -> None:
    jobs = make(server.url)
    (tmp_path / "token").write_text("another-token-0123456789")
    with pytest.raises(JobsAwayError, match="status-401"):
        jobs.look("j")
    (tmp_path / "token").unlink()
    with pytest.raises(JobsAwayError, match="no-token"):
        jobs.look("j")
    (tmp_path / "token").write_text(TOKEN)
    jobs.look("j")


def test_no_token_and_no_ca_are_wrong_settings(make: Callable[..., RayJobs], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ray_jobs_token_file"):
        make("http://127.0.0.1:1", ray_jobs_token_file=str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="ray_jobs_ca_file"):
        make("http://127.0.0.1:1", ray_jobs_ca_file=str(tmp_path / "token"))


@pytest.mark.parametrize("url", [
    "https://ray.example.org", "https://ray.example.org/base/", "http://127.0.0.1:8265", "http://localhost:8265",
    "http://train-head-svc.lang1.svc:8265", "http://train-head-svc.lang1.svc.cluster.local:8265",
])  # fmt: skip
def test_urls_that_are_taken(make: Callable[..., RayJobs], url: str) -> None:
    make(url)


@pytest.mark.parametrize("url", [
    "http://ray.example.org", "http://10.0.0.5:8265", "ray://x:1", "https://user@ray.example.org", "https://", "x",
    "https://ray.example.org?x=1", "http://svc.evil.org:1", "https://ray.example.org:port",
])  # fmt: skip
def test_urls_that_are_refused(make: Callable[..., RayJobs], url: str) -> None:
    with pytest.raises(SettingsError, match="ray_jobs_url"):
        make(url)


def test_settings_that_need_each_other(tmp_path: Path) -> None:
    for given, told in (
        ({"ray_jobs_url": "https://x.org"}, "ray_jobs_token_file"),
        ({"retraining_spec": "relative.yaml"}, "absolute"),
        ({"retraining_spec": str(tmp_path / "none.yaml")}, "not a file"),
        ({"retraining_command": []}, "retraining_command"),
        ({"retraining_command": ["a", ""]}, "empty"),
    ):
        with pytest.raises(SettingsError, match=told):
            settings(tmp_path, **given)


HEAD = """
import sys, ray
started = ray.init(
    address="local", include_dashboard=True, dashboard_host="127.0.0.1", dashboard_port=int(sys.argv[1]), num_cpus=2,
    object_store_memory=100 * 2**20, log_to_driver=False, logging_level="ERROR", _node_ip_address="127.0.0.1")
print("http://" + started.dashboard_url, flush=True)
sys.stdin.read()
ray.shutdown()
"""


@pytest.mark.slow
def test_a_real_ray_with_its_token_runs_the_job(tmp_path: Path) -> None:
    token, work = tmp_path / "ray-token", Work(tmp_path)
    token.write_text(TOKEN)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # all its ports on loopback
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, str(free_port())], env=environment, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=(tmp_path / "head.log").open("wb"), cwd=tmp_path,
    )  # fmt: skip
    assert head.stdin is not None
    assert head.stdout is not None
    try:
        url = next((line.strip() for line in head.stdout if line.startswith("http://")), None)
        assert url, (tmp_path / "head.log").read_text()[-2000:]
        given = work.settings(ray_jobs_url=url, ray_jobs_token_file=str(token), ray_jobs_cpus=0.5)
        jobs = RayJobs(settings(tmp_path / "state", **given))
        wait_for(lambda: _begun(jobs, "lang1-retraining-r1-1"), 120)
        jobs.begin("lang1-retraining-r1-1", REQUEST)
        wait_for(work.tries, 60)
        assert jobs.look("lang1-retraining-r1-1") == JobView(JobState.RUNNING)
        # Killed: Ray tells its exit code, which is a signal's, or none at all.
        os.kill(work.tries()[0]["pid"], 9)
        wait_for(lambda: jobs.look("lang1-retraining-r1-1").state is not JobState.RUNNING, 60)
        killed = jobs.look("lang1-retraining-r1-1")
        assert killed.state is JobState.KILLED or (killed.exit_code or 0) != 0

        jobs.begin("lang1-retraining-r1-2", REQUEST)
        wait_for(lambda: len(work.tries()) == 2, 60)
        work.go(3)
        wait_for(lambda: jobs.look("lang1-retraining-r1-2") == JobView(JobState.ENDED, 3), 60)
        token.write_text("a-wrong-token-0123456789")
        with pytest.raises(JobsAwayError, match=r"status-40[13]"):
            jobs.look("lang1-retraining-r1-2")
    finally:
        head.stdin.close()
        head.wait(60)


def _begun(jobs: RayJobs, name: str) -> bool:
    # Ray's agents come up after its dashboard.
    try:
        jobs.begin(name, REQUEST)
    except JobsAwayError:
        time.sleep(0.5)  # polls with a limit
        return False
    return True
