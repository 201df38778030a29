"""The moves of a rollout: shadow, approval, canary, promotion, rollback. Each is logged, also one that is refused.

start_shadow ─▶ approve ─▶ start_canary (5) ─▶ advance (25, 50, 100) ─▶ promote
                    rollback: from every stage, and of the last promotion
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

from lang1.registry.channels import Channels
from lang1.registry.errors import RegistryError, RolloutRefusedError
from lang1.registry.log import LogEntry, check_words
from lang1.registry.registry import Registry

_NO_ROLLOUT: Final[Mapping[str, Any]] = {"challenger": None, "stage": None, "share": 0, "rollout_id": None}
_Checked = Callable[[Channels], tuple[dict[str, Any], str | None, dict[str, Any]]]
"""From the channels to the changes, the bundle in question and evidence; raises RolloutRefusedError."""


def start_shadow(registry: Registry, sha256: str, *, actor: str, reason: str, force: bool = False) -> Channels:
    """Let a bundle score in the shadow of the champion. Needs a passed gate against it, unless `force`.

    Again with the bundle that is in shadow: no change. Raises RolloutRefusedError, NotRegisteredError, RegistryError.
    """
    registry.path(sha256)

    def check(now: Channels) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
        if now.champion is None:
            raise RolloutRefusedError("there is no champion to compare with; set one with `lang1 registry champion`")
        if now.champion == sha256:
            raise RolloutRefusedError("this bundle is the champion; a challenger is another bundle")
        if now.in_rollout:
            raise RolloutRefusedError("another rollout is under way; promote it or roll it back first")
        gate = registry.latest_gate(sha256)
        if not force:
            if gate is None:
                raise RolloutRefusedError("no gate compared this bundle with the present champion; run the gate first")
            if gate["verdict"] != "pass":
                reasons = "; ".join(gate["reasons"])
                raise RolloutRefusedError(f"the gate did not pass it: {gate['verdict']}: {reasons}"[:2000])
        changes = {"challenger": sha256, "stage": "shadow", "share": 0, "rollout_id": uuid.uuid4().hex}
        return changes, sha256, {"forced": force, "gate": None if gate is None else gate["verdict"]}

    now = registry.channels()
    if now.stage == "shadow" and now.challenger == sha256:
        return now
    return _move(registry, "shadow", check, actor, reason, bundle=sha256, comes=lambda now: sha256)


def approve(registry: Registry, sha256: str, *, actor: str, reason: str) -> None:
    """Record a person's approval of a bundle, good against the present champion until the bundle is rolled back.

    Raises NotRegisteredError, RolloutRefusedError.
    """
    check_words(actor, reason)
    registry.path(sha256)
    with registry.writing() as now:
        if now.champion in (None, sha256):
            _refuse(
                registry,
                "approve",
                RolloutRefusedError("an approval is of a challenger against a champion"),
                actor,
                sha256,
            )
        registry.log_line("approve", actor=actor, reason=reason, bundle=sha256, evidence={"champion": now.champion})


def approved_by(registry: Registry, sha256: str) -> str | None:
    """Who approved a bundle against the present champion, last; None when nobody did, or it was rolled back since."""
    champion = registry.channels().champion
    for entry in reversed(registry.log()):
        if entry.bundle == sha256:
            if entry.action == "approve" and entry.evidence.get("champion") == champion:
                return entry.actor
            if entry.action in ("rollback", "rollback-automatic"):
                return None
    return None


def withdrawn(log: Iterable[LogEntry]) -> frozenset[str]:
    """Bundles that were rolled back and have not come back since."""
    found: set[str] = set()
    for entry in log:
        if entry.bundle is not None and entry.action in ("rollback", "rollback-automatic"):
            found.add(entry.bundle)
        elif entry.bundle is not None and entry.action in ("shadow", "champion", "promote"):
            found.discard(entry.bundle)
    return frozenset(found)


def start_canary(registry: Registry, *, actor: str, reason: str) -> Channels:
    """Let the challenger answer its first share of encounters. Needs the approval, where the registry asks for it.

    Raises RolloutRefusedError.
    """

    def check(now: Channels) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
        if now.stage != "shadow" or now.challenger is None:
            raise RolloutRefusedError(f"a canary begins from shadow; now: {_state(now)}")
        approved = approved_by(registry, now.challenger)
        if registry.description.require_approval and approved is None:
            raise RolloutRefusedError("no person has approved this challenger; see `lang1 rollout approve`")
        share = registry.description.canary_steps[0]
        return {"stage": "canary", "share": share}, now.challenger, {"share": share, "approved_by": approved}

    return _move(registry, "canary", check, actor, reason)


def advance(registry: Registry, *, actor: str, reason: str) -> Channels:
    """The canary's next share. Raises RolloutRefusedError."""

    def check(now: Channels) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
        if now.stage != "canary":
            raise RolloutRefusedError(f"only a canary advances; now: {_state(now)}")
        share = next((step for step in registry.description.canary_steps if step > now.share), None)
        if share is None:
            raise RolloutRefusedError("the canary is at 100%; promote it")
        return {"share": share}, now.challenger, {"share": share, "from": now.share}

    return _move(registry, "advance", check, actor, reason)


