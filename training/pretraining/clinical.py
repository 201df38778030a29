"""The clinical source: notes of dataset folders and further notes, without anything that a model is tested on.

A note is left out when any dataset folder holds it, by id or by its cleaned text, in another split than train. Further
notes (a hospital's other note types, which have no labels) must be dated, and older than the first held-out period.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from lang1.bundle import file_sha256
from lang1.errors import NoteError
from lang1.notes import check_scorable, clean_text
from training.dataset import TRAIN
from training.pretraining.errors import PretrainError
from training.pretraining.web import open_lines
from training.sources.splits import TEMPORAL
from training.synth.arrow import pq
from training.synth.generate import MANIFEST_FILE, NOTES_FILE

_BATCH = 4096


@dataclass(slots=True)
class ClinicalSource:
    """What may be read. `first` and `last` are the days of the notes that were taken."""

    folders: Sequence[Path]
    more: Sequence[Path]
    dropped: dict[str, int] = field(default_factory=dict)
    held_out_from: date | None = None
    first: date | None = None
    last: date | None = None
    _held_out: set[bytes] = field(default_factory=set)
    _seen: set[bytes] = field(default_factory=set)
    _prepared: bool = False

    def prepare(self) -> tuple[str, ...]:
        """Read what is held out. Returns the hash of each folder's notes. Raises PretrainError for a changed folder."""
        hashes = []
        self._prepared = True
        for folder in self.folders:
            hashes.append(_verified(folder))
            for row in _rows(folder):
                if row["split"] == TRAIN:
                    continue
                self._held_out.update((_key("id", row["note_id"]), _key("text", clean_text(row["text"]))))
                written = _day(row.get("authored"))
                earlier = self.held_out_from is None or (written is not None and written < self.held_out_from)
                if row["split"].startswith(TEMPORAL) and written is not None and earlier:
                    self.held_out_from = written
        return tuple(hashes)

    def documents(self) -> Iterator[tuple[str, str]]:
        """(cleaned text, the patient or else the note, by which validation is drawn) of every note that may be used."""
        if not self._prepared:
            self.prepare()
        for folder in self.folders:
            for row in _rows(folder):
                if row["split"] == TRAIN:
                    yield from self._taken(row["text"], row["note_id"], row["patient_id"], _day(row.get("authored")))
        for path in self.more:
            for number, line in enumerate(open_lines(path), 1):
                record = _record(path, number, line)
                written = _day(record.get("authored"))
                if written is None:
                    self._drop("a further note has no date (authored)")
                elif self.held_out_from is not None and written >= self.held_out_from:
                    self._drop("a further note was written in or after the held-out periods")
                else:
                    yield from self._taken(
                        record["text"], str(record.get("note_id", "")), str(record.get("patient_id", "")), written
                    )

    def _taken(self, raw: str, note_id: str, patient_id: str, written: date | None) -> Iterator[tuple[str, str]]:
        text = clean_text(raw)
        key = _key("text", text)
        try:
            check_scorable(text)
        except NoteError:
            self._drop("text is empty, a placeholder or under 10 words")
            return
        if key in self._held_out or (note_id and _key("id", note_id) in self._held_out):
            self._drop("the note is held out for validation or a test")
        elif key in self._seen:
            self._drop("the same text was there before")
        else:
            self._seen.add(key)
            if written is not None:
                self.first = min(written, self.first or written)
                self.last = max(written, self.last or written)
            yield text, patient_id or note_id or key.hex()

    def _drop(self, why: str) -> None:
        self.dropped[why] = self.dropped.get(why, 0) + 1


def _key(kind: str, value: str) -> bytes:
    return hashlib.blake2b(f"{kind}:{value}".encode(), digest_size=16).digest()


def _verified(folder: Path) -> str:
    try:
        expected = str(json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["notes_sha256"])
        found = file_sha256(folder / NOTES_FILE)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PretrainError(
            f"{folder} is not a dataset folder ({type(error).__name__}); make one with lang1 data build or data synth"
        ) from None
    if found != expected:
        raise PretrainError(f"{folder / NOTES_FILE} is not the file of its manifest; build the dataset again")
    return found


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(folder / NOTES_FILE) as file:
        wanted = [name for name in ("note_id", "patient_id", "authored", "text", "split") if name in file.schema.names]
        for batch in file.iter_batches(batch_size=_BATCH, columns=wanted):
            yield from batch.to_pylist()


def _day(value: object) -> date | None:
    """The UTC day of a timestamp, a date or an ISO 8601 text; None for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return (value if value.tzinfo is None else value.astimezone(UTC)).date()
    return value if isinstance(value, date) else None


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise PretrainError(f"{path.name}, line {number}: not a JSON object with a text; send one note a line")
    return record
