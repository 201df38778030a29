"""The token batcher: no wait for a lone note, batches by tokens, a bounded queue, deadlines, memory that runs out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from serve.errors import out_of_memory, unusable_result
from serve.token_batcher import OutOfMemoryError, PassError, TokenBatcher


@dataclass(frozen=True)
class Prompt:
    name: str
    total_tokens: int = 100


@dataclass
class Device:
    """A forward pass under the test's control."""

    batches: list[list[str]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    fail: Callable[[list[str]], Exception | None] = lambda names: None

    async def run(self, prompts: Sequence[Prompt]) -> list[str]:
        names = [prompt.name for prompt in prompts]
        self.batches.append(names)
        await self.gate.wait()
        error = self.fail(names)
        if error:
            raise error
        return [f"score of {name}" for name in names]


def batcher(device: Device, **changes: int) -> TokenBatcher[Prompt, str]:
    limits = {"max_batch_tokens": 250, "max_queued": 10} | changes
    return TokenBatcher(device.run, out_of_memory=out_of_memory(), **limits)  # type: ignore[arg-type]


def in_loop(test: Callable[[Device], object]) -> None:
    async def body() -> None:
        await test(Device())  # type: ignore[misc]

    asyncio.run(asyncio.wait_for(body(), 10))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_lone_note_goes_at_once() -> None:
    async def check(device: Device) -> None:
        device.gate.set()
        (outcome,) = await batcher(device).submit([Prompt("a")], 1)
        assert outcome.unwrap() == "score of a"

    in_loop(check)


def test_what_waits_goes_together_up_to_the_token_budget_in_order() -> None:
    async def check(device: Device) -> None:
        queue = batcher(device)
        first = asyncio.create_task(queue.submit([Prompt("first")], 5))
        await turns()
        rest = [asyncio.create_task(queue.submit([Prompt(name)], 5)) for name in "abc"]
        large = asyncio.create_task(queue.submit([Prompt("large", 1000)], 5))
        await turns()
        assert queue.depth == 4
        device.gate.set()
        await asyncio.gather(first, *rest, large)
        assert device.batches == [["first"], ["a", "b"], ["c"], ["large"]]

    in_loop(check)


def test_a_full_queue_is_throttled_and_takes_nothing_of_the_call() -> None:
    async def check(device: Device) -> None:
        queue = batcher(device, max_queued=2)
        running = asyncio.create_task(queue.submit([Prompt("running")], 5))
        await turns()
        waiting = asyncio.create_task(queue.submit([Prompt("waiting")], 5))
        await turns()
        refused = await queue.submit([Prompt("x"), Prompt("y")], 5)
        assert [outcome.problem.code for outcome in refused if outcome.problem] == ["throttled", "throttled"]
        assert queue.depth == 1
        device.gate.set()
        await asyncio.gather(running, waiting)
        assert all("x" not in names for names in device.batches)

    in_loop(check)


def test_a_passed_deadline_answers_timeout_and_drops_the_note() -> None:
    async def check(device: Device) -> None:
        queue = batcher(device)
        running = asyncio.create_task(queue.submit([Prompt("running")], 5))
        await turns()
        (late,) = await queue.submit([Prompt("late")], 0.01)
        assert late.problem is not None
        assert (late.problem.status, late.problem.code) == (504, "timeout")
        device.gate.set()
        await running
        await turns()
        assert device.batches == [["running"]]

    in_loop(check)


def test_a_caller_that_goes_away_is_dropped() -> None:
    async def check(device: Device) -> None:
        queue = batcher(device)
        running = asyncio.create_task(queue.submit([Prompt("running")], 5))
        await turns()
        gone = asyncio.create_task(queue.submit([Prompt("gone")], 5))
        await turns()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        device.gate.set()
        await running
        await turns()
        assert device.batches == [["running"]]

    in_loop(check)


def test_out_of_memory_halves_the_batch_then_answers_transient() -> None:
    async def check(device: Device) -> None:
        device.gate.set()
        device.fail = lambda names: OutOfMemoryError() if len(names) > 1 or names == ["b"] else None
        outcomes = await batcher(device).submit([Prompt("a"), Prompt("b")], 5)
        assert outcomes[0].unwrap() == "score of a"
        assert outcomes[1].problem == out_of_memory()

    in_loop(check)


def test_one_bad_result_does_not_fail_its_neighbours() -> None:
    async def check(device: Device) -> None:
        device.gate.set()
        device.fail = lambda names: PassError(unusable_result()) if "bad" in names else None
        good, bad = await batcher(device).submit([Prompt("good"), Prompt("bad")], 5)
        assert good.unwrap() == "score of good"
        assert bad.problem == unusable_result()

    in_loop(check)


@pytest.mark.parametrize("error", [RuntimeError("text of a note"), MemoryError()])
def test_an_unplanned_error_is_answered_without_its_text_and_the_queue_goes_on(error: Exception) -> None:
    async def check(device: Device) -> None:
        device.gate.set()
        queue = batcher(device)
        device.fail = lambda names: error
        (failed,) = await queue.submit([Prompt("a")], 5)
        assert failed.problem is not None
        assert (failed.problem.status, "note" in failed.problem.message.split("(")[0].lower()) == (500, False)
        device.fail = lambda names: None
        assert (await queue.submit([Prompt("b")], 5))[0].unwrap() == "score of b"

    in_loop(check)
