"""Notes as token ids with their labels: what training and evaluation read. Made by the encoder that serving uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lang1.notes import ClinicalNote
from lang1.prompt import PackedPrompt, PromptEncoder

NO_LABEL = -1
Labels = Mapping[str, npt.NDArray[np.int8]]


@dataclass(frozen=True, slots=True)
class EncodedNotes:
    """N notes, ragged. `labels[task]` is int8 (N,), an option index or NO_LABEL for a pair that may not be used."""

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    """(N + 1,): note i is ids[offsets[i]:offsets[i + 1]]."""
    dropped_tokens: npt.NDArray[np.int32]
    note_types: tuple[str, ...]
    labels: Labels

    def __len__(self) -> int:
        return len(self.note_types)

    def prompt(
        self, index: int, tasks: Sequence[str], encoder: PromptEncoder, max_tokens: int | None = None
    ) -> PackedPrompt:
        """The packed prompt of note `index` for the named tasks: the same ids that `encoder.encode` gives.

        `max_tokens` cuts the note shorter still.
        """
        note_type = self.note_types[index]
        ids = tuple(self.ids[self.offsets[index] : self.offsets[index + 1]].tolist()[:max_tokens])
        return PackedPrompt(
            prefix_ids=encoder.bos_ids + ids,
            suffixes=tuple(encoder.suffix(encoder.registry[name], note_type) for name in tasks),
            note_type=note_type,
            note_tokens=len(ids),
            dropped_tokens=int(self.dropped_tokens[index]),
        )

    def with_labels(self, labels: Labels) -> EncodedNotes:
        """The same notes with other questions' labels."""
        return replace(self, labels=labels)

    def labelled_tasks(self, index: int) -> list[str]:
        return [name for name, labels in self.labels.items() if labels[index] != NO_LABEL]


def encode_notes(
    notes: Iterable[ClinicalNote],
    labels: Labels,
    encoder: PromptEncoder,
    advance: Callable[[int], None] = lambda _: None,
) -> EncodedNotes:
    """Tokenise and cut notes. `labels` holds one int8 (N,) array a task, in the notes' order."""
    pieces: list[npt.NDArray[np.int32]] = []
    lengths: list[int] = []
    dropped: list[int] = []
    types: list[str] = []
    for note in notes:
        ids, total = encoder.note_ids(note.text)
        pieces.append(np.asarray(ids, dtype=np.int32))
        lengths.append(len(ids))
        dropped.append(total - len(ids))
        types.append(note.note_type or "")
        advance(1)
    assert all(len(column) == len(types) for column in labels.values()), "one label a note and task"
    return EncodedNotes(
        ids=np.concatenate(pieces) if pieces else np.zeros(0, np.int32),
        offsets=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        dropped_tokens=np.asarray(dropped, dtype=np.int32),
        note_types=tuple(types),
        labels=labels,
    )
