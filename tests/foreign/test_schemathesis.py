"""schemathesis reads `/openapi.json` and calls every route with what fits and what does not.

No 5xx, no status, media type or shape that is not documented, nothing accepted that the document forbids.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.foreign.conftest import TOKEN
from tests.foreign.openapi import api_of, operations
from tests.serve.service import RunningService

CONFIG = Path(__file__).parent / "schemathesis.toml"
SCORE = "/fhir/DocumentReference/$score"


def run(service: RunningService, folder: Path, phases: str, timeout_s: int, *options: str) -> dict[str, Any]:
    """The report of a run without failures. A fixed seed, so that a finding is found again."""
    report = folder / "report.json"
    headers = () if TOKEN is None else ("--header", f"Authorization: Bearer {TOKEN}")
    finished = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG, "run", f"{service.url}/openapi.json",
            "--phases", phases, "--seed", "20261121", "--report", "json", "--report-json-path", report, "--no-color",
            "--request-timeout", "60", "--output-truncate", "true", *headers, *options,
        ],
        cwd=folder, capture_output=True, text=True, timeout=timeout_s,
    )  # fmt: skip
    shown = "\n".join(line[:300] for line in finished.stdout.partition("= FAILURES =")[2].splitlines())[:6000]
    assert report.is_file(), finished.stdout[-2000:] + finished.stderr[-2000:]
    found: dict[str, Any] = json.loads(report.read_text())
    assert finished.returncode == 0, shown
    assert found["complete"] and found["errors"] == []
    return found


def test_a_few_hundred_calls(service: RunningService, tmp_path: Path) -> None:
    found = run(service, tmp_path, "examples,fuzzing,stateful", 300, "--max-examples", "10")
    assert found["operations"]["tested"] == len(list(operations(api_of().openapi())))
    assert found["test_cases"]["generated"] >= 150
    # Not only refusals: what the examples lead to is scored, and answered in the documented shape.
    for route in (f"POST {SCORE}", "POST /fhir", "POST /v1/score"):
        assert sum(phase["accepted"] for phase in found["valid_rates"][route].values()) > 0, route


@pytest.mark.slow
def test_thousands_of_calls(service: RunningService, tmp_path: Path) -> None:
    fuzzed = run(service, tmp_path, "fuzzing,stateful", 1800, "--max-examples", "120")
    # Every boundary of every route but one: the documents' shape has some twenty thousand.
    covered = run(service, tmp_path, "coverage", 1200, "--exclude-path", SCORE)
    assert fuzzed["test_cases"]["generated"] + covered["test_cases"]["generated"] >= 2000
