from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from lang1.llama import PackedLlama
from lang1.notes import clean_text
from lang1.prompt import PromptEncoder
from lang1.tasks import BUILT_IN
from tests.tiny_bundle import tiny_model
from training.comprehension import NOT_OF_THIS_TYPE, AnswersAndFacts, FactHead, ToldFacts, subjects, told_facts
from training.encoded import NO_LABEL, EncodedNotes
from training.finetune import Answers, steps_of_rows, train
from training.notes import load_split
from training.recipe import Comprehension, Optimization
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


def objective(facts: ToldFacts, model: PackedLlama, **weights: float) -> AnswersAndFacts:
    plan = Comprehension.model_validate({"layer": 0, **weights})
    return AnswersAndFacts(facts, plan, model, "options", np.random.default_rng(0))


def test_every_note_has_the_subjects_of_its_type_alone(table: Table, facts: ToldFacts) -> None:
    types = np.asarray(table["note_type"].to_pylist())
    for column, (loinc, _) in enumerate(subjects()):
        assert ((facts.value[:, column] != NOT_OF_THIS_TYPE) == (types == loinc)).all()


def test_a_fact_is_stated_once_its_statement_was_read(
    table: Table, facts: ToldFacts, note_encoder: PromptEncoder
) -> None:
    """The statement ends inside the token that the label hangs on, not before it and not after."""
    checked = 0
    for row in range(30):
        ends = note_encoder.token_ends(clean_text(table["text"][row].as_py()))
        told, at = table["told"][row].as_py(), table["ends"][row].as_py()
        slots = SLOTS[table["note_type"][row].as_py()]
        statement_ends = {end for _, said, end in zip(slots, told, at, strict=True) if said != UNTOLD}
        for column in np.flatnonzero(facts.value[row] >= 0):
            token = int(facts.token[row, column])
            start = ends[token - 1] if token else 0
            assert any(start < end <= ends[token] for end in statement_ends)
            assert facts.recall_labels(row, token)[column] == facts.not_stated[column]
            assert facts.recall_labels(row, token + 1)[column] == facts.value[row, column]
            checked += 1
    assert checked > 100


def test_statements_are_told_where_they_end(facts: ToldFacts) -> None:
    for row in range(20):
        stated = facts.stated(row, 200)
        places, labels = facts.statement_labels(row, 200, np.asarray([5, 17]))
        assert set(places) == {5, 17, *facts.token[row][stated].tolist()}
        assert ((labels != facts.not_stated).sum(axis=0) == stated).all()
        for place, line in zip(places, labels, strict=True):
            for s in np.flatnonzero(line != facts.not_stated):
                assert facts.token[row, s] == place and facts.value[row, s] == line[s]


def test_the_statement_loss_reads_the_tokens_of_its_note(
    notes: EncodedNotes, facts: ToldFacts, note_encoder: PromptEncoder
) -> None:
    """A model whose middle state is the token's own embedding gets its loss from those tokens alone."""
    model = tiny_model(seed=3, vocab_size=note_encoder.vocab_size, max_position_embeddings=512)
    rows = next(steps_of_rows(notes, note_encoder, 3000, np.random.default_rng(0)))
    goal = objective(facts, model, plain_tokens=0)
    seen: list[torch.Tensor] = []
    goal._statement.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    with torch.no_grad():
        goal(model, rows)
        expected = []
        for row in rows:
            alone = objective(facts, model, plain_tokens=0)
            alone._statement.register_forward_hook(lambda _m, inputs, _o: expected.append(inputs[0]))
            alone(model, [row])
    assert torch.allclose(seen[0], torch.cat(expected), atol=1e-5)


def test_terms_add_up_and_the_answers_are_the_plain_ones(
    notes: EncodedNotes, facts: ToldFacts, note_encoder: PromptEncoder
) -> None:
    model = tiny_model(seed=3, vocab_size=note_encoder.vocab_size, max_position_embeddings=512)
    rows = next(steps_of_rows(notes, note_encoder, 2000, np.random.default_rng(0)))
    terms = objective(facts, model, statement_weight=0.5, recall_weight=2.0)(model, rows)
    assert terms["answers"].item() == pytest.approx(Answers("options")(model, rows)["loss"].item(), abs=1e-6)
    total = terms["answers"] + 0.5 * terms["statement"] + 2.0 * terms["recall"]
    assert terms["loss"].item() == pytest.approx(total.item(), abs=1e-6)


def test_statements_are_learned(notes: EncodedNotes, facts: ToldFacts, note_encoder: PromptEncoder) -> None:
    model = tiny_model(seed=3, vocab_size=note_encoder.vocab_size, max_position_embeddings=512)
    plan = Optimization(
        steps=40, batch_tokens=1500, learning_rate=0.01, max_gradient_norm=1.0, eps=1e-8, layer_matrices="muon"
    )
    goal = objective(facts, model)
    losses: list[float] = []
    steps = islice(steps_of_rows(notes, note_encoder, 1500, np.random.default_rng(0)), 40)
    train(model, steps, plan, goal, precision="float32", log=lambda entry: losses.append(entry["statement"]))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_a_head_never_tells_an_option_that_a_subject_lacks() -> None:
    head = FactHead(8, [2, 5], lean=1.0)
    chances = head(torch.randn(7, 8)).softmax(-1)
    assert chances.shape == (7, 2, 6)
    assert chances[:, 0, 3:].max() == 0
    assert head(torch.zeros(1, 8)).argmax(-1).tolist() == [[2, 5]]


def test_labels_of_another_note_type_are_left_out(facts: ToldFacts) -> None:
    labels = np.stack([facts.recall_labels(row, 200) for row in range(20)])
    assert ((labels == NO_LABEL) == (facts.value[:20] == NOT_OF_THIS_TYPE)).all()
    assert (labels <= facts.not_stated).all()
