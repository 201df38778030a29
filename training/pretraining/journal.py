"""What a run writes down: metrics.jsonl, one line a step of the path that was kept; events.jsonl, all that happened."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

METRICS, EVENTS, SAMPLES = "metrics.jsonl", "events.jsonl", "samples.jsonl"


class Journal:
    """Written by the first process; on the others every call does nothing."""

    def __init__(self, folder: Path, writes: bool) -> None:
        self._folder, self._writes = folder, writes

    def step(self, entry: Mapping[str, Any]) -> None:
        self._append(METRICS, entry)

    def event(self, what: str, **fields: Any) -> None:
        self._append(EVENTS, {"at": datetime.now(UTC).isoformat(timespec="seconds"), "event": what, **fields})

    def sample(self, step: int, prompt: str, text: str) -> None:
        """Generated text may be a patient's: a file for its owner alone, and never the log."""
        self._append(SAMPLES, {"step": step, "prompt": prompt, "text": text})

    def go_back(self, step: int) -> None:
        """Drop the lines of later steps: they were never taken, or will be taken again."""
        path = self._folder / METRICS
        if not self._writes or not path.exists():
            return
        kept = [line for line in _lines(path) if line["step"] <= step]
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        fresh.replace(path)

    def _append(self, name: str, entry: Mapping[str, Any]) -> None:
        if not self._writes:
            return
        descriptor = os.open(self._folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, (json.dumps(entry) + "\n").encode())
        finally:
            os.close(descriptor)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl."""
    return list(_lines(folder / METRICS))


def read_events(folder: Path) -> list[dict[str, Any]]:
    return list(_lines(folder / EVENTS))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """A last line that a killed process left half written is passed over."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue
