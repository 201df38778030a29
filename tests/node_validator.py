"""Two R4 validators that are not ours (npm: @medplum/core, fhir), for every test that emits FHIR."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NODE_FOLDER = Path(__file__).parent / "node"
TIMEOUT_S = 60


def missing_reason() -> str | None:
    """Why the validators cannot run here; None when they can."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (NODE_FOLDER / "node_modules").is_dir():
        return "tests/node/node_modules is absent; run `npm ci` in tests/node"
    return None


def require_validators() -> None:
    """Skip the calling test, with the reason, where the validators are absent; fail it when LANG1_REQUIRE_ALL=1."""
    reason = missing_reason()
    if reason is None:
        return
    if os.environ.get("LANG1_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def validate_r4(resources: list[dict[str, Any]]) -> list[list[str]]:
    """The problems of each resource, in order; none for a valid one. Skips or fails like `require_validators`."""
    require_validators()
    finished = subprocess.run(
        ["node", "validate.mjs"],
        cwd=NODE_FOLDER,
        input="".join(json.dumps(resource) + "\n" for resource in resources),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    verdicts = [json.loads(line) for line in finished.stdout.splitlines()]
    assert len(verdicts) == len(resources)
    return verdicts
