"""Notes say what their slots tell, at the place that is recorded."""

from __future__ import annotations

import numpy as np
import pytest

from lang1.note_types import HISTORY_AND_PHYSICAL
from lang1.notes import clean_text
from training.synth import SynthConfig, phrases
from training.synth.arrow import Table
from training.synth.conditions import CONDITIONS
from training.synth.narrative import Dice, misspell, state, write_note
from training.synth.slots import SLOTS, UNTOLD, draw_told

PLAIN = SynthConfig(patients=1, misspelling_rate=0.0)


def dice(seed: int) -> Dice:
    return Dice(np.random.default_rng(seed).integers(0, 2**31, 400).tolist())


@pytest.mark.parametrize("loinc", SLOTS)
def test_the_statement_of_every_told_slot_ends_at_its_offset(loinc: str, notes: Table) -> None:
    table = notes.slice(0, 400).filter([t == loinc for t in notes["note_type"].slice(0, 400).to_pylist()])
    values = np.array(table["values"].to_pylist(), dtype=np.int8)
    told = draw_told(np.random.default_rng(0), loinc, values).tolist()
    checked = 0
    for row, facts in enumerate(told):
        note = write_note(PLAIN, loinc, 70, True, row % 14, facts, 380, dice(row))
        text = clean_text(note.text)
        for slot, value, end in zip(SLOTS[loinc], facts, note.ends, strict=True):
            assert 0 <= end <= len(text)
            if value == UNTOLD or (slot.wording is None and value == 0):
                continue
            # Every statement is one sentence and ends with a full stop.
            assert text[end - 1] == "."
            statement = text[max(0, end - 260) : end].lower()
            names = slot.wording.contents[value] if slot.wording else _names(slot.factor, value)
            assert any(name.lower() in statement for name in names), (slot.factor, value, statement)
            checked += 1
    assert checked > 1000


def _names(factor: str, value: int) -> tuple[str, ...]:
    return next(condition for condition in CONDITIONS if condition.name == factor).levels[value - 1].names


def test_contrast_names_a_value_that_does_not_hold() -> None:
    config = SynthConfig(patients=1, contrast_rate=1.0)
    for seed in range(60):
        sentence = state(config, phrases.AUTHORIZATION, 0, dice(seed)).lower()
        others = [content for contents in phrases.AUTHORIZATION.contents[1:] for content in contents]
        assert any(content in sentence for content in phrases.AUTHORIZATION.contents[0])
        assert any(content in sentence for content in others)


def test_misspelling_swaps_two_letters_of_one_word() -> None:
    text = "Denies history of diabetes today."
    wrong = misspell(text, dice(1))
    assert sorted(wrong) == sorted(text)
    assert sum(a != b for a, b in zip(text, wrong, strict=True)) in (0, 2)


def test_families_and_denials_name_conditions_the_patient_lacks(notes: Table) -> None:
    hp = [t == HISTORY_AND_PHYSICAL.loinc for t in notes["note_type"].to_pylist()]
    rows = notes.filter(hp).to_pylist()
    at = [condition.name for condition in CONDITIONS].index("pulmonary")
    names = CONDITIONS[at].levels[0].names
    named = [row for row in rows if any(name in row["text"] for name in names)]
    lacking = [row for row in named if row["values"][at] == 0]
    # Otherwise counting words would give the Charlson index away.
    assert len(lacking) > 2 * (len(named) - len(lacking))


@pytest.mark.parametrize("name", [n for n in dir(phrases) if isinstance(getattr(phrases, n), phrases.Wording)])
def test_no_two_values_share_a_wording(name: str) -> None:
    wording: phrases.Wording = getattr(phrases, name)
    contents = [content for value in wording.contents for content in value]
    assert len(set(contents)) == len(contents)
    assert all(clean_text(content) == content for content in contents)
