"""What is asked along pretraining: prompts whose next token is the answer's letter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lang1.notes import clean_text
from lang1.prompt import PromptEncoder
from lang1.tasks import BUILT_IN, Task
from training.pretraining.benchmarks import benchmark_questions
from training.pretraining.errors import PretrainError
from training.pretraining.questions import (
    COMPREHENSION,
    Question,
    comprehension_questions,
    note_tokens,
    scores,
    task_questions,
)
from training.pretraining.recipe import Evaluation
from training.synth.conditions import CONDITIONS
from training.synth.generate import read_notes
from training.synth.slots import SLOTS

BINARY = next(task for task in BUILT_IN.values() if task.kind == "binary")


def decoded(encoder: PromptEncoder, ids: tuple[int, ...]) -> str:
    return str(encoder._tokenizer.decode(list(ids)))


@pytest.mark.parametrize("task", BUILT_IN.values(), ids=lambda task: task.name)
def test_a_question_is_the_prompt_that_serving_makes(task: Task, dataset: Path, note_encoder: PromptEncoder) -> None:
    table = read_notes(dataset, ["val", "test"])
    asked = task_questions(table, task, note_encoder, Evaluation(notes_per_task=20))
    labels = [label for label in table[f"label_{task.name}"].to_pylist() if label >= 0]
    assert [question.answer for question in asked] == labels[:20]
    for question in asked:
        assert question.group == task.name and len(question.options) == len(task.options)
        assert question.ids[0] == note_encoder.bos_ids[0]
        assert decoded(note_encoder, question.ids).endswith("Answer:")


def test_examples_come_answered_and_are_not_asked(dataset: Path, note_encoder: PromptEncoder) -> None:
    table = read_notes(dataset, ["val", "test"])
    plain = task_questions(table, BINARY, note_encoder, Evaluation(notes_per_task=20))
    shown = task_questions(table, BINARY, note_encoder, Evaluation(notes_per_task=20, shots=2))
    for question in shown:
        text = decoded(note_encoder, question.ids)
        assert text.count("Question:") == 3 and text.count("Answer: A") == text.count("Answer: B") == 1
        assert text.endswith("Answer:")
    everything = Evaluation(notes_per_task=1000)
    all_asked = len(task_questions(table, BINARY, note_encoder, everything))
    assert len(task_questions(table, BINARY, note_encoder, everything.model_copy(update={"shots": 2}))) == all_asked - 2
    assert len(shown) == 20 and len(plain) == 20


def test_examples_note_and_questions_fit_the_context() -> None:
    for shots in range(5):
        plan = Evaluation(shots=shots)
        assert (note_tokens(plan, 1024) + 128) * (shots + 1) <= 1024


def test_comprehension_asks_what_the_note_says_and_what_it_does_not(dataset: Path, note_encoder: PromptEncoder) -> None:
    table = read_notes(dataset, ["val", "test"])
    asked = comprehension_questions(table, note_encoder, 10)
    assert len(asked) == 10 and sum(question.answer for question in asked) == 5
    conditions = {max(condition.levels[0].names, key=len): condition.name for condition in CONDITIONS}
    notes = {clean_text(row["text"])[:150]: row for row in table.to_pylist()}
    for question in asked:
        text = decoded(note_encoder, question.ids)
        note = notes[text[:150]]
        name = conditions[text.partition("say that the patient has ")[2].partition("?")[0]]
        told = [v for slot, v in zip(SLOTS[note["note_type"]], note["told"], strict=True) if slot.factor == name]
        assert (max(told) > 0) == question.answer and text.endswith("Answer:")


def test_scores_are_of_the_letters() -> None:
    questions = [Question(BINARY.name, (1,), (5, 6), answer) for answer in (0, 1, 0, 1)]
    questions += [Question(COMPREHENSION, (1,), (5, 6), answer) for answer in (0, 1)]
    logits = torch.tensor([[2.0, 0], [0, 1.0], [1.0, 0], [0.0, 3.0], [0.0, 1.0], [0.0, 2.0]])
    found = scores(questions, logits)
    assert found[BINARY.name] == {"questions": 4, "auroc": 1.0} and found["mean_auroc"] == 1.0
    assert found[COMPREHENSION] == {"questions": 2, "auroc": 1.0, "accuracy": 0.5}
    one_class = scores(questions[:1], logits[:1])
    assert one_class[BINARY.name]["auroc"] is None and "mean_auroc" not in one_class
    assert np.isfinite(logits.numpy()).all()


SCIQ_ENTRY = {
    "question": "What lives in the sea?", "correct_answer": "a whale", "distractor1": "a cat", "distractor2": "a dog",
    "distractor3": "a hen", "support": "Whales live in the sea.",
}  # fmt: skip
PUBMEDQA_ENTRY = {"QUESTION": "Does it help?", "CONTEXTS": ["It was tried.", "It helped."], "final_decision": "yes"}


def test_sciq_and_pubmedqa_are_asked_from_their_files(tmp_path: Path, note_encoder: PromptEncoder) -> None:
    file = tmp_path / "test.json"
    entries = [SCIQ_ENTRY | {"question": f"What lives in the sea, number {number}?"} for number in range(40)]
    file.write_text(json.dumps(entries))
    asked = benchmark_questions("sciq", file, note_encoder, 30)
    assert len(asked) == 30 and {question.answer for question in asked} == {0, 1, 2, 3}
    for question in asked:
        text = decoded(note_encoder, question.ids)
        assert text.startswith("Whales live") and f"{'ABCD'[question.answer]}. a whale" in text
    file.write_text(json.dumps({"1": PUBMEDQA_ENTRY, "2": PUBMEDQA_ENTRY | {"final_decision": "no"}}))
    asked = benchmark_questions("pubmedqa", file, note_encoder, 30)
    assert [question.answer for question in asked] == [2, 0] and len(asked[0].options) == 3
    with pytest.raises(PretrainError, match=r"test\.json is not a sciq file"):
        benchmark_questions("sciq", file, note_encoder, 30)
