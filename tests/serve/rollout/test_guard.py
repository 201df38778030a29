"""The guard ends a bad rollout with the reason in the log, and leaves a good one alone."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from lang1.registry import rollout
from serve.errors import unusable_result
from serve.rollout.guard import Guard
from serve.rollout.judging import Judgement, Pair
from serve.rollout.settings import RolloutSettings
from serve.rollout.tally import Tally
from tests.serve.rollout.parts import TASKS, WHO, Rig, job
from tests.serve.rollout.test_canary import in_loop

SETTINGS = RolloutSettings()
NAMES = [task.name for task in TASKS]


def probability(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def pairs(count: int, shift: float, spread: float = 0.5, seed: int = 0) -> list[Pair]:
    random = np.random.default_rng(seed)
    champion = random.normal(-2, 1, count)
    challenger = champion + shift + random.normal(0, spread, count)
    return [
        Pair(name, probability(float(new)), probability(float(old)))
        for new, old in zip(challenger, champion, strict=True)
        for name in NAMES
    ]


def test_a_better_model_that_scores_otherwise_note_by_note_is_left_alone() -> None:
    judgement = Judgement(SETTINGS, NAMES, {})
    judgement.compare(pairs(5000, 0.3, spread=1.0))
    judgement.take(Tally("r", tried=5000, failed=Counter({"exception": 10})), 0.0)
    assert judgement.verdict() is None


@pytest.mark.parametrize("sign", [1, -1])
def test_a_shift_is_found_in_either_direction_and_named(sign: int) -> None:
    judgement = Judgement(SETTINGS, NAMES, {})
    judgement.compare(pairs(120, sign * 1.2))
    verdict = judgement.verdict()
    assert verdict is not None
    assert verdict[0].startswith("score shift: ")
    assert f"{'+' if sign > 0 else '-'}1." in verdict[0]


def test_a_shift_that_the_gate_expected_is_none() -> None:
    judgement = Judgement(SETTINGS, NAMES, dict.fromkeys(NAMES, 1.2))
    judgement.compare(pairs(1000, 1.2))
    assert judgement.verdict() is None
    judgement.compare(pairs(1000, 0.0, seed=1))
    assert judgement.verdict() is not None


def test_few_pairs_end_nothing() -> None:
    judgement = Judgement(SETTINGS, NAMES, {})
    judgement.compare(pairs(49, 3.0))
    assert judgement.verdict() is None
    judgement.compare(pairs(1, 3.0))
    assert judgement.verdict() is not None


def test_rare_failures_are_allowed_and_a_burn_is_not() -> None:
    judgement = Judgement(SETTINGS, NAMES, {})
    for i in range(100):
        judgement.take(Tally("r", tried=100, failed=Counter({"exception": i % 2})), i)
    assert judgement.verdict() is None
    judgement.take(Tally("r", tried=60, failed=Counter({"exception": 20, "timeout": 4})), 100)
    verdict = judgement.verdict()
    assert verdict is not None
    assert "error burn" in verdict[0]
    assert "4 timeout" in verdict[0]


def test_slowness_counts_only_while_the_champion_is_quick() -> None:
    judgement = Judgement(SETTINGS, NAMES, {})
    for i in range(20):
        judgement.take(Tally("r", tried=10, timed=10, slow=8, champion_timed=10, champion_slow=6), i)
        judgement.take(Tally("r", tried=10, timed=10, slow=8), i)
    assert judgement.verdict() is None
    judgement.take(Tally("r", tried=20, timed=20, slow=12, champion_timed=20), 21)
    verdict = judgement.verdict()
    assert verdict is not None
    assert verdict[0].startswith("latency")


def test_a_challenger_may_restart_and_not_stay_away() -> None:
    judgement = Judgement(SETTINGS, NAMES, {})
    for second in range(0, 40, 10):
        judgement.take(Tally("r", away=5), second)
    assert judgement.verdict() is None
    judgement.take(Tally("r", tried=5, away=1), 40)
    judgement.take(Tally("r", away=5), 100)
    judgement.take(Tally("r", away=5), 159)
    assert judgement.verdict() is None
    judgement.take(Tally("r", away=5), 161)
    verdict = judgement.verdict()
    assert verdict is not None
    assert "no answer" in verdict[0]


def test_a_crash_loop_is_found() -> None:
    judgement = Judgement(SETTINGS, NAMES, {})
    for second in range(0, 80, 20):
        assert judgement.verdict() is None
        judgement.take(Tally("r", away=5), second)
        judgement.take(Tally("r", tried=5), second + 10)
    verdict = judgement.verdict()
    assert verdict is not None
    assert "4 times" in verdict[0]


def guard_of(rig: Rig, **settings: Any) -> Guard:
    from serve.settings import load_settings

    given = {"registry": str(rig.registry.folder), "state_dir": "/nonexistent", "guard_min_pairs": 20, **settings}
    guard = Guard(load_settings(**given), rig.challenger, rig.store)

    async def report(tally: Tally) -> None:
        guard.report(tally)

    rig.arms._report = report
    return guard


async def look(rig: Rig, guard: Guard) -> None:
    await rig.arms._tell()
    await guard.look()
    await rig.arms.look()


def test_a_good_challenger_goes_on(rig: Rig) -> None:
    async def body() -> None:
        guard = guard_of(rig)
        await rig.canary(50)
        for start in range(0, 120, 40):
            await rig.score(*(job(start + i, encounter=f"Encounter/{start + i}") for i in range(40)))
            await look(rig, guard)
        assert rig.registry.channels().share == 50
        summary = guard.summary()
        assert summary["canary"]["answered"] > 30
        assert {each["count"] for each in summary["signals"] if each["name"].startswith("shift/")} == {120}

    in_loop(body)


def test_shifted_scores_end_the_rollout_and_notes_of_one_stay_count_once(rig: Rig) -> None:
    async def body() -> None:
        guard = guard_of(rig)
        rig.scorer.shift = 2.0
        await rig.shadow()
        await rig.score(*(job(i, encounter="Encounter/1") for i in range(40)))
        await look(rig, guard)
        assert rig.registry.channels().stage == "shadow"
        await rig.score(*(job(100 + i, encounter=f"Encounter/{i}") for i in range(40)))
        # A guard that restarts reads the record again.
        guard = guard_of(rig)
        await look(rig, guard)
        assert not rig.registry.channels().in_rollout
        last = rig.registry.log()[-1]
        assert (last.action, last.actor) == ("rollback-automatic", "guard")
        assert "score shift" in last.reason
        assert last.evidence["evidence"] >= 1
        await look(rig, guard)
        assert guard.summary() == {}

    in_loop(body)


def test_nan_scores_end_the_rollout(rig: Rig) -> None:
    async def body() -> None:
        guard = guard_of(rig)
        await rig.canary()
        rig.scorer.problem = unusable_result()
        assert await rig.score(*(job(i) for i in range(5))) == ["1.0.0"] * 5
        await look(rig, guard)
        assert "error burn" in rig.registry.log()[-1].reason
        assert rig.registry.channels().champion == rig.champion.identity.bundle_sha256

    in_loop(body)


def test_a_bundle_that_cannot_be_loaded_ends_the_rollout(rig: Rig) -> None:
    async def body() -> None:
        guard = guard_of(rig)
        await rig.shadow()
        rig.challenger.refused = "model.safetensors was changed"
        await guard.look()
        assert "cannot be loaded" in rig.registry.log()[-1].reason
        assert not rig.registry.channels().in_rollout

    in_loop(body)


def test_a_bundle_that_is_damaged_in_the_registry_ends_the_rollout(rig: Rig) -> None:
    async def body() -> None:
        guard = guard_of(rig)
        await rig.shadow()
        weights = rig.registry.path(rig.scorer.identity.bundle_sha256) / "model.safetensors"
        weights.chmod(0o600)
        weights.write_text("rot")
        await guard.look()
        assert "was changed" in rig.registry.log()[-1].reason

    in_loop(body)


def test_the_gates_expectation_is_read_from_its_report(rig: Rig) -> None:
    async def body() -> None:
        guard = guard_of(rig)
        champion, challenger = rig.champion.identity.bundle_sha256, rig.scorer.identity.bundle_sha256
        report = {"verdict": "pass", "reasons": [], "champion": champion, "expected_shift": dict.fromkeys(NAMES, 2.0)}
        rig.registry.record_gate(challenger, report, actor="gate")
        rig.scorer.shift = 2.0
        rollout.start_shadow(rig.registry, challenger, **WHO)
        await rig.arms.look()
        await rig.score(*(job(i, encounter=f"Encounter/{i}") for i in range(60)))
        await look(rig, guard)
        assert rig.registry.channels().stage == "shadow"

    in_loop(body)


def test_counts_of_a_rollout_that_is_over_are_not_the_next_ones(rig: Rig) -> None:
    async def body() -> None:
        guard = guard_of(rig)
        await rig.canary()
        rig.scorer.problem = unusable_result()
        await rig.score(*(job(i) for i in range(5)))
        await rig.arms._tell()
        rollout.rollback(rig.registry, **WHO)
        rig.scorer.problem = None
        await rig.shadow()
        await guard.look()
        assert rig.registry.channels().stage == "shadow"

    in_loop(body)


def test_counts_that_the_guard_does_not_take_are_kept(rig: Rig) -> None:
    async def body() -> None:
        await rig.canary()
        told: list[Tally] = []

        async def report(tally: Tally) -> None:
            if not told:
                told.append(tally)
                raise RuntimeError("away")
            told.append(tally)

        rig.arms._report = report
        await rig.score(job(1))
        await rig.arms._tell()
        await rig.score(job(2))
        await rig.arms._tell()
        assert told[-1].canary == 2

    in_loop(body)
