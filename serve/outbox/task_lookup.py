"""The tasks that scores in the outbox are of: those of the bundle in the settings, and of what was loaded since."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from lang1.bundle import MANIFEST, BundleManifest
from lang1.tasks import BUILT_IN, Task, load_tasks
from serve.scorer import ModelDescription

# A row of a task that nobody knows must not ask the scorers with each try.
_ASK_AGAIN_S = 10.0


class TaskLookup:
    """`describe` asks a scorer what it has loaded; it raises, or gives None, where none answers."""

    def __init__(
        self, bundle: Path, tasks_file: Path | None, describe: Callable[[], Awaitable[ModelDescription | None]] | None
    ) -> None:
        self._describe = describe
        self._asked = -_ASK_AGAIN_S
        self._of_bundle: dict[str, dict[str, Task]] = {}
        self._known: dict[str, Task] = dict(load_tasks(tasks_file) if tasks_file else BUILT_IN)
        try:
            raw = (bundle.expanduser() / MANIFEST).read_bytes()
            manifest = BundleManifest.model_validate_json(raw)
        except (OSError, ValueError):
            return  # the scorers say what is wrong with a bundle; scores of earlier ones are still written back
        self._keep(hashlib.sha256(raw).hexdigest(), {each.task.name: each.task for each in manifest.tasks})

    async def registry(self, bundle_sha256: str) -> Mapping[str, Task]:
        """The tasks of that bundle; for one that is not loaded any more, all tasks that were seen."""
        if bundle_sha256 not in self._of_bundle:
            await self._ask()
        return self._of_bundle.get(bundle_sha256, self._known)

    async def _ask(self) -> None:
        if self._describe is None or time.monotonic() - self._asked < _ASK_AGAIN_S:
            return
        self._asked = time.monotonic()
        try:
            seen = await self._describe()
        except Exception:
            return
        if seen is not None:
            self._keep(seen.identity.bundle_sha256, {task.name: task for task in seen.tasks})

    def _keep(self, bundle_sha256: str, tasks: dict[str, Task]) -> None:
        self._of_bundle[bundle_sha256] = tasks
        self._known |= tasks
