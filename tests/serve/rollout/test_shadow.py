"""Shadow scores: of the other model, in the background, bounded, and visible to nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import func, select

from serve.errors import unusable_result
from serve.rollout.shadow_scores import count_shadow_scores, read_pairs
from serve.store.core import Store
from serve.store.records import SearchQuery
from serve.store.retention import forget, prune, uncovered
from serve.store.tables import Outbox, Prediction, ShadowScore
from serve.store.transaction import Transaction
from tests.serve.rollout.parts import TASKS, Rig, context, job
from tests.serve.rollout.test_canary import in_loop


def rows(transaction: Transaction) -> list[tuple[str, bool, str, str]]:
    found = transaction.connection.execute(
        select(ShadowScore.task, ShadowScore.is_challenger, ShadowScore.model_version, Prediction.model_version)
        .join(Prediction, Prediction.id == ShadowScore.prediction_id)
        .order_by(ShadowScore.task)
    )
    return [(row[0], row[1], row[2], row[3]) for row in found]


def count(transaction: Transaction, table: type) -> int:
    return int(transaction.connection.execute(select(func.count()).select_from(table)).scalar_one())


def test_a_note_that_the_champion_answers_is_scored_by_the_challenger(rig: Rig) -> None:
    async def body() -> None:
        await rig.shadow()
        await rig.score(job(1, encounter="Encounter/1"))
        assert rig.store.read(rows) == sorted((task.name, True, "1.1.0", "1.0.0") for task in TASKS)
        (first, *_) = rig.store.read(read_pairs, str(rig.registry.channels().rollout_id), None).rows
        assert first.challenger > first.champion  # shifted by 0.1 logits
        # A resend is answered from the store, and makes no second pair.
        await rig.score(job(1, encounter="Encounter/1"))
        assert len(rig.store.read(rows)) == len(TASKS)
        assert rig.scorer.scored == ["note 1 of the patient"]

    in_loop(body)


def test_in_a_canary_the_model_that_did_not_answer_is_asked(rig: Rig) -> None:
    async def body() -> None:
        await rig.canary()
        assert await rig.score(job(1, encounter="Encounter/1")) == ["1.1.0"]
        assert rig.store.read(rows) == sorted((task.name, False, "1.0.0", "1.1.0") for task in TASKS)
        (first, *_) = rig.store.read(read_pairs, str(rig.registry.channels().rollout_id), None).rows
        assert first.challenger > first.champion

    in_loop(body)


def test_no_client_sees_a_shadow_score_and_none_is_written_back(tmp_path: Path, migrated_sqlite: Path) -> None:
    import shutil

    url = f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'own.sqlite3')}"
    store = Store(url, sink="risk-assessment")

    async def body() -> None:
        rig = Rig(tmp_path, store)
        await rig.shadow()
        await rig.score(job(1, encounter="Encounter/1"))
        page = store.search(SearchQuery(encounters=("Encounter/1",), assessments_only=False))
        assert {each.model_version for each in page.predictions} == {"1.0.0"}
        assert page.total == len(TASKS)
        assert store.read(count, ShadowScore) == len(TASKS)
        assert store.read(count, Outbox) == len(TASKS)
        shown = await rig.pipeline.newest_of_encounter("Patient/p1", "Encounter/1", context())
        assert {each.model_version for each in shown} == {"1.0.0"}

    in_loop(body)
    store.close()


def test_a_share_is_scored_and_a_full_queue_drops(tmp_path: Path, sqlite_store: Store) -> None:
    async def body() -> None:
        rig = Rig(tmp_path, sqlite_store, shadow_share=30.0, shadow_max_queued=10)
        await rig.shadow()
        for start in range(0, 60, 20):
            await rig.score(*(job(start + i) for i in range(20)))
        scored = len(rig.scorer.scored)
        assert 8 <= scored <= 30
        full = Rig(tmp_path / "full", sqlite_store, shadow_max_queued=10)
        await full.shadow()
        await full.score(*(job(1000 + i) for i in range(25)))
        await full.arms._tell()
        assert full.told[-1].shadow == {"scored": 10, "dropped": 15}

    in_loop(body)


def test_a_failing_challenger_in_the_shadow_costs_no_answer_and_is_counted(rig: Rig) -> None:
    async def body() -> None:
        await rig.shadow()
        rig.scorer.problem = unusable_result()
        assert await rig.score(job(1), job(2)) == ["1.0.0"] * 2
        await rig.arms._tell()
        told = rig.told[-1]
        assert (told.tried, told.failed, told.shadow) == (2, {"exception": 2}, {"exception": 2})
        assert rig.store.read(count, ShadowScore) == 0

    in_loop(body)


def test_the_answer_does_not_wait_for_the_shadow(rig: Rig) -> None:
    async def body() -> None:
        await rig.shadow()
        free = asyncio.Event()
        real = rig.scorer.score

        async def slow(*given: object) -> object:
            await free.wait()
            return await real(*given)  # type: ignore[arg-type]

        rig.scorer.score = slow  # type: ignore[method-assign, assignment]
        answers = await rig.pipeline.score([job(1)], context())
        assert answers.notes[0].unwrap().model.version == "1.0.0"
        assert rig.store.read(count, ShadowScore) == 0
        free.set()
        await rig.drained()
        assert rig.store.read(count, ShadowScore) == len(TASKS)

    in_loop(body)


def test_shadow_scores_go_with_the_score_that_was_answered(rig: Rig) -> None:
    async def body() -> None:
        await rig.shadow()
        await rig.score(job(1, encounter="Encounter/1"), job(2, encounter="Encounter/2", subject="Patient/p2"))

    in_loop(body)
    assert uncovered() == []
    forget(rig.store, "Patient/p1")
    assert rig.store.read(count, ShadowScore) == len(TASKS)
    prune(rig.store, {"predictions": 2**62})
    assert rig.store.read(count, ShadowScore) == 0


def test_a_patient_who_is_forgotten_meanwhile_leaves_no_shadow_and_others_do(rig: Rig) -> None:
    async def body() -> None:
        await rig.shadow()
        real = rig.scorer.score

        async def forgets(*given: object) -> object:
            await asyncio.to_thread(forget, rig.store, "Patient/p1")
            return await real(*given)  # type: ignore[arg-type]

        rig.scorer.score = forgets  # type: ignore[method-assign, assignment]
        other = job(2, encounter="Encounter/2", subject="Patient/p2")
        await rig.score(job(1, encounter="Encounter/1"), other)
        # Those that were scored in the same batch are kept.
        rollout_id = str(rig.registry.channels().rollout_id)
        assert rig.store.read(count_shadow_scores, rollout_id) == {task.name: 1 for task in TASKS}

    in_loop(body)


@pytest.mark.parametrize("loaded", [False, True])
def test_what_was_answered_before_the_rollout_ended_is_not_compared_after(rig: Rig, loaded: bool) -> None:
    async def body() -> None:
        await rig.shadow()
        await rig.roll_back()
        rig.challenger.loaded = loaded
        await rig.score(job(1))
        assert rig.scorer.scored == []

    in_loop(body)
