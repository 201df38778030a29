from __future__ import annotations

import math
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from lang1.llama import PackedLlama
from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from lang1.notes import ClinicalNote
from lang1.packing import pack
from lang1.prompt import PromptEncoder
from lang1.tasks import BUILT_IN
from tests.tiny_bundle import WORDS, tiny_model
from training.encoded import NO_LABEL, EncodedNotes, encode_notes
from training.finetune import (
    Answers,
    learning_rate,
    make_optimizers,
    predict_logits,
    steps_of_rows,
    task_aurocs,
    train,
)
from training.recipe import Optimization
from training.tokenizer import BOS_TOKEN, train_tokenizer

NOTES = 400
# One word for each answer of each task: a label follows from a word of the note.
SAID = {
    name: [head + tail for tail in ("ola", "emi", "uti", "ano", "ipo")]
    for name, head in zip(BUILT_IN, "kmprt", strict=True)
}


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    questions = [task.suffix(loinc) for task in BUILT_IN.values() for loinc in task.note_types]
    return PromptEncoder(
        train_tokenizer([WORDS, *questions, *(" ".join(words) for words in SAID.values())], 600),
        BUILT_IN,
        64,
        BOS_TOKEN,
    )


@pytest.fixture(scope="module")
def notes(encoder: PromptEncoder) -> EncodedNotes:
    """Notes whose every label follows from words in them, so that a pass that reads them can learn it."""
    rng = np.random.default_rng(5)
    types = np.where(rng.random(NOTES) < 0.5, DISCHARGE_SUMMARY.loinc, HISTORY_AND_PHYSICAL.loinc)
    marks = {name: rng.integers(0, len(task.options), NOTES) for name, task in BUILT_IN.items()}

    def text(i: int) -> str:
        told = " ".join(SAID[name][int(marks[name][i])] for name in BUILT_IN)
        return f"the patient was admitted with a history of {told}"

    labels = {
        name: np.where(np.isin(types, task.note_types), marks[name], NO_LABEL).astype(np.int8)
        for name, task in BUILT_IN.items()
    }
    clinical = (ClinicalNote(str(i), text(i), str(types[i])) for i in range(NOTES))
    return encode_notes(clinical, labels, encoder)


@pytest.fixture
def model(encoder: PromptEncoder) -> PackedLlama:
    fresh = tiny_model(seed=1, vocab_size=encoder.vocab_size, max_position_embeddings=256)
    for parameter in fresh.parameters():
        torch.nn.init.normal_(parameter, std=0.05) if parameter.dim() > 1 else torch.nn.init.ones_(parameter)
    return fresh


def optimization(steps: int, **changes: object) -> Optimization:
    fields = {"steps": steps, "batch_tokens": 4000, "learning_rate": 3e-3, "max_gradient_norm": 1.0}
    return Optimization.model_validate(fields | changes)


def test_every_step_holds_every_task_and_keeps_its_budget(notes: EncodedNotes, encoder: PromptEncoder) -> None:
    for step in islice(steps_of_rows(notes, encoder, 1500, np.random.default_rng(0)), 20):
        assert sum(row.prompt.total_tokens for row in step) <= 1500
        assert {suffix.task for row in step for suffix in row.prompt.suffixes} == set(BUILT_IN)
        for row in step:
            assert len(row.labels) == len(row.prompt.suffixes)


def test_an_epoch_reads_every_note_once(notes: EncodedNotes, encoder: PromptEncoder) -> None:
    kinds = np.asarray(notes.note_types)
    seen: list[tuple[int, ...]] = []
    for step in steps_of_rows(notes, encoder, 2000, np.random.default_rng(0)):
        seen += [row.prompt.prefix_ids for row in step if row.prompt.note_type == DISCHARGE_SUMMARY.loinc]
        if len(seen) >= (kinds == DISCHARGE_SUMMARY.loinc).sum():
            break
    expected = {notes.prompt(int(i), [], encoder).prefix_ids for i in np.flatnonzero(kinds == DISCHARGE_SUMMARY.loinc)}
    assert set(seen[: (kinds == DISCHARGE_SUMMARY.loinc).sum()]) == expected


def test_a_pair_without_label_gets_no_question(notes: EncodedNotes, encoder: PromptEncoder) -> None:
    hidden = {name: np.full(NOTES, NO_LABEL, np.int8) for name in BUILT_IN} | {
        "length_of_stay": notes.labels["length_of_stay"]
    }
    only_los = EncodedNotes(notes.ids, notes.offsets, notes.dropped_tokens, notes.note_types, hidden)
    step = next(steps_of_rows(only_los, encoder, 2000, np.random.default_rng(0)))
    assert {suffix.task for row in step for suffix in row.prompt.suffixes} == {"length_of_stay"}


