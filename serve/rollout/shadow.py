"""Shadow scoring: after an answer, the other model scores the note too. In the background, bounded, never in the way.

In shadow that is the challenger; in a canary whichever arm did not answer, so that the guard goes on comparing the two
on the same notes.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from lang1.scores import RiskScores
from lang1.tasks import Task
from serve.errors import ServiceError
from serve.logs import get_logger
from serve.note_job import AnsweredNote, NoteJob
from serve.outcome import Outcome
from serve.rollout.arms import Arms
from serve.rollout.assignment import place_of
from serve.rollout.settings import RolloutSettings
from serve.rollout.shadow_scores import NewShadowScore
from serve.scorer import NoteToScore
from serve.store.records import StoredPrediction, prediction_id

# As many as fill a small batch: the notes of clients wait for one such pass at most.
_NOTES_AT_ONCE: Final = 8
_DEADLINE_S: Final = 60.0

Record = Callable[[Sequence[NewShadowScore]], Awaitable[int]]


class Scores(Protocol):
    """A client of either arm."""

    async def score(self, notes: Sequence[NoteToScore], deadline_s: float) -> list[Outcome[RiskScores]]: ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    note: NoteToScore
    note_key: str
    tasks: tuple[Task, ...]
    predictions: tuple[StoredPrediction, ...]
    rollout_id: str
    by_challenger: bool
    """Who scores it now."""


class Shadow:
    """Of one pipeline. The text of a note is held in memory until its turn, and nowhere else."""

    def __init__(self, settings: RolloutSettings, arms: Arms, champion: Scores, record: Record) -> None:
        self._settings = settings
        self._arms = arms
        self._champion = champion
        self._record = record
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    def offer(self, job: NoteJob, note: NoteToScore, answer: AnsweredNote) -> None:
        """Take a newly answered note, unless it is not in the share, nobody can score it, or too many wait."""
        channels, challenger = self._arms.channels, self._arms.challenger_model
        if channels is None or channels.rollout_id is None or answer.model is None:
            return
        # Another salt than the canary's: the share is one of both arms.
        if place_of(f"shadow {channels.rollout_id}", job.note_key) >= self._settings.shadow_share:
            return
        if challenger is None or self._arms.refusal(job) is not None:
            self._arms.count_shadow("not-loaded")
            return
        if answer.model.bundle_sha256 not in (channels.champion, channels.challenger):
            return
        if len(self._waiting) >= self._settings.shadow_max_queued:
            self._arms.count_shadow("dropped")
            return
        by_challenger = answer.model.bundle_sha256 == channels.champion
        self._waiting.append(
            _Waiting(note, job.note_key, job.tasks, answer.predictions, channels.rollout_id, by_challenger)
        )
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())

    async def drained(self) -> None:
        """Wait until nothing waits. For tests and for the end."""
        while self._worker is not None and not self._worker.done():
            await self._worker

    async def _work(self) -> None:
        while self._waiting:
            side = self._waiting[0].by_challenger
            batch = [each for each in self._waiting if each.by_challenger is side][:_NOTES_AT_ONCE]
            taken = set(map(id, batch))
            self._waiting = [each for each in self._waiting if id(each) not in taken]
            try:
                await self._score(batch, by_challenger=side)
            except ServiceError as error:
                self._arms.count_shadow(error.problem.code, len(batch))
            except Exception as error:
                # The class alone: its text may quote the note.
                get_logger().error("shadow scoring failed: %s", type(error).__name__)
                self._arms.count_shadow("exception", len(batch))

    async def _score(self, batch: Sequence[_Waiting], *, by_challenger: bool) -> None:
        scorer: Scores = self._arms.challenger if by_challenger else self._champion
        began = time.monotonic()
        outcomes = await scorer.score([each.note for each in batch], _DEADLINE_S)
        if by_challenger:
            codes = [None if each.problem is None else each.problem.code for each in outcomes]
            self._arms.count_tries(codes, in_canary=False)
        else:
            # At a share of 100 the champion has no other time to compare with.
            self._arms.count_champion(len(batch), time.monotonic() - began)
        rows: list[NewShadowScore] = []
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if outcome.problem is not None:
                self._arms.count_shadow(outcome.problem.code)
            elif outcome.unwrap().model.bundle_sha256 == waiting.predictions[0].bundle_sha256:
                self._arms.count_shadow(
                    "other-model"
                )  # the channels moved meanwhile: this would compare it with itself
            else:
                rows += _rows(waiting, outcome.unwrap())
                self._arms.count_shadow("scored")
        if rows:
            await self._record(rows)


def _rows(waiting: _Waiting, scores: RiskScores) -> list[NewShadowScore]:
    answered = {each.task: each for each in waiting.predictions}
    risks = {each.task: each for each in scores.risks}
    found = []
    for task in waiting.tasks:
        risk, stored = risks[task.name], answered[task.name]
        found.append(
            NewShadowScore(
                id=prediction_id(waiting.note_key, task.name, task.version, scores.model.bundle_sha256),
                prediction_id=stored.id,
                rollout_id=waiting.rollout_id,
                task=task.name,
                model_version=scores.model.version,
                bundle_sha256=scores.model.bundle_sha256,
                is_challenger=waiting.by_challenger,
                probabilities=risk.probabilities,
                adverse_probability=risk.adverse_probability,
                answered_probability=_adverse(stored, task),
            )
        )
    return found


def _adverse(stored: StoredPrediction, task: Task) -> float:
    probabilities = stored.payload["probabilities"]
    return min(1.0, math.fsum(probabilities[option] for option in task.adverse_options))
