"""Metrics of many processes: true sums, nothing lost when one is killed, no live gauge of the dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from lang1.note_types import NOTE_TYPES

COUNT = (
    "import sys\nfrom monitoring import metrics\n"
    "metrics.notes_scored_total.labels('34117-2', '1').inc(3)\nmetrics.queue_depth.set(5)\n"
    "print('counted', flush=True)\nsys.stdin.read()\n"
)
SHOW = "import sys\nfrom monitoring import metrics\nsys.stdout.write(metrics.exposition().decode())"


def exposition(folder: Path) -> str:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", SHOW], env=environment, capture_output=True, text=True, check=True
    ).stdout


def sample(text: str, start: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(start)).split()[-1])


def test_sums_over_processes_survive_a_kill_and_live_gauges_do_not(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    workers = [
        subprocess.Popen([sys.executable, "-c", COUNT], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"counted\n"
    text = exposition(tmp_path)
    assert sample(text, "lang1_notes_scored_total{") == 6
    assert sample(text, "lang1_queue_depth") == 10
    workers[0].send_signal(signal.SIGKILL)
    workers[0].wait()
    text = exposition(tmp_path)
    assert sample(text, "lang1_notes_scored_total{") == 6
    assert sample(text, "lang1_queue_depth") == 5
    workers[1].communicate(timeout=20)


def test_a_callers_note_type_never_becomes_a_label() -> None:
    from monitoring.metrics import note_type_label

    assert note_type_label("Jane Doe", NOTE_TYPES) == "other"
    assert note_type_label(None, NOTE_TYPES) == "other"
    assert {note_type_label(loinc, NOTE_TYPES) for loinc in NOTE_TYPES} == set(NOTE_TYPES)
