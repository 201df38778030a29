"""The log: append-only, one JSON object a line, each with the sha256 of the line before.

A line is on the disk before the move that it tells of is made, and holds the channels that the move leads to: a crash
in between is made good by the next writer. A last line without its end was never acknowledged, and is cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lang1.bundle import Sha256
from lang1.registry.channels import Channels
from lang1.registry.errors import RegistryError, WordsError
from lang1.registry.files import append_bytes, read_bytes

LOG_FILE: Final = "log.jsonl"
FIRST: Final = "0" * 64
"""What the first line has for the line before."""
_MAX_EVIDENCE_BYTES: Final = 64 * 1024
Words = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00-\x1f\x7f]*$")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class LogEntry(BaseModel):
    """One line. `action` is a lower-case word, as `promote` or `promote-refused`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime
    actor: Name
    action: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    bundle: Sha256 | None = None
    reason: Words
    evidence: dict[str, Any] = {}
    channels: Channels | None = None
    """What the channels became, where this moved them."""
    previous: Sha256

    @property
    def refused(self) -> bool:
        return self.action.endswith("-refused")


def read_log(folder: Path) -> list[LogEntry]:
    """Every acknowledged line, oldest first. Raises RegistryError for one that is not a log's."""
    entries = []
    for number, line in enumerate(_lines(folder), 1):
        try:
            entries.append(LogEntry.model_validate_json(line))
        except ValidationError:
            raise RegistryError(f"{LOG_FILE} line {number} is not a line of the log; restore the file") from None
    return entries


def readable(folder: Path) -> list[LogEntry]:
    """The lines that can be read: a damaged log, which `verify_log` tells of, must not stand in a rollback's way."""
    entries = []
    for line in _lines(folder):
        with suppress(ValidationError):
            entries.append(LogEntry.model_validate_json(line))
    return entries


class _Words(BaseModel):
    actor: Name
    reason: Words


def check_words(actor: str, reason: str) -> None:
    """Raise WordsError for an actor or a reason that the log does not take: before anything else is looked at."""
    try:
        _Words(actor=_one_line(actor), reason=_one_line(reason))
    except ValidationError as error:
        raise _wrong_words(error) from None


def _wrong_words(error: ValidationError) -> WordsError:
    first = error.errors(include_url=False, include_input=False)[0]
    return WordsError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}; say it in other words")


def append(
    folder: Path,
    *,
    actor: str,
    action: str,
    reason: str,
    bundle: str | None = None,
    evidence: Mapping[str, Any] | None = None,
    channels: Channels | None = None,
    at: datetime | None = None,
) -> LogEntry:
    """Write one line, under the registry's lock. Raises RegistryError for words that the log does not take."""
    _cut_torn_line(folder)
    lines = _lines(folder)
    try:
        entry = LogEntry(
            at=at or datetime.now(UTC), actor=_one_line(actor), action=action, bundle=bundle, reason=_one_line(reason),
            evidence=dict(evidence or {}), channels=channels,
            previous=hashlib.sha256(lines[-1]).hexdigest() if lines else FIRST,
        )  # fmt: skip
        # The evidence as it is: pydantic would write a NaN as null.
        fields = entry.model_dump(mode="json") | {"evidence": entry.evidence}
        line = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValidationError as error:
        raise _wrong_words(error) from None
    except (TypeError, ValueError):
        raise WordsError("evidence: must be JSON, with finite numbers; correct it") from None
    if len(line.encode()) > _MAX_EVIDENCE_BYTES:
        raise WordsError(f"evidence: a log line takes {_MAX_EVIDENCE_BYTES} bytes; name a file and its hash instead")
    append_bytes(folder / LOG_FILE, line.encode() + b"\n", folder)
    return entry


def _one_line(words: str) -> str:
    return " ".join(words.split())


def verify_log(folder: Path, channels: Channels) -> list[LogEntry]:
    """The whole log, its chain and its last move checked against the channels. Raises RegistryError naming the line."""
    lines = _lines(folder)
    if not lines:
        raise RegistryError(f"{LOG_FILE} is empty or missing; restore the file")
    expected = FIRST
    entries = read_log(folder)
    for number, (line, entry) in enumerate(zip(lines, entries, strict=True), 1):
        if entry.previous != expected:
            raise RegistryError(
                f"{LOG_FILE}: the chain is broken before line {number}: a line was changed, added or taken out; "
                "restore the file from a copy, and find out who wrote it"
            )
        expected = hashlib.sha256(line).hexdigest()
    moved = next((entry.channels for entry in reversed(entries) if entry.channels is not None), None)
    if moved != channels:
        raise RegistryError(
            f"{LOG_FILE}: its last move is not the one in channels.json: lines were cut off, or the channels written "
            "by hand; restore both from a copy"
        )
    return entries


def _lines(folder: Path) -> list[bytes]:
    """Acknowledged lines, without their ends."""
    try:
        data = read_bytes(folder / LOG_FILE)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RegistryError(f"{LOG_FILE} cannot be read ({type(error).__name__})") from None
    return data.split(b"\n")[:-1]


def _cut_torn_line(folder: Path) -> None:
    path = folder / LOG_FILE
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        return
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
            os.fsync(file.fileno())
