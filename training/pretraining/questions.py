"""Questions asked along pretraining: the project's own tasks, and whether a note says something.

Each is a prompt whose next token is an option letter; the answer is read from the letters' logits alone. AUROC on the
tasks is expected to stay near chance and comprehension to rise (paper, figure 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from lang1.discrimination import macro_auroc
from lang1.notes import ClinicalNote, clean_text
from lang1.prompt import PromptEncoder
from lang1.tasks import BUILT_IN, Option, Task
from training.encoded import NO_LABEL
from training.finetune import probabilities_of
from training.pretraining.recipe import Evaluation
from training.recipe import QUESTION_TOKENS
from training.synth.arrow import Table
from training.synth.conditions import CONDITIONS, Condition
from training.synth.slots import SLOTS

COMPREHENSION = "comprehension"


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, the ids of its option letters, and the right option. `group` is a task, or what is asked of a text."""

    group: str
    ids: tuple[int, ...]
    options: tuple[int, ...]
    answer: int


def note_tokens(plan: Evaluation, context: int) -> int:
    """Tokens of each note, so that the examples, the note and their questions fit the context."""
    return max(1, min(plan.note_tokens, context // (plan.shots + 1) - QUESTION_TOKENS))


def task_questions(table: Table, task: Task, encoder: PromptEncoder, plan: Evaluation) -> list[Question]:
    """Zero-shot or few-shot questions of one task; the examples are its first labelled notes, options in turn."""
    labels = table[f"label_{task.name}"].to_numpy()
    labelled = np.flatnonzero(labels != NO_LABEL)
    by_option = [labelled[labels[labelled] == option] for option in range(len(task.options))]
    turns = [rows[turn] for turn in range(plan.shots) for rows in by_option if turn < len(rows)]
    examples = [int(row) for row in turns[: plan.shots]]
    asked = [int(row) for row in labelled if row not in examples][: plan.notes_per_task]
    chosen = table.take([*examples, *asked])
    prompts = list(_prompts(chosen, task, encoder))
    shown: tuple[int, ...] = ()
    for row, (ids, options) in zip(examples, prompts, strict=False):
        shown += (*ids, options[labels[row]])
    return [
        Question(task.name, shown + ids, options, int(labels[row]))
        for row, (ids, options) in zip(asked, prompts[len(examples) :], strict=True)
    ]


def _prompts(table: Table, task: Task, encoder: PromptEncoder) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    for text, loinc in zip(table["text"].to_pylist(), table["note_type"].to_pylist(), strict=True):
        prompt = encoder.encode(ClinicalNote("", clean_text(text), loinc), [task.name])
        suffix = prompt.suffixes[0]
        yield prompt.prefix_ids + suffix.token_ids, suffix.option_ids


def comprehension_questions(table: Table, encoder: PromptEncoder, count: int) -> list[Question]:
    """Of each note one condition that it states and one that it does not: does the note say it? Half are yes.

    Only what stands in the tokens that are read counts as said; what is cut off is not asked.
    """
    single = {condition.name: condition for condition in CONDITIONS if len(condition.levels) == 1}
    questions: list[Question] = []
    columns = (table[name].to_pylist() for name in ("text", "note_type", "told", "ends"))
    for number, (text, loinc, told, ends) in enumerate(zip(*columns, strict=True)):
        if len(questions) + 2 > count:
            break
        cleaned = clean_text(text)
        kept = encoder.kept_characters(cleaned)
        said, cut = set[str](), set[str]()
        for slot, value, end in zip(SLOTS[loinc], told, ends, strict=True):
            if value > 0:
                (said if end <= kept else cut).add(slot.factor)
        yes = sorted(said & single.keys())
        no = sorted(single.keys() - said - cut)
        if yes and no:
            ids, _ = encoder.note_ids(cleaned)
            for answer, names in ((1, yes), (0, no)):
                task = _question(single[names[number % len(names)]])
                suffix = encoder.suffix(task, loinc)
                prompt = encoder.bos_ids + tuple(ids) + suffix.token_ids
                questions.append(Question(COMPREHENSION, prompt, suffix.option_ids, answer))
    return questions


def _question(condition: Condition) -> Task:
    name = max(condition.levels[0].names, key=len)
    template = next(task for task in BUILT_IN.values() if task.kind == "binary")
    return template.model_copy(
        update={
            "name": f"says_{condition.name}",
            "question": f"Does the above {{note}} say that the patient has {name}?",
            "options": (Option(text="no", code="no", display="no"), Option(text="yes", code="yes", display="yes")),
        }
    )


def scores(questions: Sequence[Question], logits: Tensor) -> dict[str, Any]:
    """Group to AUROC, number of questions, and accuracy where a question has a right answer in its note."""
    found: dict[str, Any] = {}
    for group in dict.fromkeys(question.group for question in questions):
        rows = [index for index, question in enumerate(questions) if question.group == group]
        options = len(questions[rows[0]].options)
        probabilities = probabilities_of(logits[rows, :options].double().numpy())
        answers = np.asarray([questions[index].answer for index in rows])
        auroc = macro_auroc(probabilities, answers)
        found[group] = {"questions": len(rows), "auroc": None if np.isnan(auroc) else round(auroc, 4)}
        if group not in BUILT_IN:
            found[group]["accuracy"] = round(float((probabilities.argmax(1) == answers).mean()), 4)
    aurocs = [entry["auroc"] for name, entry in found.items() if name in BUILT_IN and entry["auroc"] is not None]
    return found | ({"mean_auroc": round(float(np.mean(aurocs)), 4)} if aurocs else {})
