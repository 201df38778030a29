"""The scorer replica without Ray: results as plain data, and bundles that are swapped in or refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lang1.errors import BundleError
from lang1.notes import ClinicalNote
from serve.scorer import NoteToScore, ScorerReplica, ScorerSettings
from tests.serve.notes import TEXT
from tests.tiny_bundle import make_tiny_bundle


def settings(bundle: Path) -> ScorerSettings:
    return ScorerSettings(str(bundle), None, "cpu", "float32", 1, 4096, 64)


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
        ScorerReplica(settings(bundle))


def test_reconfigure_swaps_a_good_bundle_and_keeps_the_old_one_for_a_bad(tmp_path: Path) -> None:
    async def check() -> None:
        first = make_tiny_bundle(tmp_path / "first")
        second = make_tiny_bundle(tmp_path / "second", seed=1, version="0.0.2")
        bad = make_tiny_bundle(tmp_path / "bad", seed=2, version="0.0.3")
        break_weights(bad)
        replica = ScorerReplica(settings(first))
        in_flight = asyncio.create_task(replica.score([note()] * 20, 10))
        await asyncio.sleep(0)
        await replica.reconfigure({"bundle": str(second)})
        assert all(outcome.problem is None for outcome in await in_flight)
        assert (await replica.describe()).identity.version == "0.0.2"
        await replica.reconfigure({"bundle": str(bad)})
        assert (await replica.describe()).identity.version == "0.0.2"
        (outcome,) = await replica.score([note()], 10)
        assert outcome.unwrap().model.version == "0.0.2"

    asyncio.run(check())


def test_an_unknown_task_is_a_problem_of_its_note_alone(tmp_path: Path) -> None:
    async def check() -> None:
        replica = ScorerReplica(settings(make_tiny_bundle(tmp_path / "bundle")))
        good, bad = await replica.score([note(), NoteToScore(note().note, ("nothing",))], 10)
        assert good.problem is None
        assert bad.problem is not None
        assert (bad.problem.status, bad.problem.code) == (404, "not-found")

    asyncio.run(check())
