"""What the registry holds, as its log tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lang1.registry import gates
from lang1.registry.channels import Channels
from lang1.registry.log import LogEntry


@dataclass(frozen=True, slots=True)
class RegisteredBundle:
    """A bundle of the registry, as it was when it was added. `channels` are those that it stands in."""

    sha256: str
    name: str
    version: str
    created: str
    """When it was made, ISO 8601."""
    demo: bool
    added: datetime
    added_by: str
    channels: tuple[str, ...]
    gate: str | None
    """Verdict of the latest gate against the present champion."""


def listed(root: Path, channels: Channels, log: Sequence[LogEntry]) -> list[RegisteredBundle]:
    """Every registered bundle, oldest first. Raises RegistryError for a gate report that was changed."""
    first: dict[str, LogEntry] = {}
    for entry in log:
        if entry.action == "add" and entry.bundle is not None:
            first.setdefault(entry.bundle, entry)
    return [_described(root, entry, channels, log) for entry in first.values()]


def _described(root: Path, entry: LogEntry, channels: Channels, log: Sequence[LogEntry]) -> RegisteredBundle:
    assert entry.bundle is not None
    about = entry.evidence
    stands_in = tuple(
        name for name in ("champion", "challenger", "previous") if getattr(channels, name) == entry.bundle
    )
    gate = gates.latest(root, log, entry.bundle, channels.champion)
    return RegisteredBundle(
        entry.bundle, str(about["name"]), str(about["version"]), str(about["created"]), bool(about["demo"]), entry.at,
        entry.actor, stands_in, None if gate is None else str(gate["verdict"]),
    )  # fmt: skip
