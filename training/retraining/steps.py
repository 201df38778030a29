"""The steps of a job on the disk: what is done is done, and a job that was stopped goes on after it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.resume import write_atomically
from training.retraining.errors import RetrainingError

JOB_FILE = "job.json"
STEPS_FOLDER = "steps"
LOCK_FILE = "lock"
Result = dict[str, Any]


@dataclass(slots=True)
class Steps:
    """A job's folder. `after` is called with a step's name once its result is on the disk."""

    folder: Path
    after: Callable[[str], None] = lambda _: None
    taken: list[str] = field(default_factory=list)
    """Steps that were found done."""

    def run(self, name: str, work: Callable[[], Result]) -> Result:
        """The result of a step: as it was found, or from `work`, which is then kept. JSON."""
        found = self.result(name)
        if found is not None:
            self.taken.append(name)
            return found
        made = work()
        place = self.folder / STEPS_FOLDER
        place.mkdir(exist_ok=True)
        number = len(list(place.glob("*.json"))) + 1
        record = {"step": name, "at": datetime.now(UTC).isoformat(timespec="seconds"), "result": made}
        write_atomically(place / f"{number:02d}-{name}.json", json.dumps(record, indent=2).encode() + b"\n")
        self.after(name)
        return dict(json.loads(json.dumps(made)))

    def result(self, name: str) -> Result | None:
        """The result of a finished step, or None."""
        for record in self.records():
            if record["step"] == name:
                return dict(record["result"])
        return None

    def records(self) -> list[dict[str, Any]]:
        """Every finished step in order: `step`, `at`, `result`."""
        return [
            json.loads(path.read_text(encoding="utf-8")) for path in sorted((self.folder / STEPS_FOLDER).glob("*.json"))
        ]


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the job's folder; given back when the process dies. Raises RetrainingError when another process has it."""
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RetrainingError(f"{folder}: another process is at this job; see lang1 retrain status") from None
        yield
    finally:
        os.close(descriptor)


def is_running(folder: Path) -> bool:
    """Whether a process holds the job's folder."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
