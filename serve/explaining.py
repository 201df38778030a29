"""What moved a note's scores, for one answer only: nothing of it is stored or logged.

An explanation scores the note again up to 25 times, each time without one passage. Its passes wait in the same bounded
queue as all notes, so it can neither starve them nor build a batch that is too large.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from lang1.errors import Lang1Error
from lang1.notes import ClinicalNote
from lang1.scores import RiskScores
from serve.errors import Problem, ServiceError, internal, throttled, timed_out
from serve.logs import get_logger
from serve.outcome import Outcome

TOP_PASSAGES = 3
THREADS = 4
# No token of a vocabulary is longer on average, so what lies behind is never read, nor worth tokenising.
_MAX_CHARS_PER_TOKEN = 200


@dataclass(frozen=True, slots=True)
class Passage:
    """Characters [start, end) of the cleaned text, and its effect: the adverse probability with it minus without it."""

    start: int
    end: int
    effect: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """For every task by name, the passages with the largest effects, largest first; and which bundle was asked."""

    bundle_sha256: str
    passages: Mapping[str, tuple[Passage, ...]]


Prompt = TypeVar("Prompt")
Queued = TypeVar("Queued", contravariant=True)


class NoteQueue(Protocol[Queued]):
    """What an explainer needs of the token batcher."""

    @property
    def depth(self) -> int: ...

    async def submit(self, prompts: Sequence[Queued], deadline_s: float) -> list[Outcome[RiskScores]]: ...


class Explainer(Generic[Prompt]):
    """Of one scorer replica. `prepare` makes the queue's prompt of a note."""

    def __init__(
        self,
        queue: NoteQueue[Prompt],
        prepare: Callable[[Any, ClinicalNote, Sequence[str] | None], Prompt],
        *,
        max_queued: int,
        max_batch_tokens: int,
    ) -> None:
        from lang1.explain import MAX_PASSAGES  # torch comes with it

        self._notes_each = 1 + MAX_PASSAGES
        self._queue = queue
        self._prepare = prepare
        self._max_queued = max_queued
        self._max_batch_tokens = max_batch_tokens
        self._under_way = 0
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="explain")

    async def explain(
        self, scorer: Any, note: ClinicalNote, tasks: Sequence[str] | None, deadline_s: float
    ) -> Outcome[Explanation]:
        """The explanation by the loaded `scorer`, or a problem: throttled, timeout, or what a note's score would get.

        Counts as 25 waiting notes from its beginning to its end.
        """
        taken = self._under_way * self._notes_each + self._queue.depth
        if taken and taken + self._notes_each > self._max_queued:
            return Outcome(problem=throttled(taken))
        queued: Any = _QueuedScorer(scorer, self._queue, self._prepare, time.monotonic() + deadline_s)
        loop = asyncio.get_running_loop()
        self._under_way += 1
        try:
            async with asyncio.timeout(deadline_s):
                return await loop.run_in_executor(self._threads, self._explain, scorer, queued, note, tasks)
        except TimeoutError:
            return Outcome(problem=timed_out(deadline_s))
        finally:
            queued.give_up()
            self._under_way -= 1

    def _explain(
        self, scorer: Any, queued: Any, note: ClinicalNote, tasks: Sequence[str] | None
    ) -> Outcome[Explanation]:
        from lang1.explain import explain

        read = replace(note, text=note.text[: _MAX_CHARS_PER_TOKEN * scorer.encoder.max_note_tokens])
        try:
            found = explain(queued, read, tasks, top=TOP_PASSAGES, max_batch_tokens=self._max_batch_tokens)
        except ServiceError as error:
            return Outcome(problem=error.problem)
        except CancelledError:
            return Outcome(problem=timed_out(0))  # nobody waits for it any more
        except Lang1Error as error:
            return Outcome(problem=Problem(404 if error.code == "not-found" else 500, error.code, str(error)))
        except Exception as error:
            # The class alone: its text may quote the note.
            get_logger().error("explaining a note failed: %s", type(error).__name__)
            return Outcome(problem=internal())
        passages = {
            task: tuple(Passage(each.start, each.end, each.effect) for each in effects)
            for task, effects in found.items()
        }
        return Outcome(Explanation(scorer.identity.bundle_sha256, passages))


class _QueuedScorer:
    """Stands for a PackedScorer in `lang1.explain.explain`, whose notes go through the queue of the event loop."""

    def __init__(self, scorer: Any, queue: NoteQueue[Any], prepare: Callable[..., Any], deadline: float) -> None:
        self.encoder = scorer.encoder
        self._scorer = scorer
        self._queue = queue
        self._prepare = prepare
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._waiting: Future[list[Outcome[RiskScores]]] | None = None
        self._given_up = False

    def score_notes(
        self, notes: Sequence[ClinicalNote], tasks: Sequence[str] | None, max_batch_tokens: int
    ) -> list[RiskScores]:
        """In a thread: waits for the queue, which forms the batches itself. Raises ServiceError."""
        prompts = [self._prepare(self._scorer, note, tasks) for note in notes]
        left_s = self._deadline - time.monotonic()
        if self._given_up or left_s <= 0:
            raise CancelledError
        self._waiting = asyncio.run_coroutine_threadsafe(self._queue.submit(prompts, left_s), self._loop)
        return [outcome.unwrap() for outcome in self._waiting.result()]

    def give_up(self) -> None:
        """Drop what is still waiting: the caller is answered or gone."""
        self._given_up = True
        if self._waiting is not None:
            self._waiting.cancel()
