"""HealthChain's CDS sandbox client: discovery, cards that its models take, feedback; and what of it is rightly refused.

It lives in an environment of its own (`.ci/run` makes it): it pins older libraries than the service.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lang1.tasks import BUILT_IN
from serve.openapi.examples import examples
from tests.serve.service import RunningService

HOOKS = ("encounter-discharge", "patient-view")
TIMEOUT_S = 120
SCRIPT = Path(__file__).parent / "healthchain_sandbox.py"


def sandbox_python() -> Path:
    """The interpreter beside the `healthchain` command. Skips, or fails when LANG1_REQUIRE_ALL is set, without one."""
    command = shutil.which("healthchain")
    if command is not None:
        return Path(command).resolve().parent / "python"
    reason = "healthchain is not on the PATH; install tests/foreign/requirements.txt in an environment of its own"
    if os.environ.get("LANG1_REQUIRE_ALL"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def seen(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    python = sandbox_python()
    notes = tmp_path_factory.mktemp("healthchain") / "notes.csv"
    with notes.open("w", newline="") as file:
        csv.writer(file).writerows([["text"], [examples()["notes"]["notes"][0]["text"]]])
    finished = subprocess.run(
        [python, SCRIPT], input=json.dumps({"url": service.url, "note_csv": str(notes)}), capture_output=True,
        text=True, timeout=TIMEOUT_S, cwd=notes.parent,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr[-2000:]
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def test_discovery(seen: dict[str, Any]) -> None:
    assert [each["hook"] for each in seen["discovery"]["services"]] == list(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_its_document_gets_cards_that_its_models_take(seen: dict[str, Any], hook: str) -> None:
    whole = seen[hook]["whole"]
    assert whole["errors"] == []
    (answer,) = whole["answers"]
    assert answer["cards"]
    for card in answer["cards"]:
        assert card["source"]["topic"]["code"] in BUILT_IN
        assert card["indicator"] in ("info", "warning")
    assert seen[hook]["feedback"] == 200


def test_a_discharge_without_encounter_is_refused_and_says_so(seen: dict[str, Any]) -> None:
    """CDS Hooks makes `encounterId` required at encounter-discharge; the sandbox loses it (see the script)."""
    sent = seen["encounter-discharge"]["as_loaded"]
    assert all("encounterId" not in context for context in sent["contexts"])
    assert sent["answers"] == []
    assert len(sent["errors"]) == 3
    assert all("400" in line and "context.encounterId" in line for line in sent["errors"])


def test_prefetch_under_other_keys_is_as_good_as_none(seen: dict[str, Any]) -> None:
    """The sandbox names prefetch by resource, not by the key of the discovery answer: CDS Hooks has a 412 for that."""
    sent = seen["patient-view"]["as_loaded"]
    assert sent["answers"] == []
    assert len(sent["errors"]) == 3
    assert all("412" in line and "prefetch.notes" in line for line in sent["errors"])
