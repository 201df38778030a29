from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lang1.registry import NotRegisteredError, Registry, RegistryError, RolloutRefusedError, rollout

Bundles = tuple[Path, Path, Path]
WHO: dict[str, Any] = {"actor": "ana", "reason": "for the test"}


@pytest.fixture
def pair(registry: Registry, plain_bundles: Bundles) -> tuple[str, str]:
    champion, challenger = (registry.add(each, **WHO) for each in plain_bundles[:2])
    registry.set_champion(champion, **WHO)
    return champion, challenger


def _gate(registry: Registry, sha256: str, verdict: str, *reasons: str) -> None:
    report = {"verdict": verdict, "reasons": list(reasons), "champion": registry.channels().champion}
    registry.record_gate(sha256, report, actor="gate")


def _to_canary(registry: Registry, challenger: str) -> None:
    rollout.start_shadow(registry, challenger, **WHO, force=True)
    rollout.approve(registry, challenger, **WHO)
    rollout.start_canary(registry, **WHO)


def _to_promotion(registry: Registry, challenger: str) -> None:
    _to_canary(registry, challenger)
    for _ in range(3):
        rollout.advance(registry, **WHO)
    rollout.promote(registry, **WHO)


def test_the_whole_way_and_back(registry: Registry, pair: tuple[str, str]) -> None:
    champion, challenger = pair
    _gate(registry, challenger, "pass")
    shadow = rollout.start_shadow(registry, challenger, **WHO)
    assert (shadow.champion, shadow.challenger, shadow.stage, shadow.share) == (champion, challenger, "shadow", 0)
    assert rollout.start_shadow(registry, challenger, **WHO) == shadow
    rollout.approve(registry, challenger, actor="dr. b", reason="looks right")
    assert rollout.start_canary(registry, **WHO).share == 5
    assert [rollout.advance(registry, **WHO).share for _ in range(3)] == [25, 50, 100]
    assert registry.channels().rollout_id == shadow.rollout_id
    promoted = rollout.promote(registry, **WHO)
    assert (promoted.champion, promoted.previous, promoted.stage, promoted.share) == (challenger, champion, None, 0)
    restored = rollout.rollback(registry, actor="ana", reason="complaints")
    assert (restored.champion, restored.previous) == (champion, None)
    registry.verify_log()
    assert [entry.action for entry in registry.log()[4:]] == [
        "gate-pass", "shadow", "approve", "canary", "advance", "advance", "advance", "promote", "rollback",
    ]  # fmt: skip
    canary = next(entry for entry in registry.log() if entry.action == "canary")
    assert canary.evidence == {"share": 5, "approved_by": "dr. b"}


@pytest.mark.parametrize(("verdict", "reason"), [("fail", "AUROC fell by 0.05"), ("hold", "12 events, 100 needed")])
def test_a_challenger_that_the_gate_did_not_pass_is_refused_with_the_reason(
    registry: Registry, pair: tuple[str, str], verdict: str, reason: str
) -> None:
    _gate(registry, pair[1], verdict, reason)
    with pytest.raises(RolloutRefusedError, match=reason):
        rollout.start_shadow(registry, pair[1], **WHO)
    last = registry.log()[-1]
    assert (last.action, last.bundle, last.actor) == ("shadow-refused", pair[1], "ana")
    assert reason in last.reason
    assert registry.channels().stage is None
    forced = rollout.start_shadow(registry, pair[1], **WHO, force=True)
    assert forced.stage == "shadow"
    assert registry.log()[-1].evidence == {"forced": True, "gate": verdict}


def test_without_a_gate_there_is_no_shadow(registry: Registry, pair: tuple[str, str]) -> None:
    with pytest.raises(RolloutRefusedError, match="run the gate"):
        rollout.start_shadow(registry, pair[1], **WHO)


def test_a_bundle_that_was_never_added_cannot_be_a_challenger(registry: Registry, pair: tuple[str, str]) -> None:
    with pytest.raises(NotRegisteredError):
        rollout.start_shadow(registry, "0" * 64, **WHO, force=True)
    with pytest.raises(NotRegisteredError):
        rollout.approve(registry, "0" * 64, **WHO)


def test_a_challenger_that_was_tampered_with_is_refused(registry: Registry, pair: tuple[str, str]) -> None:
    weights = registry.path(pair[1]) / "model.safetensors"
    weights.chmod(0o600)
    weights.write_text("other weights")
    with pytest.raises(RegistryError, match="changed after the bundle was sealed"):
        rollout.start_shadow(registry, pair[1], **WHO, force=True)
    assert registry.log()[-1].action == "shadow-refused"
    assert "model.safetensors" in registry.log()[-1].reason


def test_a_canary_needs_an_approval(registry: Registry, pair: tuple[str, str]) -> None:
    rollout.start_shadow(registry, pair[1], **WHO, force=True)
    with pytest.raises(RolloutRefusedError, match="approved"):
        rollout.start_canary(registry, **WHO)
    rollout.approve(registry, pair[1], **WHO)
    assert rollout.start_canary(registry, **WHO).share == 5


