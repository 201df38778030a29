"""Which model answers: encounters are stable, the challenger's failure is the champion's answer, answers stay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from lang1.registry import rollout
from serve.errors import ServiceError, throttled, timed_out, unusable_result
from serve.rollout import client
from serve.rollout.assignment import place_of, unit
from serve.store.records import SearchQuery
from tests.serve.rollout.parts import WHO, Rig, context, job, with_tasks

CHAMPION, CHALLENGER = "1.0.0", "1.1.0"


def in_loop(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(body(), 30))


def test_encounters_are_spread_evenly_and_anew_for_each_rollout() -> None:
    units = [unit("ehr", "Patient/p", f"Encounter/{i}", "k") for i in range(20_000)]
    places = [place_of("a" * 32, each) for each in units]
    for share in (5, 25, 50, 100):
        assert sum(place < share for place in places) / len(places) == pytest.approx(share / 100, abs=0.01)
    other = [place_of("b" * 32, each) for each in units]
    both = sum(a < 50 and b < 50 for a, b in zip(places, other, strict=True))
    assert both / len(units) == pytest.approx(0.25, abs=0.02)


def test_a_note_without_an_encounter_is_assigned_by_itself_and_names_do_not_run_together() -> None:
    assert unit("ehr", None, None, "k1") != unit("ehr", None, None, "k2")
    assert unit("ehr", "Patient/1", "Encounter/2", "k1") == unit("ehr", "Patient/1", "Encounter/2", "k2")
    assert unit("ehr", "ab", "c", "k") != unit("ehr", "a", "bc", "k")
    assert unit("ehr", None, "c", "k") != unit("", "ehr", "c", "k")


def test_without_a_rollout_and_in_shadow_the_champion_answers(rig: Rig) -> None:
    async def body() -> None:
        await rig.arms.look()
        assert await rig.score(job(1), job(2)) == [CHAMPION] * 2
        await rig.shadow()
        assert await rig.score(job(3)) == [CHAMPION]

    in_loop(body)


def test_an_encounter_stays_with_its_model_as_the_share_grows_and_on_every_replica(rig: Rig) -> None:
    async def body() -> None:
        jobs = [job(i, encounter=f"Encounter/{i}") for i in range(60)]
        held: set[int] = set()
        for step, share in enumerate((5, 25, 50, 100)):
            await rig.canary(share)
            fresh = [job(1000 * (step + 1) + i, encounter=f"Encounter/{i}") for i in range(60)]
            models = await rig.score(*fresh)
            rig.pipeline = rig.make_pipeline()
            await rig.arms.look()
            again = [job(1000 * (step + 1) + 500 + i, encounter=f"Encounter/{i}") for i in range(60)]
            assert await rig.score(*again) == models
            now = {i for i, model in enumerate(models) if model == CHALLENGER}
            assert held <= now
            held = now
        assert len(held) == len(jobs)

    in_loop(body)


def test_what_was_answered_stays_as_long_as_the_rollout_lasts(rig: Rig) -> None:
    async def body() -> None:
        notes = [job(i, encounter=f"Encounter/{i}") for i in range(40)]
        await rig.arms.look()
        assert await rig.score(*notes[:20]) == [CHAMPION] * 20
        await rig.canary(50)
        first = await rig.score(*notes)
        assert first[:20] == [CHAMPION] * 20
        assert set(first[20:]) == {CHAMPION, CHALLENGER}
        await rig.canary(100)
        assert await rig.score(*notes) == first
        # A new note of the same encounters goes to the challenger.
        assert await rig.score(job(100, encounter="Encounter/1")) == [CHALLENGER]
        await rig.roll_back()
        assert await rig.score(*notes) == [CHAMPION] * 40

    in_loop(body)


def test_a_rollback_gives_back_the_very_same_scores(rig: Rig) -> None:
    async def body() -> None:
        await rig.arms.look()
        notes = [job(i, encounter=f"Encounter/{i}") for i in range(10)]
        before = await rig.pipeline.score(notes, context())
        await rig.canary(100)
        assert await rig.score(job(50, encounter="Encounter/1")) == [CHALLENGER]
        rollout.promote(rig.registry, **WHO)
        rig.champion.identity, old = rig.scorer.identity, rig.champion.identity
        rig.pipeline.model.expire()
        await rig.arms.look()
        assert await rig.score(*notes) == [CHALLENGER] * 10
        rollout.rollback(rig.registry, **WHO)
        rig.champion.identity = old
        rig.pipeline.model.expire()
        await rig.arms.look()
        after = await rig.pipeline.score(notes, context())
        assert [each.unwrap().predictions for each in after.notes] == [
            each.unwrap().predictions for each in before.notes
        ]

    in_loop(body)


@pytest.mark.parametrize(
    ("problem", "code"),
    [(unusable_result(), "exception"), (throttled(1), "throttled"), (timed_out(1), "timeout")],
)
def test_a_failure_of_the_challenger_is_the_champions_answer(rig: Rig, problem: Any, code: str) -> None:
    async def body() -> None:
        await rig.canary()
        rig.scorer.problem = problem
        assert await rig.score(job(1), job(2)) == [CHAMPION] * 2
        await rig.arms._tell()
        assert rig.told[-1].fallbacks == {code: 2}
        rig.scorer.problem = None
        rig.challenger._not_before = 0.0
        # The same note again: what was answered stays.
        assert await rig.score(job(1), job(3)) == [CHAMPION, CHALLENGER]

    in_loop(body)


def test_a_dead_challenger_is_asked_once_and_left_alone_for_a_while(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        await rig.canary()
        rig.challenger.raises = ActorUnavailableError("gone", None)
        monkeypatch.setattr(client, "PAUSE_S", 60.0)
        for i in range(20):
            assert await rig.score(job(i)) == [CHAMPION]
        assert rig.challenger.calls == 1
        rig.challenger.raises = None
        monkeypatch.setattr(client, "PAUSE_S", 0.0)
        rig.challenger._not_before = time.monotonic()
        assert await rig.score(job(100)) == [CHALLENGER]
        await rig.arms._tell()
        assert (rig.told[-1].away, rig.told[-1].tried, rig.told[-1].canary) == (20, 1, 1)

    in_loop(body)


def test_a_challenger_that_hangs_leaves_time_for_the_champion(rig: Rig) -> None:
    async def body() -> None:
        await rig.canary()

        async def hang(*_: Any) -> Any:
            await asyncio.sleep(60)

        rig.scorer.score = hang  # type: ignore[method-assign, assignment]
        began = time.monotonic()
        assert await rig.score(job(1), seconds=3) == [CHAMPION]
        assert time.monotonic() - began < 3

    in_loop(body)


def test_a_challenger_that_is_not_loaded_is_not_asked(rig: Rig) -> None:
    async def body() -> None:
        rig.challenger.loaded = False
        await rig.canary()
        assert await rig.score(job(1)) == [CHAMPION]
        assert rig.challenger.calls == 0
        await rig.arms._tell()
        assert rig.told[-1].fallbacks == {"not-loaded": 1}

    in_loop(body)


def test_a_challenger_of_other_tasks_answers_nothing(rig: Rig) -> None:
    async def body() -> None:
        with_tasks(rig.scorer, 2)
        await rig.canary()
        assert await rig.score(job(1)) == [CHAMPION]
        await rig.arms._tell()
        assert rig.told[-1].fallbacks == {"tasks": 1}

    in_loop(body)


def test_an_answer_of_another_bundle_than_the_challenger_does_not_count(rig: Rig) -> None:
    async def body() -> None:
        await rig.canary()
        loaded = rig.scorer.identity
        rig.scorer.identity = type(loaded)("plain", "9.9.9", "f" * 64, demo=True)
        assert await rig.score(job(1)) == [CHAMPION]
        await rig.arms._tell()
        assert rig.told[-1].fallbacks == {"other-model": 1}

    in_loop(body)


def test_an_explanation_that_the_challenger_cannot_give_is_the_champions_with_its_scores(rig: Rig) -> None:
    async def body() -> None:
        await rig.canary()
        answers = await rig.pipeline.score([job(1, explain=True)], context())
        # Neither can explain here, so the note has the champion's problem; a service that can has its answer.
        assert answers.notes[0].problem is not None
        await rig.arms._tell()
        assert rig.told[-1].fallbacks == {"exception": 1}

    in_loop(body)


def test_when_both_fail_the_problem_is_the_champions(rig: Rig) -> None:
    async def body() -> None:
        await rig.canary()
        rig.scorer.problem = unusable_result()
        rig.champion.problem = throttled(7)
        with pytest.raises(ServiceError) as raised:
            await rig.score(job(1))
        assert raised.value.problem.code == "throttled"

    in_loop(body)


def test_a_call_of_both_models_says_the_champion_and_one_of_one_says_that_one(rig: Rig) -> None:
    async def body() -> None:
        await rig.canary(50)
        notes = [job(i, encounter=f"Encounter/{i}") for i in range(30)]
        assert (await rig.pipeline.score(notes, context())).model.version == CHAMPION
        own = [each for each in notes if rig.arms.is_challengers(each, "ehr")]
        assert 0 < len(own) < 30
        assert (await rig.pipeline.score(own, context())).model.version == CHALLENGER

    in_loop(body)


def test_scores_of_a_challenger_that_was_rolled_back_are_off_the_chart(rig: Rig) -> None:
    async def body() -> None:
        await rig.canary()
        await rig.score(job(1, encounter="Encounter/1"))

        async def shown() -> set[str]:
            found = await rig.pipeline.newest_of_encounter("Patient/p1", "Encounter/1", context())
            return {each.model_version for each in found}

        assert await shown() == {CHALLENGER}
        await rig.roll_back()
        assert await shown() == set()
        assert await rig.score(job(1, encounter="Encounter/1")) == [CHAMPION]
        assert await shown() == {CHAMPION}
        # The record holds both.
        page = rig.store.search(SearchQuery(encounters=("Encounter/1",)))
        assert {each.model_version for each in page.predictions} == {CHAMPION, CHALLENGER}

    in_loop(body)


def test_a_registry_that_cannot_be_read_leaves_all_as_it_was(rig: Rig) -> None:
    async def body() -> None:
        await rig.canary()
        away = rig.registry.folder.rename(rig.registry.folder.with_name("away"))
        await rig.arms.look()
        assert await rig.score(job(1)) == [CHALLENGER]
        away.rename(rig.registry.folder)
        await rig.roll_back()
        assert await rig.score(job(2)) == [CHAMPION]

    in_loop(body)
