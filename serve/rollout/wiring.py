"""The deployments of a rollout, and the arms of a process that answers notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve.rollout.arms import Arms
from serve.rollout.checking import replicas_of
from serve.rollout.client import ChallengerClient
from serve.rollout.following import Following
from serve.rollout.tally import Tally
from serve.settings import Settings


def make_arms(settings: Settings, handles: Sequence[Any]) -> Arms | None:
    """The arms over the handles of challenger and guard; None without a registry. In the running event loop."""
    folder = settings.resolved_registry
    if folder is None:
        return None
    challenger, guard = handles

    async def report(tally: Tally) -> None:
        await guard.report.remote(tally)

    async def summary() -> dict[str, Any]:
        found: dict[str, Any] = await guard.summary.remote()
        return found

    following = Following(folder, settings.rollout_follow_s)
    arms = Arms(settings, following, ChallengerClient(challenger, replicas_of(settings)), report, summary)
    arms.start()
    return arms
