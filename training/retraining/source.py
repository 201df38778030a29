"""What a job learns from: every labelled note with its times, and the texts of the notes that are wanted, read later.

A hospital has millions of notes and a job reads some ten thousand, so what is chosen is chosen without texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lang1.tasks import Horizon, Task
from monitoring.cohorts import DAY_S
from training.synth.arrow import Table

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int8]
Strings = npt.NDArray[np.str_]
AT_DISCHARGE = frozenset({"in_hospital_mortality", "length_of_stay"})
"""Label rules whose outcome is known when the stay ends; others of the horizon `encounter` wait for their codes."""


@dataclass(frozen=True, slots=True)
class NoteRows:
    """N notes. Times are seconds since 1970 UTC.

    patient, encounter (N,): codes, the same for the same patient or stay. drawn (N,): a number in [0, 1) of each stay's
    own, by which samples are drawn. discharged_s: nan when not known. For each task: labels (N,), an option index or
    -1; known_s (N,), when the outcome became final, inf while it is open, nan where the task asks nothing of the note.
    """

    patient: Ints
    encounter: Ints
    note_type: Strings
    drawn: Floats
    authored_s: Floats
    discharged_s: Floats
    labels: Mapping[str, Labels]
    known_s: Mapping[str, Floats]
    parts: Mapping[str, Strings] = field(default_factory=dict)
    """Subgroup column to its level of each note (N,)."""

    def __len__(self) -> int:
        return len(self.patient)


class NoteSource(Protocol):
    """A record that a job can read. `about` goes into the manifest of what is made of it: counts and hashes alone.

    `sha256` changes when the record does: a job that is resumed asks for the same one.
    """

    @property
    def rows(self) -> NoteRows: ...

    @property
    def about(self) -> Mapping[str, Any]: ...

    @property
    def sha256(self) -> str: ...

    def read(self, wanted: Ints) -> Iterator[tuple[Ints, Table]]:
        """The notes of rows (n,) in rising order, in pieces: their rows (m,) and a table of note_id, patient_id,
        encounter_id, note_type, authored (UTC) and text. A note whose text cannot be used is left out."""
        ...


def known_when(task: Task, authored_s: Floats, discharged_s: Floats) -> Floats:
    """When a label is taken for final that carries no time of its own: by the calendar, never too early. (N,)"""
    wait_s = task.label_maturity_days * DAY_S
    if task.horizon is Horizon.AFTER_DISCHARGE:
        return np.where(np.isnan(discharged_s), authored_s, discharged_s) + wait_s
    if task.horizon is Horizon.ENCOUNTER:
        closed_s = discharged_s + (0.0 if task.label_rule in AT_DISCHARGE else wait_s)
        return np.where(np.isnan(closed_s), authored_s + wait_s, closed_s)
    return authored_s + wait_s
