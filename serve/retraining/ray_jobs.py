"""Jobs of another Ray, by the REST API of its job submission.

https://docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html

The SDK over the same API (`ray.job_submission`) sets no time-out, follows the environment's proxies and sends this
Ray's own token to any address that it is given; so the four calls are made with the service's own HTTP exchange.
"""

from __future__ import annotations

import json
import shlex
import ssl
import time
import uuid
from typing import Any, Final

from fhir_adapters.client.wire import Timeouts, Wire, WireError
from fhir_adapters.errors import FhirInputError
from fhir_adapters.json_body import parse_json_object
from serve.auth.settings import read_secret
from serve.errors import SettingsError
from serve.retraining.jobs import JobsAwayError, JobState, JobView, command
from serve.retraining.requests import Request
from serve.retraining.settings import RetrainingSettings

_TOTAL_S: Final = 60.0
"""Ray answers a submission only when the job's supervisor has begun."""
_MAX_BYTES: Final = 4 * 2**20
_MIN_TOKEN_CHARS: Final = 16
_RUNNING: Final = frozenset({"PENDING", "RUNNING"})


class RayJobs:
    """One client; thread-safe. Raises SettingsError for a token or CA that cannot be used."""

    def __init__(self, settings: RetrainingSettings) -> None:
        assert settings.ray_jobs_url is not None
        self._settings = settings
        self._root = f"{settings.ray_jobs_url}/api/jobs/"
        self._holder = str(uuid.uuid4())
        self._token()
        ca_file = settings.ray_jobs_ca_file
        try:
            tls = ssl.create_default_context(cafile=ca_file.expanduser() if ca_file else None)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"ray_jobs_ca_file: {ca_file} is no PEM of certificates ({type(error).__name__})"
            ) from None
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._wire = Wire(timeouts=Timeouts(5.0, _TOTAL_S, _TOTAL_S), tls=tls, max_connections=2)

    @property
    def holder(self) -> str:
        """Of this process alone: any other one may take over when its lease is late."""
        return self._holder

    def begin(self, name: str, request: Request) -> None:
        """Submit the job under a name of its own, unless Ray has it. Raises JobsAwayError."""
        if self.look(name).state is not JobState.ABSENT:
            return
        self._send("POST", "", {
            "entrypoint": shlex.join(command(self._settings, request)),
            "submission_id": name,
            "entrypoint_num_cpus": self._settings.ray_jobs_cpus,
            "entrypoint_num_gpus": self._settings.ray_jobs_gpus,
            "metadata": {"lang1_request": request.id, "lang1_origin": request.origin},
        })  # fmt: skip

    def look(self, name: str) -> JobView:
        """Where a job stands, by Ray's word. Raises JobsAwayError."""
        found = self._send("GET", name)
        if found is None:
            return JobView(JobState.ABSENT)
        status, code = found.get("status"), found.get("driver_exit_code")
        if status in _RUNNING:
            return JobView(JobState.RUNNING)
        if status == "SUCCEEDED":
            return JobView(JobState.ENDED, 0)
        if status == "FAILED" and isinstance(code, int):
            return JobView(JobState.ENDED, code)
        if status in ("FAILED", "STOPPED"):
            return JobView(JobState.KILLED)
        raise JobsAwayError("unknown-status")

    def end(self, name: str) -> None:
        """Have Ray stop it. Raises JobsAwayError."""
        if self.look(name).state is JobState.RUNNING:
            self._send("POST", f"{name}/stop", {})

    def let_go(self, name: str) -> None:
        """Nothing: the job outlives this service."""

    def _token(self) -> str:
        # Read for each call: a token that is replaced needs no restart.
        assert self._settings.ray_jobs_token_file is not None
        try:
            return read_secret(self._settings.ray_jobs_token_file, "ray_jobs_token_file", _MIN_TOKEN_CHARS)
        except ValueError as error:
            raise SettingsError(str(error)) from None

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Ray's answer; None for 404."""
        try:
            headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json"}
        except SettingsError:
            raise JobsAwayError("no-token") from None
        sent = None
        if body is not None:
            sent = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        until = time.monotonic() + _TOTAL_S
        try:
            reply = self._wire.send(
                method, self._root + path, headers=headers, body=sent, until=until, max_bytes=_MAX_BYTES
            )
        except WireError as error:
            raise JobsAwayError(error.why[:40]) from None
        if reply.status == 404:
            return None
        if reply.status != 200:
            # Ray answers with a traceback, which may quote anything.
            raise JobsAwayError(f"status-{reply.status}")
        try:
            return parse_json_object(reply.body)
        except FhirInputError:
            raise JobsAwayError("not-json") from None
