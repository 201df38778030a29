"""Which model the scorers have loaded: what an answer from the store must be of."""

from __future__ import annotations

import asyncio
import time

from lang1.scores import ModelIdentity
from lang1.tasks import TaskRegistry
from serve.errors import ServiceError, scorer_away
from serve.handles import ReplicaCallError, ScorerClient
from serve.scorer import ModelDescription

# After a swap an ingress may answer from the store by the old model for so long; asking costs a call of 2 ms.
MAX_AGE_S = 0.2
# A scorer that hangs or is being replaced must not keep answers that are in the store.
_CHECK_TIMEOUT_S = 0.5


class ModelWatch:
    """Of one ingress replica: the model as last seen, asked for again when that was more than MAX_AGE_S ago."""

    def __init__(self, scorer: ScorerClient) -> None:
        self._scorer = scorer
        self._known: tuple[ModelDescription, TaskRegistry] | None = None
        self._asked = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def current(self) -> ModelDescription:
        """The loaded model; the one last seen while no scorer answers. Raises ServiceError before the first was."""
        if self._known is None:
            return await self.refresh()
        if time.monotonic() - self._asked >= MAX_AGE_S:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask(self._known[0].identity))
            # Shared by all that wait for it, so no one's going away may end it.
            await asyncio.shield(self._asking)
        return self._known[0]

    async def registry(self) -> TaskRegistry:
        """The tasks of the loaded model. Raises ServiceError."""
        await self.current()
        assert self._known is not None
        return self._known[1]

    async def refresh(self) -> ModelDescription:
        """Ask a scorer now. Raises ServiceError 503 when none answers."""
        asked = time.monotonic()
        try:
            seen = await self._scorer.describe()
        except ReplicaCallError:
            raise ServiceError(scorer_away()) from None
        assert seen is not None
        self._keep(seen, asked)
        return seen

    def expire(self) -> None:
        """An answer came from another model than the one last seen."""
        self._asked = 0.0

    async def _ask(self, known: ModelIdentity) -> None:
        asked = time.monotonic()
        try:
            seen = await self._scorer.describe(known.bundle_sha256, _CHECK_TIMEOUT_S)
        except ReplicaCallError:
            seen = None
        if seen is not None:
            self._keep(seen, asked)
        self._asked = max(self._asked, asked)

    def _keep(self, seen: ModelDescription, asked: float) -> None:
        if self._known is None or self._known[0] != seen:
            self._known = (seen, TaskRegistry(seen.tasks))
        self._asked = max(self._asked, asked)
