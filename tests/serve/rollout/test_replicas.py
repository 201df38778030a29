"""Scorer and challenger follow the registry with real bundles, without Ray."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lang1.errors import BundleError
from lang1.notes import ClinicalNote
from lang1.registry import Registry, RegistryError, rollout
from serve.errors import SettingsError
from serve.rollout import following
from serve.rollout.challenger import ChallengerReplica
from serve.scorer import NoteToScore, ScorerReplica, ScorerSettings
from tests.serve.notes import TEXT
from tests.serve.rollout.parts import WHO
from tests.serve.rollout.test_canary import in_loop
from tests.tiny_bundle import make_tiny_bundle

SETTINGS = ScorerSettings(None, "cpu", "float32", 1, 4096, 64)
NOTE = NoteToScore(ClinicalNote("", TEXT, "34117-2"), None)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    return (
        make_tiny_bundle(folder / "one", version="0.0.1"),
        make_tiny_bundle(folder / "two", seed=1, version="0.0.2"),
    )


@pytest.fixture
def pair(tmp_path: Path, tiny: tuple[Path, Path]) -> tuple[Registry, str, str]:
    registry = Registry.create(tmp_path / "registry")
    one, two = (registry.add(each, **WHO) for each in tiny)
    registry.set_champion(one, **WHO)
    return registry, one, two


def damage(registry: Registry, sha256: str) -> None:
    weights = registry.path(sha256) / "model.safetensors"
    weights.chmod(0o600)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


async def until_loaded(replica: ScorerReplica, sha256: str) -> None:
    async with asyncio.timeout(20):
        while replica.loaded_sha256 != sha256:
            await asyncio.sleep(0.01)  # polls with a limit


def config(registry: Registry) -> dict[str, object]:
    return {"registry": str(registry.folder), "follow_s": 0.05}


def test_a_scorer_follows_the_champion_and_back_with_the_same_scores(pair: tuple[Registry, str, str]) -> None:
    async def body() -> None:
        registry, one, two = pair
        replica = ScorerReplica(SETTINGS)
        await replica.reconfigure(config(registry))
        assert replica.loaded_sha256 == one
        (before,) = await replica.score([NOTE], 10)
        registry.set_champion(two, **WHO)
        await until_loaded(replica, two)
        (other,) = await replica.score([NOTE], 10)
        assert other.unwrap().risks != before.unwrap().risks
        rollout.rollback(registry, **WHO)
        await until_loaded(replica, one)
        (after,) = await replica.score([NOTE], 10)
        assert after.unwrap() == before.unwrap()
        await replica.check_health()
        await replica.reconfigure(None)

    in_loop(body)


def test_a_scorer_keeps_its_champion_when_the_next_is_damaged_and_tries_again(
    pair: tuple[Registry, str, str], tiny: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "RETRY_S", 0.1)

    async def body() -> None:
        registry, one, two = pair
        replica = ScorerReplica(SETTINGS)
        await replica.reconfigure(config(registry))
        registry.set_champion(two, **WHO)
        damage(registry, two)
        await asyncio.sleep(0.3)
        assert replica.loaded_sha256 in {one, two}
        registry.add(tiny[1], **WHO)  # mends it
        await until_loaded(replica, two)
        await replica.reconfigure(None)

    in_loop(body)


def test_a_registry_without_a_champion_or_with_a_damaged_one_refuses_the_start(
    pair: tuple[Registry, str, str], tmp_path: Path
) -> None:
    async def body() -> None:
        registry, one, _ = pair
        empty = Registry.create(tmp_path / "empty")
        with pytest.raises(SettingsError, match="lang1 registry champion"):
            await ScorerReplica(SETTINGS).reconfigure(config(empty))
        with pytest.raises(RegistryError):
            await ScorerReplica(SETTINGS).reconfigure({"registry": str(tmp_path / "nothing"), "follow_s": 1})
        damage(registry, one)
        with pytest.raises(BundleError, match=r"model\.safetensors"):
            await ScorerReplica(SETTINGS).reconfigure(config(registry))

    in_loop(body)


def test_a_challenger_is_light_until_there_is_one_and_lets_go_of_it(pair: tuple[Registry, str, str]) -> None:
    async def body() -> None:
        registry, _, two = pair
        replica = ChallengerReplica(SETTINGS, str(registry.folder), 3600)
        await replica.follow()
        (outcome,) = await replica.score([NOTE], 10)
        assert outcome.problem is not None
        assert outcome.problem.code == "not-loaded"
        rollout.start_shadow(registry, two, **WHO, force=True)
        await replica.follow()
        state = await replica.state()
        assert state.loaded is not None
        assert state.loaded.identity.bundle_sha256 == two
        (scored,) = await replica.score([NOTE], 10)
        assert scored.unwrap().model.version == "0.0.2"
        rollout.rollback(registry, **WHO)
        under_way = asyncio.create_task(replica.score([NOTE] * 8, 10))
        await asyncio.sleep(0)
        await replica.follow()
        # What was under way is answered; what comes after is not.
        assert all(each.problem is None for each in await under_way)
        assert (await replica.state()).loaded is None
        await replica.check_health()
        replica._loop.cancel()

    in_loop(body)


def test_a_challenger_says_why_it_refuses_a_bundle(
    pair: tuple[Registry, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        registry, _, two = pair
        rollout.start_shadow(registry, two, **WHO, force=True)
        damage(registry, two)
        replica = ChallengerReplica(SETTINGS, str(registry.folder), 3600)
        await replica.follow()
        state = await replica.state()
        assert state.refused_sha256 == two
        assert "model.safetensors was changed" in str(state.refused)
        replica._loop.cancel()

    in_loop(body)
