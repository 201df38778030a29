"""The scorer replica without Ray: results as plain data, and bundles that are swapped in or refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from lang1.errors import BundleError
from lang1.notes import ClinicalNote
from lang1.tasks import BUILT_IN, load_tasks
from serve.scorer import NoteToScore, ScorerReplica, ScorerSettings
from tests.serve.notes import TEXT
from tests.tiny_bundle import make_tiny_bundle


async def replica_with(bundle: Path, *, max_queued_notes: int = 64) -> ScorerReplica:
    replica = ScorerReplica(ScorerSettings(None, "cpu", "float32", 1, 4096, max_queued_notes))
    await replica.reconfigure({"bundle": str(bundle)})
    return replica


def break_weights(bundle: Path) -> None:
    weights = bundle / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def note() -> NoteToScore:
    return NoteToScore(ClinicalNote("", TEXT, "34117-2"), None)


def test_a_changed_byte_of_the_weights_refuses_to_load(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    break_weights(bundle)
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        asyncio.run(replica_with(bundle))


def test_a_task_of_the_hospital_that_the_bundle_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tasks.yaml"
    own = BUILT_IN["insurance_denial"].model_dump(mode="json") | {"name": "own_task"}
    path.write_text(yaml.safe_dump({"tasks": [own]}))
    bundle = make_tiny_bundle(tmp_path / "bundle")
    replica = ScorerReplica(ScorerSettings(str(path), "cpu", "float32", 1, 4096, 64))
    with pytest.raises(BundleError, match="own_task"):
        asyncio.run(replica.reconfigure({"bundle": str(bundle)}))
    six = make_tiny_bundle(tmp_path / "six", registry=load_tasks(path))
    asyncio.run(replica.reconfigure({"bundle": str(six)}))


def test_reconfigure_swaps_a_good_bundle_and_keeps_the_old_one_for_a_bad(tmp_path: Path) -> None:
    async def check() -> None:
        first = make_tiny_bundle(tmp_path / "first")
        second = make_tiny_bundle(tmp_path / "second", seed=1, version="0.0.2")
        bad = make_tiny_bundle(tmp_path / "bad", seed=2, version="0.0.3")
        break_weights(bad)
        replica = await replica_with(first)
        in_flight = asyncio.create_task(replica.score([note()] * 20, 10))
        await asyncio.sleep(0)
        await replica.reconfigure({"bundle": str(second)})
        assert all(outcome.problem is None for outcome in await in_flight)
        assert (await replica.describe()).identity.version == "0.0.2"
        sha256 = (await replica.describe()).identity.bundle_sha256
        assert await replica.describe(sha256) is None
        await replica.reconfigure({"bundle": str(bad)})
        assert (await replica.describe()).identity.version == "0.0.2"
        (outcome,) = await replica.score([note()], 10)
        assert outcome.unwrap().model.version == "0.0.2"

    asyncio.run(check())


def test_an_unknown_task_is_a_problem_of_its_note_alone(tmp_path: Path) -> None:
    async def check() -> None:
        replica = await replica_with(make_tiny_bundle(tmp_path / "bundle"))
        good, bad = await replica.score([note(), NoteToScore(note().note, ("nothing",))], 10)
        assert good.problem is None
        assert bad.problem is not None
        assert (bad.problem.status, bad.problem.code) == (404, "not-found")

    asyncio.run(check())


def test_an_explanation_names_the_passages_that_moved_each_risk_most(tmp_path: Path) -> None:
    async def check() -> None:
        replica = await replica_with(make_tiny_bundle(tmp_path / "bundle"))
        batches: list[int] = []
        replica._batcher._on_batch = batches.append
        explanation = (await replica.explain(note(), 60)).unwrap()
        (whole,) = await replica.score([note()], 60)
        assert list(explanation.passages) == list(BUILT_IN)
        for risk in whole.unwrap().risks:
            passages = explanation.passages[risk.task]
            assert 1 <= len(passages) <= 3
            assert [abs(each.effect) for each in passages] == sorted((abs(p.effect) for p in passages), reverse=True)
            first = passages[0]
            without = ClinicalNote("", (TEXT[: first.start] + TEXT[first.end :]).strip(), "34117-2")
            (other,) = await replica.score([NoteToScore(without, (risk.task,))], 60)
            change = risk.adverse_probability - other.unwrap().risks[0].adverse_probability
            assert change == pytest.approx(first.effect, abs=1e-5)
        assert max(batches) <= 4096

    asyncio.run(check())


def test_explanations_wait_in_the_bounded_queue_and_end_at_their_deadline(tmp_path: Path) -> None:
    async def check() -> None:
        replica = await replica_with(make_tiny_bundle(tmp_path / "bundle"), max_queued_notes=30)
        outcomes = await asyncio.gather(*(replica.explain(note(), 60) for _ in range(3)))
        problems = [outcome.problem for outcome in outcomes]
        assert problems[0] is None
        assert [(each.status, each.code) for each in problems[1:] if each] == [(503, "throttled")] * 2
        late = (await replica.explain(note(), 0.0001)).problem
        assert late is not None
        assert (late.status, late.code) == (504, "timeout")
        assert (await replica.explain(note(), 60)).problem is None
        unknown = (await replica.explain(NoteToScore(note().note, ("nothing",)), 60)).problem
        assert unknown is not None
        assert unknown.status == 404

    asyncio.run(check())
