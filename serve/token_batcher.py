"""Batches by tokens: whatever waits goes together, up to a token budget; a lone note never waits."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from serve.errors import Problem, internal, throttled, timed_out
from serve.logs import get_logger
from serve.outcome import Outcome


class _Sized(Protocol):
    @property
    def total_tokens(self) -> int: ...


Prompt = TypeVar("Prompt", bound=_Sized)
Result = TypeVar("Result")


class OutOfMemoryError(Exception):
    """The device had no room for the batch; a smaller one may fit."""


class PassError(Exception):
    """A pass failed as a whole, with the problem to answer."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Prompt, Result]):
    prompt: Prompt
    deadline: float
    deadline_s: float
    future: asyncio.Future[Outcome[Result]]


class TokenBatcher(Generic[Prompt, Result]):
    """A bounded queue in front of one forward pass at a time.

    `run` scores a batch (one pass, in a thread); it may raise OutOfMemoryError or PassError. A note whose caller went
    away or whose deadline passed is dropped before its pass.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Prompt]], Awaitable[list[Result]]],
        *,
        max_batch_tokens: int,
        max_queued: int,
        out_of_memory: Problem,
        on_batch: Callable[[int], None] = lambda tokens: None,
        on_depth: Callable[[int], None] = lambda notes: None,
    ) -> None:
        self._run = run
        self._max_batch_tokens = max_batch_tokens
        self._max_queued = max_queued
        self._out_of_memory = out_of_memory
        self._on_batch = on_batch
        self._on_depth = on_depth
        self._queue: deque[_Waiting[Prompt, Result]] = deque()
        self._worker: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        """Notes waiting, without those in the pass under way."""
        return len(self._queue)

    async def submit(self, prompts: Sequence[Prompt], deadline_s: float) -> list[Outcome[Result]]:
        """Results in order. All prompts are taken or none: a full queue answers `throttled` for each."""
        if len(self._queue) + len(prompts) > self._max_queued and self._queue:
            return [Outcome(problem=throttled(len(self._queue)))] * len(prompts)
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + deadline_s
        waiting = [_Waiting[Prompt, Result](prompt, deadline, deadline_s, loop.create_future()) for prompt in prompts]
        self._queue.extend(waiting)
        self._on_depth(len(self._queue))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            async with asyncio.timeout(deadline_s):
                return list(await asyncio.gather(*(each.future for each in waiting)))
        except TimeoutError:
            return [_finished(each) for each in waiting]
        finally:
            for each in waiting:
                each.future.cancel()

    async def _work(self) -> None:
        while batch := self._take():
            self._on_depth(len(self._queue))
            try:
                await self._score(batch)
            except Exception as error:
                # The class alone: its text may quote the note.
                get_logger().error("forward pass failed: %s", type(error).__name__)
                _answer(batch, internal())

    def _take(self) -> list[_Waiting[Prompt, Result]]:
        batch: list[_Waiting[Prompt, Result]] = []
        tokens = 0
        now = time.monotonic()
        while self._queue:
            head = self._queue[0]
            if head.future.done() or head.deadline <= now:
                self._queue.popleft()
                _answer([head], timed_out(head.deadline_s))
                continue
            if batch and tokens + head.prompt.total_tokens > self._max_batch_tokens:
                break
            batch.append(self._queue.popleft())
            tokens += head.prompt.total_tokens
        return batch

    async def _score(self, batch: list[_Waiting[Prompt, Result]]) -> None:
        try:
            results = await self._run([each.prompt for each in batch])
        except OutOfMemoryError:
            if len(batch) == 1:
                _answer(batch, self._out_of_memory)
                return
            middle = len(batch) // 2
            await self._score(batch[:middle])
            await self._score(batch[middle:])
            return
        except PassError as error:
            if len(batch) == 1:
                _answer(batch, error.problem)
                return
            # One note's bad result must not fail its neighbours: each is tried alone.
            for each in batch:
                await self._score([each])
            return
        self._on_batch(sum(each.prompt.total_tokens for each in batch))
        for each, result in zip(batch, results, strict=True):
            if not each.future.done():
                each.future.set_result(Outcome(result))


def _finished(waiting: _Waiting[Prompt, Result]) -> Outcome[Result]:
    if waiting.future.done() and not waiting.future.cancelled():
        return waiting.future.result()
    return Outcome(problem=timed_out(waiting.deadline_s))


def _answer(batch: Sequence[_Waiting[Prompt, Result]], problem: Problem) -> None:
    for each in batch:
        if not each.future.done():
            each.future.set_result(Outcome(problem=problem))
