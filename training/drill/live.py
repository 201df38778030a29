"""The service of the drill: the one that hospitals run, as a child process, spoken to over HTTP alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from lang1.tasks import BUILT_IN
from training.drill.plan import DrillError
from training.synth.arrow import Table
from training.synth.fhir import document_reference

START_LIMIT_S = 180.0
STOP_LIMIT_S = 60.0
SENDERS = 4
"""Calls at once."""
_FHIR = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}


@dataclass(frozen=True, slots=True)
class LiveAnswer:
    """What the service said of one note: the bundle that answered, and the probability of each positive option."""

    status: int
    seconds: float
    bundle_sha256: str = ""
    probabilities: dict[str, tuple[float, ...]] | None = None


class LiveService:
    """A running service."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="ehr")
        self.url = url
        self.seconds: list[float] = []
        """Of every answered note, as its sender saw it."""

    def post(self, notes: Table) -> list[LiveAnswer]:
        """Each row of notes.parquet as a DocumentReference to `$score`, some at once; answers in their order."""
        columns = ["note_id", "patient_id", "encounter_id", "note_type", "authored", "text"]
        answers = list(self._senders.map(self._post, notes.select(columns).to_pylist()))
        self.seconds += [each.seconds for each in answers if each.status == httpx.codes.OK]
        return answers

    def _post(self, row: dict[str, Any]) -> LiveAnswer:
        began = time.monotonic()
        answer = self._client.post("/fhir/DocumentReference/$score", json=document_reference(row), headers=_FHIR)
        seconds = time.monotonic() - began
        if answer.status_code != httpx.codes.OK:
            return LiveAnswer(answer.status_code, seconds)
        resources = [entry["resource"] for entry in answer.json()["entry"]]
        sha256 = resources[0]["contained"][0]["identifier"][0]["value"]
        found = {each["code"]["coding"][0]["code"]: each["prediction"] for each in resources}
        asked = {name: found[name] for name in found if BUILT_IN[name].trained_on(row["note_type"])}
        return LiveAnswer(
            answer.status_code,
            seconds,
            sha256,
            {name: tuple(float(p["probabilityDecimal"]) for p in predictions) for name, predictions in asked.items()},
        )

    def rollout(self) -> dict[str, Any]:
        """`GET /v1/rollout`. Raises DrillError."""
        return self._read(self._client.get("/v1/rollout"), "rollout")

    def move(self, action: str, reason: str, bundle: str | None = None) -> dict[str, Any]:
        """One move of the rollout by the API. Raises DrillError with the service's reason when it is refused."""
        body = {"action": action, "reason": reason} | ({"bundle": bundle} if bundle else {})
        return self._read(self._client.post("/v1/rollout", json=body), action)

    def await_loaded(self, channel: str, sha256: str, limit_s: float = 120.0) -> None:
        """Return once this bundle is loaded as `champion` or `challenger`. Raises DrillError after `limit_s`."""
        until = time.monotonic() + limit_s
        while self.rollout()["loaded"][channel] != sha256:
            if time.monotonic() > until:
                raise DrillError(f"the service did not load the {channel} within {limit_s:g} s")
            time.sleep(0.2)

    @staticmethod
    def _read(answer: httpx.Response, what: str) -> dict[str, Any]:
        if answer.status_code != httpx.codes.OK:
            raise DrillError(f"{what}: the service answered {answer.status_code}: {answer.text[:300]}")
        return dict(answer.json())


def positive_probabilities(scores: Sequence[dict[str, tuple[float, ...]]]) -> list[dict[str, tuple[float, ...]]]:
    """Bulk scores in the shape of the service's answers: a two-way task says its positive option alone."""

    def shown(task: str, values: tuple[float, ...]) -> tuple[float, ...]:
        place = BUILT_IN[task].positive_option
        return values if place is None else (values[place],)

    return [{task: shown(task, values) for task, values in each.items()} for each in scores]


@contextmanager
def live_service(folder: Path, registry: Path) -> Iterator[LiveService]:
    """`lang1 serve` on a registry, SQLite in `folder`, on a free port of this machine; ended by its process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = {"registry": str(registry), "state_dir": str(folder / "state"), "port": port, "host": "127.0.0.1",
                "monitor_every_s": None, "deadline_s": 60.0}  # fmt: skip
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    # A drill is a drill: a hospital's own settings must not send invented notes to a real database.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LANG1_")}
    command = [sys.executable, "-m", "lang1.cli.main", "serve", "--settings", str(file)]
    log = folder / "service.log"
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)  # noqa: S603 - ours
    try:
        url = f"http://127.0.0.1:{port}"
        _await_ready(child, url, log)
        yield LiveService(url)
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                child.kill()


def _await_ready(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_LIMIT_S
    with httpx.Client(timeout=5, trust_env=False) as client:
        while time.monotonic() < until and child.poll() is None:
            try:
                if client.get(f"{url}/readyz").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
    raise DrillError(f"the service did not become ready; its last output:\n{tail}")
