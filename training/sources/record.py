"""What every source gives: stays with their outcomes, an index of notes, and the notes' texts on a second reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from lang1.label_rules import Flags, HospitalRecord, NoteTimes, Rows
from training.sources.columns import Advance
from training.sources.errors import SourceError

Texts = Callable[[Advance], Iterator[tuple[int, list[str | None]]]]
"""Reads all notes again, in the order of the index: (row of the first text, texts)."""


@dataclass(frozen=True, slots=True)
class NoteIndex:
    """M notes without their texts. `row` (M,) is the note's place among all records of the notes files."""

    row: Rows
    note_id: NDArray[np.str_]
    times: NoteTimes


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A hospital's record as read. `patient_ids` and `encounter_ids` are the source's own, a row a stay."""

    kind: str
    hospital: HospitalRecord
    patient_ids: Sequence[str]
    encounter_ids: Sequence[str]
    notes: NoteIndex
    texts: Texts
    zone: ZoneInfo
    dropped: dict[str, dict[str, int]]
    """Records not taken, by table and reason."""
    inputs: tuple[Path, ...]


@dataclass(slots=True)
class Ledger:
    """Counts the records that are left out; with `fail`, a bad record is an error instead."""

    fail: bool
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    def leave_out(self, table: str, reason: str, rows: Flags) -> None:
        """Count records that are not wanted."""
        count = int(np.count_nonzero(rows))
        if count:
            reasons = self.counts.setdefault(table, {})
            reasons[reason] = reasons.get(reason, 0) + count

    def bad(self, table: str, reason: str, rows: Flags, where: Callable[[int], str]) -> None:
        """Count records that are wrong, or raise SourceError saying where the first of them is."""
        if self.fail and rows.any():
            first = int(np.flatnonzero(rows)[0])
            raise SourceError(f"{where(first)}: {reason}; mend the export, or set bad_rows: drop to count and go on")
        self.leave_out(table, reason, rows)
