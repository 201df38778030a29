"""Splits of a dataset folder as the model reads them: through the encoder that serving uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lang1.notes import ClinicalNote, clean_text
from lang1.prompt import PromptEncoder
from lang1.tasks import TaskRegistry
from training.encoded import EncodedNotes, encode_notes
from training.synth.arrow import Table
from training.synth.generate import read_notes


@dataclass(frozen=True, slots=True)
class Split:
    """One split's rows and their encoded notes, in the same order."""

    table: Table
    notes: EncodedNotes


def load_split(data: Path, splits: Sequence[str], encoder: PromptEncoder, registry: TaskRegistry) -> Split:
    """A split's notes through the encoder that serving uses."""
    table = read_notes(data, list(splits))
    labels = {name: table[f"label_{name}"].to_numpy().astype(np.int8) for name in registry}
    return Split(table, encode_notes(clinical_notes(table), labels, encoder))


def clinical_notes(table: Table) -> Iterator[ClinicalNote]:
    for note_id, text, loinc in zip(
        table["note_id"].to_pylist(), table["text"].to_pylist(), table["note_type"].to_pylist(), strict=True
    ):
        yield ClinicalNote(note_id, clean_text(text), loinc)


def kept_characters(table: Table, encoder: PromptEncoder) -> npt.NDArray[np.float64]:
    """How many characters of each cleaned note the model reads; infinite for a note that is read whole."""
    return np.asarray([encoder.kept_characters(note.text) for note in clinical_notes(table)])
