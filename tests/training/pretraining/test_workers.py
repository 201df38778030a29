"""Two processes on Ray Train over gloo: weights in parts, and the same losses when one of them is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors import safe_open

from lang1.llama import load_llama
from tests.training.pretraining.conftest import TINY
from training.pretraining.journal import read_events, read_metrics
from training.pretraining.shards import open_tokens

pytestmark = pytest.mark.slow

KEPT = ("step", "tokens", "sample", "loss", "gradient_norm", "learning_rate", "validation")
LIMIT_S = 900
"""A start of Ray and of two workers takes twenty seconds on two free cores, and minutes on busy ones."""


def start(recipe: Path, tokens: Path, out: Path, workers: int = 2) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "LANG1_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "lang1.cli.main", "train", "pretrain", "--recipe", str(recipe), "--data", str(tokens),
         "--out", str(out), "--workers", str(workers), "--cpu", "--json"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 0, err[-3000:]
    outcome: dict[str, Any] = json.loads(out)
    return outcome


def until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + LIMIT_S
    while not reached():
        assert process.poll() is None, "the run ended before it was to be disturbed"
        assert time.monotonic() < ends
        time.sleep(0.02)


def steps_done(out: Path) -> int:
    return max((line["step"] for line in read_metrics(out)), default=0)


def curve(out: Path) -> list[dict[str, Any]]:
    return [{key: line[key] for key in KEPT if key in line} for line in read_metrics(out)]


def starts(out: Path) -> list[dict[str, Any]]:
    return [event for event in read_events(out) if event["event"] == "started"]


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    steps = {"optimization": {**TINY["optimization"], "steps": 40}}  # type: ignore[dict-item]
    path.write_text(yaml.safe_dump({**TINY, **steps, "checkpoints": {"every_steps": 10}}))
    return path


@pytest.fixture(scope="module")
def unbroken(token_folder: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    outcome = finish(start(recipe_file, token_folder, out))
    assert outcome["step"] == 40 and not outcome["failed"]
    return out


def test_each_process_holds_its_part(unbroken: Path, token_folder: Path) -> None:
    model = load_llama(unbroken / "model")
    whole = sum(parameter.numel() for parameter in model.parameters())
    workers = starts(unbroken)[0]["workers"]
    assert len({worker["pid"] for worker in workers}) == 2
    assert [worker["weights"] for worker in workers] == [whole // 2, whole // 2]
    parts = sorted((unbroken / "checkpoints" / "step-00000040" / "parts").iterdir())
    assert len(parts) == 2
    for part in parts:
        with safe_open(part, framework="pt") as file:
            rows = file.get_slice("weight.transformer.wte.weight").get_shape()[0]
            moments = file.get_slice("exp_avg.transformer.wte.weight").get_shape()[0]
        assert rows == moments == model.config.vocab_size // 2
    assert model.config.vocab_size >= open_tokens(token_folder).manifest.vocab_size


def test_a_killed_worker_is_replaced_and_the_losses_stay(
    unbroken: Path, token_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    process = start(recipe_file, token_folder, tmp_path)
    until(lambda: steps_done(tmp_path) >= 13, process)
    os.kill(starts(tmp_path)[0]["workers"][1]["pid"], signal.SIGKILL)
    outcome = finish(process)
    assert outcome["step"] == 40 and not outcome["failed"]
    again = starts(tmp_path)
    assert len(again) == 2 and again[1]["checkpoint"] in {"step-00000010", "step-00000020", "step-00000030"}
    assert curve(tmp_path) == curve(unbroken)


def test_a_run_that_was_stopped_goes_on_by_the_same_command(
    unbroken: Path, token_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    process = start(recipe_file, token_folder, tmp_path)
    until(lambda: steps_done(tmp_path) >= 12, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode != 0 and steps_done(tmp_path) < 40
    finish(start(recipe_file, token_folder, tmp_path))
    assert starts(tmp_path)[-1]["checkpoint"] is not None
    assert curve(tmp_path) == curve(unbroken)


def test_another_recipe_is_not_mixed_into_a_run(
    unbroken: Path, token_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed.yaml"
    changed.write_text(recipe_file.read_text().replace("seed: 3407", "").replace("clinical_share", "") + "\nseed: 1\n")
    process = start(changed, token_folder, unbroken)
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1 and "another seed" in err
