"""A warm-up on what notes say: short probes about recorded facts, packed behind the note as the tasks' questions are.

Outcomes are rare and noisy: a small model that sees tens of thousands of notes learns little of reading from them.
What a note states of a fact is certain, so each note can teach many answers. On the synthetic hospital the facts are
what the simulator told; in a hospital, problem lists and coded diagnoses can play the part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lang1.tasks import Horizon, Option, Task, TaskRegistry
from training.encoded import NO_LABEL
from training.synth.slots import SLOTS, UNTOLD, Slot

Labels = dict[str, npt.NDArray[np.int8]]


class Probe(Task):
    """A question in a few tokens, without printed options: letters stand for a fact's values, then "not stated"."""

    def suffix(self, loinc: str | None) -> str:
        return f"\n{self.question.replace(' of {note}', '')}:"


def _probe(name: str, subject: str, values: int, loinc: str) -> Probe:
    texts = [f"value {value}" for value in range(values)] + ["not stated"]
    return Probe(
        name=name,
        title=name,
        description=f"What the note says of {subject}.",
        question=f"{subject} of {{note}}",
        options=tuple(Option(text=text, code=text.replace(" ", "-"), display=text) for text in texts),
        adverse_options=(0,),
        adverse_label="stated",
        note_types=(loinc,),
        label_rule="told",
        horizon=Horizon.ENCOUNTER,
        label_maturity_days=0,
    )


def _subject(slot: Slot) -> str:
    return slot.factor.replace("_", " ") if slot.wording is None else slot.wording.heads[0]


def probes() -> TaskRegistry:
    """One probe for every subject that a note type of the simulator can tell."""
    found: dict[str, Probe] = {}
    for loinc, slots in SLOTS.items():
        for slot in slots:
            name = _name(loinc, slot)
            found.setdefault(name, _probe(name, _subject(slot), slot.channel().shape[0], loinc))
    return TaskRegistry(found.values())


def _name(loinc: str, slot: Slot) -> str:
    words = "".join(c if c.isalnum() else "_" for c in _subject(slot).lower())
    return f"probe_{loinc.split('-')[0]}_{words}"[:62]


def probe_labels(note_types: npt.NDArray[np.str_], told: list[list[int]]) -> Labels:
    """int8 (N,) a probe: the value that the note tells, the "not stated" option, or NO_LABEL for other note types.

    A fact with two places in a note (history and background) is stated where either tells it, the first one deciding.
    """
    labels: Labels = {name: np.full(len(note_types), NO_LABEL, dtype=np.int8) for name in probes()}
    for loinc, slots in SLOTS.items():
        rows = np.flatnonzero(note_types == loinc)
        if not len(rows):
            continue
        said: npt.NDArray[Any] = np.asarray([told[i] for i in rows], dtype=np.int8)
        for index, slot in enumerate(slots):
            column = labels[_name(loinc, slot)]
            not_stated = slot.channel().shape[0]
            known = said[:, index] != UNTOLD
            current = column[rows]
            undecided = (current == NO_LABEL) | (current == not_stated)
            column[rows] = np.where(undecided, np.where(known, said[:, index], not_stated), current)
    return labels
