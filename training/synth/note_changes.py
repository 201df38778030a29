"""Which of a chunk's notes a scenario changes, and how: layout, terms and sections left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from training.synth.config import SynthConfig
from training.synth.dice import Dice
from training.synth.scenarios import Days, MissingSections, NewVocabulary, NoteTemplate
from training.synth.slots import SLOTS, UNTOLD
from training.synth.styles import NEW_TEMPLATE, PLAIN, NoteStyle
from training.synth.terms import USUAL_TERMS, Terms

STREAM = 3
"""Third number of the seeds of the scenarios' random streams."""
_DICE_PER_NOTE = 128
_NONE = frozenset[str]()


@dataclass(frozen=True, slots=True)
class NoteChanges:
    """How single notes of one type differ; a note that is not named is as usual."""

    styles: Mapping[int, NoteStyle] = field(default_factory=dict)
    terms: Mapping[int, Terms] = field(default_factory=dict)

    def style(self, note: int, usual: NoteStyle) -> NoteStyle:
        return self.styles.get(note, usual)

    def terms_of(self, note: int) -> Terms:
        return self.terms.get(note, USUAL_TERMS)


def note_changes(config: SynthConfig, chunk: int, loinc: str, days: Days, usual: NoteStyle = PLAIN) -> NoteChanges:
    """The changes of a chunk's notes of one type, written on `days` (N,) since 1970-01-01."""
    template: dict[int, tuple[str, ...]] = {}
    missing: dict[int, frozenset[str]] = {}
    terms: dict[int, Terms] = {}
    for place, each in enumerate(config.scenarios):
        rng = np.random.default_rng([config.seed, chunk, STREAM, place, list(SLOTS).index(loinc)])
        drawn = rng.random(len(days))
        here = each.holds(days)
        if isinstance(each, NoteTemplate):
            template |= dict.fromkeys(_rows(here & (drawn < each.size)), each.late)
        elif isinstance(each, MissingSections):
            for note in _rows(here & (drawn < each.size)):
                missing[note] = missing.get(note, _NONE) | frozenset(each.sections)
        elif isinstance(each, NewVocabulary):
            numbers = rng.integers(0, 2**31, size=(len(days), _DICE_PER_NOTE))
            terms |= {note: Terms(each.size, Dice(numbers[note].tolist())) for note in _rows(here)}
    styles = {
        note: (NEW_TEMPLATE if note in template else usual).laid_out(template.get(note, ()), missing.get(note, _NONE))
        for note in template.keys() | missing.keys()
    }
    return NoteChanges(styles, terms)


def untell_missing(loinc: str, told: npt.NDArray[np.int8], changes: NoteChanges) -> npt.NDArray[np.int8]:
    """`told` (N, S) without what stands in sections that a note lacks."""
    sections = [slot.section for slot in SLOTS[loinc]]
    for note, style in changes.styles.items():
        if style.missing:
            told[note, [section in style.missing for section in sections]] = UNTOLD
    return told


def _rows(chosen: npt.NDArray[np.bool_]) -> list[int]:
    return [int(row) for row in np.flatnonzero(chosen)]
