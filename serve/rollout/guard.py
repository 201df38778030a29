"""The guard: one replica that judges the rollout every few seconds, and ends it when a challenger is bad.

Its memory is the database's shadow scores and what the other processes tell it. A guard that restarts reads the scores
anew; of failures and slowness it then knows what came since.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lang1.registry import Channels, Registry, RegistryError, rollout
from serve.errors import ServiceError
from serve.logs import get_logger
from serve.metrics_folder import use_metrics_folder
from serve.ray_environment import check_ray_environment
from serve.rollout.client import ChallengerClient
from serve.rollout.following import Following
from serve.rollout.judging import Judgement, Pair
from serve.rollout.shadow_scores import read_pairs
from serve.rollout.tally import Tally
from serve.settings import Settings
from serve.store.core import Store

ACTOR = "guard"


class Guard:
    """The judging, without Ray."""

    def __init__(self, settings: Settings, challenger: ChallengerClient, reader: Store) -> None:
        assert settings.resolved_registry is not None
        self._settings = settings
        self._challenger = challenger
        self._reader = reader
        self._following = Following(settings.resolved_registry, settings.rollout_follow_s)
        self._rollout_id: str | None = None
        self._judgement: Judgement | None = None
        self._total: Tally | None = None
        self._seen: set[tuple[str, str]] = set()
        self._after: tuple[int, str] | None = None
        self._waiting: list[Tally] = []
        self._damage: str | None = None
        self._shown: set[str] = set()

    def report(self, tally: Tally) -> None:
        """Take what a process counted."""
        self._waiting.append(tally)

    def summary(self) -> dict[str, Any]:
        """Where the rollout stands, for people; empty without one."""
        if self._judgement is None or self._total is None:
            return {}
        total = self._total
        return {
            "rollout_id": self._rollout_id,
            "challenger": {"tried": total.tried, "failed": dict(total.failed), "away": total.away},
            "canary": {"answered": total.canary, "fallbacks": dict(total.fallbacks)},
            "shadow": dict(total.shadow),
            "signals": [asdict(each) for each in self._judgement.signals()],
        }

    async def look(self) -> Channels | None:
        """Judge once. Raises ServiceError when the database is away, RegistryError when it cannot roll back."""
        channels = await self._following.look()
        waiting, self._waiting = self._waiting, []
        if channels is None or channels.rollout_id is None or channels.challenger is None:
            self._rollout_id = self._judgement = self._total = None
        else:
            if channels.rollout_id != self._rollout_id:
                await self._begin(channels)
            assert self._judgement is not None
            assert self._total is not None
            # Together: that one process met nobody while the others did is no absence.
            told = Tally(channels.rollout_id)
            for tally in waiting:
                if tally.rollout_id == self._rollout_id:
                    told.add(tally)
            if not told.is_empty:
                self._judgement.take(told, time.monotonic())
                self._total.add(told)
            await self._compare(channels.rollout_id)
            if await self._end(channels):
                channels = await self._following.look()
        self._publish(channels)
        return channels

    async def _begin(self, channels: Channels) -> None:
        self._rollout_id = channels.rollout_id
        self._total = Tally(str(channels.rollout_id))
        self._seen, self._after, self._damage = set(), None, None
        try:
            tasks, expected = await asyncio.to_thread(_expectations, self._following, str(channels.challenger))
        except RegistryError as error:
            tasks, expected, self._damage = (), {}, str(error)
        self._judgement = Judgement(self._settings, tasks, expected)

    async def _compare(self, rollout_id: str) -> None:
        assert self._judgement is not None
        more = True
        while more:
            page = await asyncio.to_thread(self._reader.read, read_pairs, rollout_id, self._after)
            fresh = []
            for row in page.rows:
                # One note an encounter: those that follow would say the same again.
                if (row.unit, row.task) not in self._seen:
                    self._seen.add((row.unit, row.task))
                    fresh.append(Pair(row.task, row.challenger, row.champion))
            self._judgement.compare(fresh)
            self._after, more = page.after, page.more

    async def _end(self, channels: Channels) -> bool:
        """Roll back where the evidence, or a bundle that cannot be loaded, asks for it."""
        assert self._judgement is not None
        verdict = self._judgement.verdict()
        evidence: dict[str, Any] = {}
        if verdict is not None:
            reason, evidence = verdict[0], asdict(verdict[1])
        else:
            state = await self._challenger.state()
            refused = state is not None and state.refused_sha256 == channels.challenger
            damage = self._damage or (state.refused if refused and state is not None else None)
            if damage is None:
                return False
            reason = f"the challenger cannot be loaded: {damage}"[:2000]
        get_logger().error("the guard ends the rollout: %s", reason)
        await asyncio.to_thread(_roll_back, self._following, channels, reason, evidence)
        _count_rollback()
        return True

    def _publish(self, channels: Channels | None) -> None:
        from monitoring import metrics

        stage = "none" if channels is None or channels.stage is None else channels.stage
        for each in ("none", "shadow", "canary"):
            metrics.rollout_stage.labels(each).set(each == stage)
        metrics.rollout_share.set(0 if channels is None else channels.share)
        present = {} if self._judgement is None else {each.name: each.evidence for each in self._judgement.signals()}
        self._shown |= present.keys()
        for name in self._shown:
            metrics.guard_evidence.labels(name).set(present.get(name, 0.0) if stage != "none" else 0.0)
        metrics.guard_last_look.set(time.time())


def _roll_back(following: Following, channels: Channels, reason: str, evidence: dict[str, Any]) -> None:
    registry = Registry.open(following.folder)
    rollout.rollback(
        registry, actor=ACTOR, reason=reason, automatic=True, rollout_id=channels.rollout_id, evidence=evidence
    )


def _expectations(following: Following, challenger: str) -> tuple[tuple[str, ...], dict[str, float]]:
    """The challenger's tasks, and the shift that the gate found. Raises RegistryError for a bundle that was changed."""
    registry = Registry.open(following.folder)
    return tuple(registry.bundle(challenger).registry), _expected(registry.latest_gate(challenger))


