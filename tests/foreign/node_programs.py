"""Node programs of tests/node: one that runs and ends, one that serves until it is told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.node_validator import NODE_FOLDER, require_validators

TIMEOUT_S = 60


def run_node(script: str, given: dict[str, Any]) -> dict[str, Any]:
    """The JSON that a script prints for the JSON it is given. Skips or fails where Node is absent."""
    require_validators()
    finished = subprocess.run(
        ["node", script], cwd=NODE_FOLDER, input=json.dumps(given), capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


@contextmanager
def medplum_ehr() -> Iterator[str]:
    """The base URL of an EHR made of Medplum's router; gone at the end. Skips or fails where Node is absent."""
    require_validators()
    with subprocess.Popen(
        ["node", "medplum_ehr.mjs"], cwd=NODE_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            yield f"http://127.0.0.1:{port}/fhir/R4"
        finally:
            process.stdin.close()
            process.wait(10)
