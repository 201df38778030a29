"""A registry's folder: bundles, channels, gate reports, log. Every change is one locked, logged, atomic step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from lang1.bundle import Bundle
from lang1.errors import BundleError
from lang1.registry import bundles, gates, listing
from lang1.registry import log as logs
from lang1.registry.channels import CHANNELS_FILE, Channels, read_channels
from lang1.registry.description import (
    CANARY_STEPS,
    DESCRIPTION_FILE,
    Description,
    check_rights,
    read_description,
    write_description,
)
from lang1.registry.errors import NotRegisteredError, RegistryError, RolloutRefusedError
from lang1.registry.files import folder_mode, locked, make_folder, replace_bytes
from lang1.registry.listing import RegisteredBundle
from lang1.registry.log import LogEntry

LOCK_FILE: Final = "lock"
_OWN_NAMES: Final = frozenset({DESCRIPTION_FILE, LOCK_FILE, CHANNELS_FILE, logs.LOG_FILE, bundles.FOLDER, gates.FOLDER})


class Registry:
    """One registry. Methods may be called from any thread or process; those that change it take its lock."""

    def __init__(self, folder: Path, description: Description) -> None:
        self.folder = folder
        self.description = description

    @classmethod
    def create(
        cls, folder: Path, *, require_approval: bool = True, canary_steps: Sequence[int] = CANARY_STEPS,
        actor: str = "init",
    ) -> Registry:  # fmt: skip
        """Make a registry at `folder`, which must be new, empty, or what a crash left of this. Raises RegistryError."""
        try:
            description = Description(require_approval=require_approval, canary_steps=tuple(canary_steps))
        except ValidationError as error:
            raise RegistryError(str(error.errors(include_url=False)[0]["msg"])) from None
        folder = folder.expanduser().absolute()
        try:
            if not folder.exists():
                folder.mkdir(parents=True, mode=0o700)
            if (folder / DESCRIPTION_FILE).exists():
                raise RegistryError(f"{folder} is a registry already; use it, or give another folder")
            if foreign := sorted({each.name.removeprefix(".").removesuffix(".new") for each in folder.iterdir()}
                                 - _OWN_NAMES):  # fmt: skip
                raise RegistryError(f"{folder} holds {foreign[0]}; give a new or an empty folder")
            check_rights(folder)
            (folder / LOCK_FILE).touch()
            (folder / LOCK_FILE).chmod(folder_mode(folder) & 0o666)
            with locked(folder / LOCK_FILE):
                for name in (bundles.FOLDER, gates.FOLDER):
                    make_folder(folder / name, folder)
                if not logs.read_log(folder):
                    channels = Channels(revision=0, since=datetime.now(UTC))
                    logs.append(folder, actor=actor, action="create", reason="a new registry", channels=channels)
                _settle_channels(folder)
                # Last: a folder without it is no registry yet.
                write_description(folder, description)
        except OSError as error:
            raise RegistryError(f"{folder}: cannot be made ({type(error).__name__})") from None
        return cls(folder, description)

    @classmethod
    def open(cls, folder: Path) -> Registry:
        """The registry at `folder`; what a crash left half done is finished or cleaned away. Raises RegistryError."""
        folder = folder.expanduser().absolute()
        description = read_description(folder)
        registry = cls(folder, description)
        if os.access(folder, os.W_OK):
            try:
                # Not waited for: whoever has the lock settles first himself.
                with registry.writing(timeout_s=0):
                    bundles.clean(folder)
            except RegistryError:
                pass
        registry.channels()
        return registry

    @contextmanager
    def writing(self, timeout_s: float = 30.0) -> Iterator[Channels]:
        """Hold the lock, with what a crash left half done finished; the channels as they are. Raises RegistryError."""
        try:
            with locked(self.folder / LOCK_FILE, timeout_s):
                _settle_channels(self.folder)
                yield read_channels(self.folder)
        except OSError as error:
            raise RegistryError(
                f"{self.folder}: cannot be written ({type(error).__name__}); give this user the right"
            ) from None

    def add(self, bundle: Path, *, actor: str, reason: str, evidence: Mapping[str, Any] | None = None) -> str:
        """Copy a verified bundle in; its sha256. Again: no change. A bundle that is not whole is refused, and logged.

        Raises RegistryError.
        """
        logs.check_words(actor, reason)
        try:
            with bundles.staged(self.folder, bundle, self.writing) as staging:
                with self.writing():
                    bundles.take_in(self.folder, staging)
                    if all(entry.bundle != staging.sha256 for entry in self._additions()):
                        manifest = staging.manifest
                        about = {"name": manifest.name, "version": manifest.version, "demo": manifest.demo,
                                 "created": manifest.created.isoformat()}  # fmt: skip
                        self.log_line("add", actor=actor, reason=reason, bundle=staging.sha256,
                                      evidence={**(evidence or {}), **about})  # fmt: skip
                return staging.sha256
        except BundleError as error:
            self.note("add-refused", actor=actor, reason=str(error)[:2000])
            raise RegistryError(f"refused: {error}") from None

    def path(self, sha256: str) -> Path:
        """The folder of a registered bundle. Raises NotRegisteredError."""
        if all(entry.bundle != sha256 for entry in self._additions()):
            raise NotRegisteredError(f"no bundle {sha256[:64]!r} in the registry; see `lang1 registry list`")
        return bundles.path(self.folder, sha256)

    def bundle(self, sha256: str) -> Bundle:
        """A registered bundle, every file's hash checked. Raises RegistryError when it is not what was added."""
        return bundles.verified(self.path(sha256), sha256)

    def find(self, beginning: str) -> str:
        """The one registered hash that begins so (8 digits or more). Raises NotRegisteredError."""
        found = {entry.bundle for entry in self._additions() if entry.bundle and entry.bundle.startswith(beginning)}
        if len(beginning) < 8 or len(found) != 1:
            what = "several bundles begin" if len(found) > 1 else "no bundle begins"
            raise NotRegisteredError(f"{what} with {beginning[:64]!r}; give more of its hash, at least 8 digits")
        return found.pop()

    def listed(self) -> list[RegisteredBundle]:
        """Every registered bundle, oldest first, as the log tells of it; `bundle` checks what lies there."""
        return listing.listed(self.folder, self.channels(), self.log())

    def channels(self) -> Channels:
        """The channels as they are now. Raises RegistryError."""
        return read_channels(self.folder)

    def set_champion(self, sha256: str, *, actor: str, reason: str) -> Channels:
        """Make a bundle the champion, past gate and rollout: the first one, or by force of a person. Logged.

        Raises RegistryError during a rollout, which is rolled back first.
        """
        logs.check_words(actor, reason)
        self.bundle(sha256)
        with self.writing() as now:
            if now.in_rollout:
                raise RolloutRefusedError("a rollout is under way; roll it back first (`lang1 rollout rollback`)")
            if now.champion == sha256:
                raise RolloutRefusedError("this bundle is the champion already")
            changes = {"champion": sha256, "previous": now.champion}
            return self.moved(now, changes, action="champion", actor=actor, reason=reason, bundle=sha256)

    def moved(
        self, now: Channels, changes: Mapping[str, Any], *, action: str, actor: str, reason: str, bundle: str | None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Channels:  # fmt: skip
        """Log a move and make it, within `writing`. The log first: the next writer finishes what a crash cut off."""
        at = datetime.now(UTC)
        new = Channels.model_validate(now.model_dump() | {"revision": now.revision + 1, "since": at} | dict(changes))
        logs.append(self.folder, actor=actor, action=action, reason=reason, bundle=bundle, evidence=evidence,
                    channels=new, at=at)  # fmt: skip
        replace_bytes(self.folder / CHANNELS_FILE, new.to_bytes(), self.folder)
        return new

    def record_gate(self, sha256: str, report: Mapping[str, Any], *, actor: str) -> None:
        """Keep a gate report (`verdict` pass, fail or hold; `reasons`; `champion`: its hash), logged with its reasons.

        Raises RegistryError for another shape, NotRegisteredError for a bundle that was not added.
        """
        self.path(sha256)
        with self.writing():
            kept = gates.keep(self.folder, sha256, report)
            self.log_line(
                f"gate-{kept.verdict}", actor=actor, reason=kept.reason, bundle=sha256, evidence=kept.evidence
            )

    def latest_gate(self, sha256: str) -> Mapping[str, Any] | None:
        """The newest gate report of a bundle against the present champion. Raises RegistryError for a changed one."""
        return gates.latest(self.folder, self.log(), sha256, self.channels().champion)

    def note(
        self, action: str, *, actor: str, reason: str, bundle: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Any other line of the log. Raises RegistryError."""
        with self.writing():
            self.log_line(action, actor=actor, reason=reason, bundle=bundle, evidence=evidence)

    def log(self) -> list[LogEntry]:
        """Every line, oldest first. Raises RegistryError."""
        return logs.read_log(self.folder)

    def verify_log(self) -> None:
        """Raise RegistryError when a line was changed, added or taken out, or the channels were moved without one."""
        # With the lock where it can be had: between a line and its move the two differ.
        if os.access(self.folder, os.W_OK):
            with self.writing() as channels:
                logs.verify_log(self.folder, channels)
        else:
            logs.verify_log(self.folder, self.channels())

    def log_line(
        self, action: str, *, actor: str, reason: str, bundle: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """`note`, within `writing`."""
        logs.append(self.folder, actor=actor, action=action, reason=reason, bundle=bundle, evidence=evidence)

    def _additions(self) -> list[LogEntry]:
        return [entry for entry in logs.readable(self.folder) if entry.action == "add"]


def _settle_channels(folder: Path) -> None:
    """Make the move that the log tells of and a crash kept from the channels."""
    moves = [entry.channels for entry in logs.readable(folder) if entry.channels is not None]
    if not moves:
        return
    try:
        present = read_channels(folder).revision
    except RegistryError:
        if (folder / CHANNELS_FILE).exists() or (folder / DESCRIPTION_FILE).exists():
            raise
        present = -1  # a crash while the registry was made
    if moves[-1].revision > present:
        replace_bytes(folder / CHANNELS_FILE, moves[-1].to_bytes(), folder)
