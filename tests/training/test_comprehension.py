from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from lang1.notes import clean_text
from lang1.prompt import PromptEncoder
from lang1.tasks import BUILT_IN
from training.comprehension import NO_PROBE, ToldFacts, comprehension_steps, probes, told_facts
from training.encoded import NO_LABEL, EncodedNotes
from training.pipeline import load_split
from training.recipe import Comprehension
from training.synth.arrow import Table
from training.synth.generate import read_notes
from training.synth.slots import SLOTS, UNTOLD


@pytest.fixture(scope="module")
def table(dataset: Path) -> Table:
    return read_notes(dataset, ["train"])


@pytest.fixture(scope="module")
def facts(table: Table, note_encoder: PromptEncoder) -> ToldFacts:
    return told_facts(table, note_encoder)


@pytest.fixture(scope="module")
def notes(dataset: Path, note_encoder: PromptEncoder) -> EncodedNotes:
    return load_split(dataset, ("train",), note_encoder, BUILT_IN).notes


def test_every_note_has_the_probes_of_its_type_alone(table: Table, facts: ToldFacts) -> None:
    types = np.asarray(table["note_type"].to_pylist())
    for column, probe in enumerate(probes().values()):
        asked = facts.value[:, column] != NO_PROBE
        assert (asked == np.isin(types, probe.note_types)).all()


def test_a_fact_is_stated_once_its_statement_was_read(
    table: Table, facts: ToldFacts, note_encoder: PromptEncoder
) -> None:
    """The statement ends inside the token that the label hangs on, not before it and not after."""
    checked = 0
    for row in range(30):
        text = clean_text(table["text"][row].as_py())
        ends = note_encoder.token_ends(text)
        loinc = table["note_type"][row].as_py()
        statement_ends = {
            end
            for slot, said, end in zip(
                SLOTS[loinc], table["told"][row].as_py(), table["ends"][row].as_py(), strict=True
            )
            if said != UNTOLD
        }
        for column in np.flatnonzero(facts.value[row] >= 0):
            token = int(facts.token[row, column])
            start = ends[token - 1] if token else 0
            assert any(start < end <= ends[token] for end in statement_ends)
            before = facts.labels(np.asarray([row]), np.asarray([token]))[0, column]
            after = facts.labels(np.asarray([row]), np.asarray([token + 1]))[0, column]
            assert before == facts.not_stated[column] and after == facts.value[row, column]
            checked += 1
    assert checked > 100


def test_the_cut_grows_and_the_budget_holds(notes: EncodedNotes, facts: ToldFacts, note_encoder: PromptEncoder) -> None:
    plan = Comprehension.model_validate(
        {
            "questions_per_note": 6, "first_note_tokens": 32, "grow_steps": 4,
            "optimization": {"steps": 9, "batch_tokens": 1500, "learning_rate": 0.001},
        }
    )  # fmt: skip
    reader = note_encoder.with_registry(probes())
    steps = list(islice(comprehension_steps(notes, facts, reader, plan, np.random.default_rng(0)), 9))
    longest = [max(row.prompt.note_tokens for row in step) for step in steps]
    assert longest[0] <= 32 < longest[-1] <= 256
    for step in steps:
        assert sum(row.prompt.total_tokens for row in step) <= 1500 + 256 + 6 * 20
        for row in step:
            assert len(row.labels) == len(row.prompt.suffixes) <= 6
            assert NO_LABEL not in row.labels


def test_a_probe_is_short(note_encoder: PromptEncoder) -> None:
    reader = note_encoder.with_registry(probes())
    for probe in probes().values():
        assert len(reader.suffix(probe, probe.note_types[0]).token_ids) < 20
        assert "{note}" not in probe.suffix(None)
