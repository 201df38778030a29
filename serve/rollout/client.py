"""Calls to the challenger: one try each, for the champion is there to answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from lang1.scores import RiskScores
from lang1.tasks import Task
from serve.errors import Problem, scorer_away
from serve.handles import ReplicaCallError, ScorerClient, call
from serve.outcome import Outcome
from serve.scorer import ModelDescription, NoteToScore

# After a failure that others share, notes go to the champion at once for so long; then one call tries again.
PAUSE_S: Final = 1.0
_STATE_TIMEOUT_S: Final = 2.0
_SHARED: Final = frozenset({"transient", "timeout"})
ABSENT: Final = frozenset({"transient", "not-loaded"})
"""Codes of nobody being there."""


@dataclass(frozen=True, slots=True)
class ChallengerState:
    """What a challenger's replica has loaded, and why it has not loaded what it should."""

    loaded: ModelDescription | None = None
    refused: str | None = None
    refused_sha256: str | None = None


class ChallengerClient(ScorerClient):
    """The challengers, as a pipeline sees them. Never waits for a replica that is gone."""

    def __init__(self, handle: Any, replicas: int) -> None:
        super().__init__(handle, replicas, lambda: True, retries=False)
        self._not_before = 0.0

    async def state(self) -> ChallengerState | None:
        """What is loaded; None when no replica answers."""
        try:
            found: ChallengerState = await call(
                self._handle.state.remote, _STATE_TIMEOUT_S, lambda died: scorer_away(), retries=False
            )
        except ReplicaCallError:
            return None
        return found

    async def score(self, notes: Sequence[NoteToScore], deadline_s: float) -> list[Outcome[RiskScores]]:
        """Risks in order, each its own Outcome; at once a problem for a while after nobody answered."""
        now = time.monotonic()
        if now < self._not_before:
            return [Outcome(problem=scorer_away())] * len(notes)
        if self._not_before:
            self._not_before = now + PAUSE_S  # this call finds out; the others do not wait for it
        outcomes = await super().score(notes, deadline_s)
        away = any(each.problem is not None and each.problem.code in _SHARED for each in outcomes)
        self._not_before = time.monotonic() + PAUSE_S if away else 0.0
        return outcomes


def covers(description: ModelDescription, tasks: Sequence[Task]) -> bool:
    """Whether a model answers these very tasks: a challenger that was trained on others cannot answer for them."""
    own = {task.name: task for task in description.tasks}
    return all(
        task.name in own and (own[task.name].version, own[task.name].options) == (task.version, task.options)
        for task in tasks
    )


def not_loaded() -> Problem:
    """The challenger is not there yet, or no more."""
    return Problem(503, "not-loaded", "the challenger is not loaded")


def other_model() -> Problem:
    """The answer is of a bundle that is not the challenger of now."""
    return Problem(503, "other-model", "another bundle than the challenger answered")
