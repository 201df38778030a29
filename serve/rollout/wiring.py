"""The deployments of a rollout, and the arms of a process that answers notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve.errors import SettingsError
from serve.rollout.arms import Arms
from serve.rollout.client import ChallengerClient
from serve.rollout.following import Following
from serve.rollout.tally import Tally
from serve.settings import Settings


def replicas_of(settings: Settings) -> int:
    """How many processes the challenger has."""
    return settings.challenger_replicas or settings.scorer_replicas


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


def check_registry(settings: Settings) -> None:
    """Raise SettingsError where the registry cannot be opened or has no champion, before anything is started."""
    from lang1.registry import Registry, RegistryError

    folder = settings.resolved_registry
    if folder is None:
        return
    try:
        champion = Registry.open(folder).channels().champion
    except RegistryError as error:
        raise SettingsError(f"registry: {error}") from None
    if champion is None:
        raise SettingsError(f"registry: {folder} has no champion; set one with `lang1 registry champion`")
