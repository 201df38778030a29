"""What an ingress knows of the loaded model: seen anew soon after a swap, kept while no scorer answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from lang1.scores import ModelIdentity
from lang1.tasks import BUILT_IN
from serve.errors import ServiceError, scorer_away
from serve.handles import ReplicaCallError
from serve.model_watch import MAX_AGE_S, ModelWatch
from serve.scorer import ModelDescription


@dataclass
class Scorer:
    """A scorer under the test's control."""

    version: str = "1"
    away: bool = False
    calls: int = 0

    async def describe(self, known_sha256: str | None = None, timeout_s: float = 5) -> ModelDescription | None:
        self.calls += 1
        await asyncio.sleep(0)
        if self.away:
            raise ReplicaCallError(scorer_away())
        if known_sha256 == self.version:
            return None
        identity = ModelIdentity("m", self.version, self.version, demo=True)
        return ModelDescription(identity, tuple(BUILT_IN.values()), "", {}, 512, "", "")


def in_loop(test: Callable[[Scorer, ModelWatch, Clock], Coroutine[Any, Any, None]], clock: Clock) -> None:
    async def body() -> None:
        scorer = Scorer()
        await test(scorer, ModelWatch(scorer), clock)  # type: ignore[arg-type]

    asyncio.run(asyncio.wait_for(body(), 10))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("serve.model_watch.time.monotonic", made)
    return made


def test_a_swap_is_seen_once_what_is_known_is_older_than_its_age(clock: Clock) -> None:
    async def check(scorer: Scorer, watch: ModelWatch, clock: Clock) -> None:
        assert (await watch.current()).identity.version == "1"
        scorer.version = "2"
        clock.now += MAX_AGE_S * 0.9
        assert (await watch.current()).identity.version == "1"
        clock.now += MAX_AGE_S * 0.2
        seen = await asyncio.gather(*(watch.current() for _ in range(5)))
        assert {each.identity.version for each in seen} == {"2"}
        assert scorer.calls == 2
        assert (await watch.registry()).keys() == BUILT_IN.keys()

    in_loop(check, clock)


def test_an_answer_of_another_model_makes_it_ask_at_once(clock: Clock) -> None:
    async def check(scorer: Scorer, watch: ModelWatch, clock: Clock) -> None:
        await watch.current()
        scorer.version = "2"
        watch.expire()
        assert (await watch.current()).identity.version == "2"

    in_loop(check, clock)


def test_without_a_scorer_the_known_model_stays_and_an_unknown_one_is_503(clock: Clock) -> None:
    async def check(scorer: Scorer, watch: ModelWatch, clock: Clock) -> None:
        scorer.away = True
        with pytest.raises(ServiceError) as raised:
            await watch.current()
        assert raised.value.problem.status == 503
        scorer.away = False
        await watch.current()
        scorer.away = True
        clock.now += 2 * MAX_AGE_S
        assert (await watch.current()).identity.version == "1"
        calls = scorer.calls
        await watch.current()
        assert scorer.calls == calls

    in_loop(check, clock)