def _expected(gate: Mapping[str, Any] | None) -> dict[str, float]:
    """Mean logit differences that the gate measured between the two, where it tells of them."""
    told = (gate or {}).get("expected_shift")
    if not isinstance(told, Mapping):
        return {}
    return {
        str(task): float(shift)
        for task, shift in told.items()
        if isinstance(shift, int | float) and math.isfinite(shift)
    }


def _count_rollback() -> None:
    from monitoring import metrics

    metrics.rollbacks_total.inc()


class GuardReplica:
    """Ray Serve deployment. Looks every `guard_every_s`."""

    def __init__(self, settings: Settings, challenger: Any) -> None:
        check_ray_environment()
        use_metrics_folder()
        reader = Store(settings.resolved_database_url, read_only=True)
        self._every_s = settings.guard_every_s
        self._guard = Guard(settings, ChallengerClient(challenger, 1), reader)
        self._loop = asyncio.create_task(self._keep_looking())

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self._guard.look()
            except (ServiceError, RegistryError) as error:
                get_logger().error("the guard waits: %s", error)
            except Exception as error:
                get_logger().error("the guard failed: %s", type(error).__name__)
            await asyncio.sleep(self._every_s)

    async def report(self, tally: Tally) -> None:
        """Take what a process counted."""
        self._guard.report(tally)

    async def summary(self) -> dict[str, Any]:
        """Where the rollout stands; empty without one."""
        return self._guard.summary()

    async def check_health(self) -> None:
        """Raises RuntimeError when the loop has ended."""
        if self._loop.done():
            raise RuntimeError("the guard's loop ended")

    def __del__(self) -> None:
        self._loop.cancel()