def test_even_classes_shows_rare_answers_more_often(notes: EncodedNotes, encoder: PromptEncoder) -> None:
    rare = np.full(NOTES, NO_LABEL, np.int8)
    admissions = np.flatnonzero(np.asarray(notes.note_types) == HISTORY_AND_PHYSICAL.loinc)
    rare[admissions] = 0
    rare[admissions[:4]] = 1
    hidden = {name: np.full(NOTES, NO_LABEL, np.int8) for name in BUILT_IN} | {"in_hospital_mortality": rare}
    few = EncodedNotes(notes.ids, notes.offsets, notes.dropped_tokens, notes.note_types, hidden)

    def share(even_classes: float) -> float:
        steps = islice(steps_of_rows(few, encoder, 2000, np.random.default_rng(3), even_classes), 40)
        return float(np.mean([row.labels[0] for step in steps for row in step]))

    assert share(0.0) < 0.04
    assert share(1.0) == pytest.approx(0.5, abs=0.06)
    assert share(0.5) == pytest.approx(0.26, abs=0.06)


@pytest.mark.parametrize("matrices", ["adamw", "muon"])
def test_every_weight_has_one_optimizer(model: PackedLlama, matrices: str) -> None:
    model.requires_grad_(True)
    head = torch.nn.Linear(3, 2)
    optimizers = make_optimizers(model, optimization(5, layer_matrices=matrices), head.parameters())
    held = [id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in [*model.parameters(), *head.parameters()])
    muon = [o for o in optimizers if isinstance(o, torch.optim.Muon)]
    assert len(muon) == (matrices == "muon")
    for optimizer in muon:
        assert all(p.dim() == 2 for group in optimizer.param_groups for p in group["params"])


@pytest.mark.parametrize("answer_space", ["options", "vocabulary"])
def test_the_loss_is_the_mean_over_tasks_of_task_means(
    notes: EncodedNotes, encoder: PromptEncoder, model: PackedLlama, answer_space: str
) -> None:
    rows = next(steps_of_rows(notes, encoder, 3000, np.random.default_rng(1)))
    by_task: dict[str, list[float]] = {}
    for row in rows:
        hidden = model.hidden_states(pack([row.prompt]), read_only=True)
        logits = hidden @ model.lm_head.weight.T
        for suffix, label, line in zip(row.prompt.suffixes, row.labels, logits, strict=True):
            if answer_space == "options":
                loss = F.cross_entropy(line[list(suffix.option_ids)][None], torch.tensor([label]))
            else:
                loss = F.cross_entropy(line[None], torch.tensor([suffix.option_ids[label]]))
            by_task.setdefault(suffix.task, []).append(loss.item())
    expected = np.mean([np.mean(losses) for losses in by_task.values()])
    ours = Answers(answer_space)(model, rows)["loss"].item()
    assert ours == pytest.approx(expected, rel=1e-4)


def test_training_learns_what_notes_say(notes: EncodedNotes, encoder: PromptEncoder, model: PackedLlama) -> None:
    before = task_aurocs(predict_logits(model, notes, encoder), notes)
    steps = steps_of_rows(notes, encoder, 4000, np.random.default_rng(2))
    history = train(model, steps, optimization(120), Answers("options"), precision="float32")
    after = task_aurocs(predict_logits(model, notes, encoder), notes)
    assert max(before.values()) < 0.8
    assert np.mean(list(after.values())) > 0.9
    assert history.notes_seen > 120


def test_the_best_weights_are_restored_and_patience_ends_a_run(
    notes: EncodedNotes, encoder: PromptEncoder, model: PackedLlama
) -> None:
    scores = iter([0.5, 0.9, 0.6, 0.6, 0.6, 0.6])
    snapshots: list[torch.Tensor] = []

    def validate() -> dict[str, float]:
        snapshots.append(model.model.norm.weight.detach().clone())
        return {"score": next(scores)}

    steps = steps_of_rows(notes, encoder, 600, np.random.default_rng(2))
    history = train(
        model, steps, optimization(100), Answers("options"), precision="float32",
        validate_every_steps=2, patience_steps=4, validate=validate,
    )  # fmt: skip
    assert history.best_step == 4
    assert len(history.validations) == 4
    assert torch.equal(model.model.norm.weight, snapshots[1])


def test_a_run_repeats_by_seed(notes: EncodedNotes, encoder: PromptEncoder) -> None:
    def run() -> torch.Tensor:
        fresh = tiny_model(seed=2, vocab_size=encoder.vocab_size, max_position_embeddings=256)
        steps = steps_of_rows(notes, encoder, 800, np.random.default_rng(9))
        train(fresh, steps, optimization(5), Answers("options"), precision="float32")
        return fresh.model.embed_tokens.weight

    assert torch.equal(run(), run())


def test_a_nan_loss_stops_the_run(notes: EncodedNotes, encoder: PromptEncoder, model: PackedLlama) -> None:
    model.model.norm.weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="step 0"):
        train(
            model, steps_of_rows(notes, encoder, 600, np.random.default_rng(0)), optimization(3),
            Answers("options"), precision="float32",
        )  # fmt: skip


def test_schedule_warms_up_and_decays() -> None:
    plan = optimization(100, warmup_steps=10, learning_rate=1.0, final_learning_rate_ratio=0.1)
    rates = [learning_rate(step, plan) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert all(later <= earlier for earlier, later in pairwise(rates[9:]))
