"""Notes say what their slots tell, at the place that is recorded."""

from __future__ import annotations

import numpy as np
import pytest

from lang1.note_types import HISTORY_AND_PHYSICAL
from lang1.notes import clean_text
from training.synth import SynthConfig, passages, phrases, styles
from training.synth.arrow import Table
from training.synth.conditions import CONDITIONS
from training.synth.dice import Dice
from training.synth.narrative import misspell, state, write_note
from training.synth.slots import SLOTS, UNTOLD, draw_told
from training.synth.terms import USUAL_TERMS, Terms
from training.synth.vocabulary import NEW_CONTENTS, NEW_NAMES

PLAIN = SynthConfig(patients=1, misspelling_rate=0.0)


def dice(seed: int) -> Dice:
    return Dice(np.random.default_rng(seed).integers(0, 2**31, 400).tolist())


STYLES = {"first": styles.PLAIN, "second": styles.SECOND_HOUSE, "template": styles.NEW_TEMPLATE}


@pytest.mark.parametrize("words", [380, 1000])
@pytest.mark.parametrize("house", STYLES)
@pytest.mark.parametrize("loinc", SLOTS)
def test_the_statement_of_every_told_slot_ends_at_its_offset(loinc: str, house: str, words: int, notes: Table) -> None:
    table = notes.slice(0, 200).filter([t == loinc for t in notes["note_type"].slice(0, 200).to_pylist()])
    values = np.array(table["values"].to_pylist(), dtype=np.int8)
    told = draw_told(np.random.default_rng(0), loinc, values).tolist()
    checked = 0
    for row, facts in enumerate(told):
        terms = Terms(0.5, dice(1000 + row)) if house == "template" else USUAL_TERMS
        prose = dice(2000 + row) if words == 1000 else None
        note = write_note(PLAIN, loinc, 70, True, row % 14, facts, words, dice(row), STYLES[house], terms, prose)
        text = clean_text(note.text)
        assert text == note.text.replace("\n", " ")
        for slot, value, end in zip(SLOTS[loinc], facts, note.ends, strict=True):
            assert 0 <= end <= len(text)
            if value == UNTOLD or (slot.wording is None and value == 0):
                continue
            # Every statement is one sentence and ends with a full stop.
            assert text[end - 1] == "."
            statement = text[max(0, end - 260) : end].lower()
            names = _contents(slot.wording, value) if slot.wording else _names(slot.factor, value)
            assert any(name.lower() in statement for name in names), (slot.factor, value, statement)
            checked += 1
    assert checked > 500


def _contents(wording: phrases.Wording, value: int) -> tuple[str, ...]:
    return wording.contents[value] + NEW_CONTENTS[wording.heads][value]


def _names(factor: str, value: int) -> tuple[str, ...]:
    known = next(condition for condition in CONDITIONS if condition.name == factor).levels[value - 1].names
    return known + NEW_NAMES[factor][value - 1]


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
    both = zip(wording.contents, NEW_CONTENTS[wording.heads], strict=True)
    contents = [content for old, new in both for content in (*old, *new)]
    assert len(set(contents)) == len(contents)
    assert all(clean_text(content) == content for content in contents)


def test_no_two_conditions_share_a_name() -> None:
    names = [name for c in CONDITIONS for form in c.levels for name in form.names]
    names += [name for forms in NEW_NAMES.values() for form in forms for name in form]
    assert len(set(names)) == len(names)
    assert all(clean_text(name) == name for name in names)


def test_what_lengthens_notes_tells_nothing() -> None:
    pools = [value for name, value in vars(passages).items() if name.isupper()]
    texts = " ".join(str(text) for pool in pools for text in pool).lower()
    told = [content for w in _wordings() for value in w.contents for content in value]
    told += [content for values in NEW_CONTENTS.values() for value in values for content in value]
    told += [name for c in CONDITIONS for form in c.levels for name in form.names]
    told += [name for forms in NEW_NAMES.values() for form in forms for name in form]
    # Of the shortest only those that are no part of a common word.
    assert [name for name in told if len(name) > 5 and name.lower() in texts] == []
    assert [name for name in told if name.isupper() and f" {name.lower()} " in texts] == []
    for word in ("expired", "deceased", "readmi", "length of stay", "denied by the payer", "charlson", "appeal"):
        assert word not in texts


def _wordings() -> list[phrases.Wording]:
    return [value for value in vars(phrases).values() if isinstance(value, phrases.Wording)]


def test_no_passage_comes_twice_in_a_note() -> None:
    text = _long_note()
    sentences = [text[i : i + 60] for i in range(0, len(text), 200)]
    pasted = [paragraph for paragraph in passages.PASTED if paragraph in text]
    assert all(text.count(paragraph) == 1 for paragraph in pasted)
    assert len(text.split()) > 1200 and len(set(sentences)) == len(sentences)


def _long_note() -> str:
    told = [0] * len(SLOTS[HISTORY_AND_PHYSICAL.loinc])
    note = write_note(PLAIN, HISTORY_AND_PHYSICAL.loinc, 70, True, 0, told, 1500, dice(1), prose=dice(2))
    return note.text
