"""The challenger's deployment: a scorer in a process of its own, so that whatever it does the champion answers.

Light until there is a challenger: torch is imported with the first one. Follows the registry by itself.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from lang1.errors import Lang1Error
from lang1.registry.bundles import path as bundle_path
from lang1.scores import RiskScores
from serve.explaining import Explanation
from serve.logs import get_logger
from serve.metrics_folder import use_metrics_folder
from serve.outcome import Outcome
from serve.rollout.client import ChallengerState, not_loaded
from serve.rollout.following import RETRY_S, Following
from serve.scorer import NoteToScore, ScorerReplica, ScorerSettings


class ChallengerReplica:
    """Ray Serve deployment. Methods return Outcomes; nothing with content is ever raised."""

    def __init__(self, settings: ScorerSettings, registry: str, follow_s: float) -> None:
        use_metrics_folder()
        self._settings = settings
        self._following = Following(Path(registry), follow_s)
        self._scorer: ScorerReplica | None = None
        self._sha256: str | None = None
        self._state = ChallengerState()
        self._retry_at = 0.0
        self._loop = asyncio.create_task(self._keep_following())

    async def _keep_following(self) -> None:
        while True:
            try:
                await self.follow()
            except Exception as error:
                get_logger().error("following the registry failed: %s", type(error).__name__)
            await asyncio.sleep(self._following.every_s)

    async def follow(self) -> None:
        """Look at the registry once: load the challenger that is there, or let go of the one that is no more."""
        channels = await self._following.look()
        wanted = None if channels is None else channels.challenger
        if wanted is None:
            self._unload()
        elif wanted != self._sha256 and (wanted != self._state.refused_sha256 or time.monotonic() >= self._retry_at):
            await self._load(wanted)

    async def _load(self, sha256: str) -> None:
        self._unload()
        try:
            # Seconds, in which the event loop must go on answering.
            await asyncio.to_thread(importlib.import_module, "torch")
            scorer = ScorerReplica(self._settings)
            await scorer.swap(bundle_path(self._following.folder, sha256), sha256)
            description = await scorer.describe()
        except Exception as error:
            # Our own errors say what is wrong with the bundle; of others the class must do.
            reason = str(error) if isinstance(error, Lang1Error) else type(error).__name__
            get_logger().error("the challenger is refused: %s", reason)
            self._state = ChallengerState(None, reason, sha256)
            self._retry_at = time.monotonic() + RETRY_S
            return
        self._scorer, self._sha256 = scorer, sha256
        self._state = ChallengerState(description)

    def _unload(self) -> None:
        if self._scorer is not None:
            # What is under way holds on to it until it is done.
            self._scorer = self._sha256 = None
            gc.collect()
        self._state = ChallengerState()

    async def state(self) -> ChallengerState:
        """What is loaded now."""
        return self._state

    async def score(self, notes: Sequence[NoteToScore], deadline_s: float) -> list[Outcome[RiskScores]]:
        """As `ScorerReplica.score`; a problem for each note while there is no challenger."""
        scorer = self._scorer
        if scorer is None:
            return [Outcome(problem=not_loaded())] * len(notes)
        return await scorer.score(notes, deadline_s)

    async def explain(self, note: NoteToScore, deadline_s: float) -> Outcome[Explanation]:
        """As `ScorerReplica.explain`."""
        scorer = self._scorer
        return Outcome(problem=not_loaded()) if scorer is None else await scorer.explain(note, deadline_s)

    async def pid(self) -> int:
        """Process id of this replica, for operators and fault tests."""
        return os.getpid()

    async def check_health(self) -> None:
        """Raises RuntimeError when the loop has ended or the forward thread is gone."""
        if self._loop.done():
            raise RuntimeError("the challenger's loop ended")
        if self._scorer is not None:
            await self._scorer.check_health()

    def __del__(self) -> None:
        self._loop.cancel()
