"""Following a registry: its channels as they were when last looked at, which is at most `every_s` seconds ago."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final, Protocol

from lang1.registry import Channels, RegistryError
from lang1.registry.bundles import path as bundle_path
from lang1.registry.channels import read_channels
from lang1.registry.log import readable
from lang1.registry.rollout import withdrawn
from serve.errors import SettingsError
from serve.logs import get_logger

# A bundle that was refused is tried again, for a disk or a device may have been the reason.
RETRY_S: Final = 30.0


class Following:
    """Of one process. A registry that cannot be read leaves things as they were last seen."""

    def __init__(self, folder: Path, every_s: float) -> None:
        self.folder = folder
        self.every_s = every_s
        self.now: Channels | None = None
        self.withdrawn: frozenset[str] = frozenset()
        """Bundles that were rolled back: what they said is not shown any more."""
        self._failed = False

    async def look(self) -> Channels | None:
        """The channels now; those last seen while they cannot be read."""
        try:
            seen = await asyncio.to_thread(read_channels, self.folder)
            if self.now is None or seen.revision != self.now.revision:
                self.withdrawn = withdrawn(await asyncio.to_thread(readable, self.folder))
            self.now = seen
            self._failed = False
        except (RegistryError, OSError) as error:
            if not self._failed:
                get_logger().error("the registry cannot be read, all stays as it is: %s", type(error).__name__)
            self._failed = True
            _count_failure()
        return self.now


class Swaps(Protocol):
    """What holds one bundle and can take another."""

    @property
    def loaded_sha256(self) -> str | None: ...

    async def swap(self, bundle: Path, sha256: str | None = None) -> bool: ...


class ChampionFollower:
    """Keeps a replica at the registry's champion."""

    def __init__(self, following: Following, replica: Swaps) -> None:
        self._following = following
        self._replica = replica
        self._refused: str | None = None
        self._retry_at = 0.0

    async def begin(self) -> None:
        """Load the champion. Raises RegistryError, SettingsError without a champion, and what loading raises."""
        folder = self._following.folder
        champion = (await asyncio.to_thread(read_channels, folder)).champion
        if champion is None:
            raise SettingsError(f"registry: {folder} has no champion; set one with `lang1 registry champion`")
        if champion != self._replica.loaded_sha256:
            await self._replica.swap(bundle_path(folder, champion), champion)

    async def follow(self) -> None:
        """Look once, and take the champion that is there."""
        channels = await self._following.look()
        wanted = None if channels is None else channels.champion
        if wanted is None or wanted == self._replica.loaded_sha256:
            self._refused = None
        elif wanted != self._refused or time.monotonic() >= self._retry_at:
            swapped = await self._replica.swap(bundle_path(self._following.folder, wanted), wanted)
            self._refused = None if swapped else wanted
            self._retry_at = time.monotonic() + RETRY_S

    async def keep_following(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._following.every_s)
            try:
                await self.follow()
            except Exception as error:
                get_logger().error("following the registry failed: %s", type(error).__name__)


def _count_failure() -> None:
    from monitoring import metrics

    metrics.registry_failures_total.inc()
