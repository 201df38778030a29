"""A stand-in for the retraining command, a pipeline without Ray, and settings for both."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from serve.errors import ServiceError, scorer_away
from serve.retraining.requests import NewRequest
from serve.settings import Settings, load_settings
from serve.store.core import Store

DAY_MS = 86_400_000
BUNDLE = "b" * 64
# What a real job does, in small: keeps its work in a folder, goes on from it, writes down how it was called.
STAND_IN = """
import json, os, resource, sys, time
from pathlib import Path
spec = json.loads(Path(sys.argv[sys.argv.index("--spec") + 1]).read_text())
work = Path(spec["work"]); work.mkdir(exist_ok=True)
tries = len(list(work.glob("try-*")))
(work / f"try-{tries}").write_text(json.dumps({
    "argv": sys.argv[1:], "pid": os.getpid(), "nice": os.nice(0), "policy": os.sched_getscheduler(0),
    "memory": resource.getrlimit(resource.RLIMIT_DATA)[0], "environment": dict(os.environ),
    "oom": int(Path("/proc/self/oom_score_adj").read_text()),
}))
print("at work")
until = time.monotonic() + 600
while not (work / "go").exists() and time.monotonic() < until:
    time.sleep(0.02)
sys.exit(int((work / "go").read_text() or 0))
"""


class Work:
    """The job's side: its spec, its work folder, and what its tries wrote down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.spec = folder / "spec.json"
        self.spec.write_text(json.dumps({"work": str(self.folder)}))
        program = folder / "stand_in.py"
        program.write_text(STAND_IN)
        self.command = [sys.executable, str(program)]

    def go(self, exit_code: int = 0) -> None:
        (self.folder / "new").write_text(str(exit_code))
        (self.folder / "new").rename(self.folder / "go")

    def tries(self) -> list[dict[str, Any]]:
        found = sorted(self.folder.glob("try-*"))
        return [json.loads(text) for each in found if (text := each.read_text())]

    def settings(self, **more: Any) -> Mapping[str, Any]:
        return {
            "retraining_spec": str(self.spec),
            "retraining_command": self.command,
            "retraining_retry_s": 0.05,
        } | more


class DirectPipeline:
    """Reads and writes the store itself; a model that can be away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.model = self
        self.away = False
        self.broken: ServiceError | None = None
        self.identity = SimpleNamespace(version="1.0.0", bundle_sha256=BUNDLE)

    async def current(self) -> Any:
        if self.away:
            raise ServiceError(scorer_away())
        return self

    async def read(self, work: Callable[..., Any], *args: Any) -> Any:
        if self.broken:
            raise self.broken
        return self._store.read(work, *args)

    async def write(self, work: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self.broken:
            raise self.broken
        return self._store.write(work, *args, **named)


def settings(folder: Path, **given: Any) -> Settings:
    return load_settings(state_dir=str(folder), **given)


def new(request_id: str = "r1", origin: Any = "alert", bundle: str = BUNDLE) -> NewRequest:
    return NewRequest(request_id, origin, "alertmanager", "Lang1Drift notes/length", "1.0.0", bundle)