def promote(registry: Registry, *, actor: str, reason: str) -> Channels:
    """Make the challenger of a whole canary the champion. Raises RolloutRefusedError, RegistryError."""

    def check(now: Channels) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
        if now.stage != "canary" or now.share != 100 or now.challenger is None:
            raise RolloutRefusedError(f"a canary is promoted from 100%; now: {_state(now)}")
        return {**_NO_ROLLOUT, "champion": now.challenger, "previous": now.champion}, now.challenger, {}

    return _move(registry, "promote", check, actor, reason, comes=lambda now: now.challenger)


def rollback(
    registry: Registry, *, actor: str, reason: str, automatic: bool = False, rollout_id: str | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> Channels:  # fmt: skip
    """End the rollout, the champion answering all; without one, undo the last promotion.

    `automatic` ends rollouts alone, and `rollout_id` only that one: a judgement must not meet another rollout than it
    judged. Raises RolloutRefusedError, RegistryError.
    """

    def check(now: Channels) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
        if rollout_id is not None and now.rollout_id != rollout_id:
            raise RolloutRefusedError("the rollout that was judged is over")
        if now.in_rollout:
            return dict(_NO_ROLLOUT), now.challenger, {**(evidence or {}), "stage": now.stage, "share": now.share}
        if automatic:
            raise RolloutRefusedError("there is no rollout to end; a promotion is undone by a person")
        if now.previous is None:
            raise RolloutRefusedError("there is no rollout, and no promotion to undo")
        # Not the other way round: a second rollback must not bring the bundle back that was just taken away.
        return {"champion": now.previous, "previous": None}, now.champion, {"restored": now.previous}

    action = "rollback-automatic" if automatic else "rollback"
    return _move(registry, action, check, actor, reason, comes=lambda now: None if now.in_rollout else now.previous)


def _move(
    registry: Registry, action: str, check: _Checked, actor: str, reason: str, *, bundle: str | None = None,
    comes: Callable[[Channels], str | None] = lambda now: None,
) -> Channels:  # fmt: skip
    """`comes` names the bundle that the move relies on: hashed before the lock is taken, for that may take long."""
    check_words(actor, reason)
    checked = comes(registry.channels())
    damage = _damage(registry, checked)
    with registry.writing() as now:
        try:
            changes, concerned, evidence = check(now)
            if comes(now) != checked:
                raise RolloutRefusedError("the channels were moved at the same time; look, and try again")
            if damage is not None:
                raise damage
        except RegistryError as error:
            _refuse(registry, action, error, actor, bundle or now.challenger)
        return registry.moved(
            now, changes, action=action, actor=actor, reason=reason, bundle=concerned, evidence=evidence
        )


def _damage(registry: Registry, sha256: str | None) -> RegistryError | None:
    try:
        if sha256 is not None:
            registry.bundle(sha256)
    except RegistryError as error:
        return error
    return None


def _refuse(registry: Registry, action: str, error: RegistryError, actor: str, bundle: str | None) -> NoReturn:
    registry.log_line(f"{action}-refused", actor=actor, reason=str(error)[:2000], bundle=bundle)
    raise error


def _state(now: Channels) -> str:
    return "no rollout" if now.stage is None else f"{now.stage} at {now.share}%"