def test_an_approval_ends_with_the_rollback(registry: Registry, pair: tuple[str, str]) -> None:
    _to_canary(registry, pair[1])
    rollout.rollback(registry, **WHO)
    assert rollout.approved_by(registry, pair[1]) is None
    rollout.start_shadow(registry, pair[1], **WHO, force=True)
    with pytest.raises(RolloutRefusedError, match="approved"):
        rollout.start_canary(registry, **WHO)


def test_an_approval_is_against_one_champion(registry: Registry, pair: tuple[str, str], plain_bundles: Bundles) -> None:
    rollout.approve(registry, pair[1], **WHO)
    registry.set_champion(registry.add(plain_bundles[2], **WHO), **WHO)
    assert rollout.approved_by(registry, pair[1]) is None


def test_a_registry_may_do_without_approval(tmp_path: Path, plain_bundles: Bundles) -> None:
    registry = Registry.create(tmp_path / "free", require_approval=False, canary_steps=[10, 100])
    champion, challenger = (registry.add(each, **WHO) for each in plain_bundles[:2])
    registry.set_champion(champion, **WHO)
    rollout.start_shadow(registry, challenger, **WHO, force=True)
    assert rollout.start_canary(registry, **WHO).share == 10
    assert rollout.advance(registry, **WHO).share == 100
    with pytest.raises(RegistryError, match="rise"):
        Registry.create(tmp_path / "wrong", canary_steps=[50, 10])


def test_moves_that_the_stage_does_not_allow_are_refused_and_logged(
    registry: Registry, pair: tuple[str, str], plain_bundles: Bundles
) -> None:
    champion, challenger = pair
    moves: list[tuple[Any, tuple[Any, ...], str]] = [
        (rollout.start_canary, (), "canary-refused"),
        (rollout.advance, (), "advance-refused"),
        (rollout.promote, (), "promote-refused"),
        (rollout.rollback, (), "rollback-refused"),
        (rollout.approve, (champion,), "approve-refused"),
        (rollout.start_shadow, (champion,), "shadow-refused"),
    ]
    before = registry.channels()
    for move, arguments, logged in moves:
        with pytest.raises(RolloutRefusedError):
            move(registry, *arguments, **WHO)
        assert registry.log()[-1].action == logged
    assert registry.channels() == before
    _to_canary(registry, challenger)
    with pytest.raises(RolloutRefusedError, match="100%"):
        rollout.promote(registry, **WHO)
    with pytest.raises(RolloutRefusedError, match="under way"):
        rollout.start_shadow(registry, registry.add(plain_bundles[2], **WHO), **WHO, force=True)
    with pytest.raises(RolloutRefusedError, match="under way"):
        registry.set_champion(challenger, **WHO)
    for _ in range(3):
        rollout.advance(registry, **WHO)
    with pytest.raises(RolloutRefusedError, match="promote it"):
        rollout.advance(registry, **WHO)


def test_without_a_champion_there_is_no_rollout(registry: Registry, plain_bundles: Bundles) -> None:
    sha256 = registry.add(plain_bundles[0], **WHO)
    with pytest.raises(RolloutRefusedError, match="no champion"):
        rollout.start_shadow(registry, sha256, **WHO, force=True)


def test_an_automatic_rollback_ends_the_rollout_that_it_judged_and_nothing_else(
    registry: Registry, pair: tuple[str, str]
) -> None:
    champion, challenger = pair
    _to_canary(registry, challenger)
    judged = registry.channels().rollout_id
    with pytest.raises(RolloutRefusedError, match="over"):
        rollout.rollback(registry, actor="guard", reason="shift", automatic=True, rollout_id="0" * 32)
    rollout.rollback(registry, actor="guard", reason="shift", automatic=True, rollout_id=judged)
    assert registry.log()[-1].action == "rollback-automatic"
    assert registry.channels().champion == champion
    _to_promotion(registry, challenger)
    with pytest.raises(RolloutRefusedError, match="person"):
        rollout.rollback(registry, actor="guard", reason="shift", automatic=True)
    assert registry.channels().champion == challenger


def test_a_rollback_never_brings_back_what_was_taken_away(registry: Registry, pair: tuple[str, str]) -> None:
    _to_promotion(registry, pair[1])
    rollout.rollback(registry, **WHO)
    with pytest.raises(RolloutRefusedError, match="no promotion to undo"):
        rollout.rollback(registry, **WHO)
    assert registry.channels().champion == pair[0]


def test_a_rollback_to_a_damaged_bundle_is_refused(registry: Registry, pair: tuple[str, str]) -> None:
    _to_promotion(registry, pair[1])
    (registry.path(pair[0]) / "config.json").unlink()
    with pytest.raises(RegistryError, match="cannot be read"):
        rollout.rollback(registry, **WHO)
    assert registry.channels().champion == pair[1]
    assert registry.log()[-1].action == "rollback-refused"


def test_a_damaged_log_does_not_stand_in_a_rollbacks_way(registry: Registry, pair: tuple[str, str]) -> None:
    _to_promotion(registry, pair[1])
    path = registry.folder / "log.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], "not a line\n", *lines[4:]]))
    assert rollout.rollback(registry, **WHO).champion == pair[0]
    with pytest.raises(RegistryError, match="line 5"):
        registry.verify_log()
