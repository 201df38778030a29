"""A warm-up on what notes say: short probes about recorded facts, packed behind the note as the tasks' questions are.

Outcomes are rare and noisy: a small model that sees tens of thousands of notes learns little of reading from them.
What a note states of a fact is certain, so each note can teach many answers. On the synthetic hospital the facts are
what the simulator told; in a hospital, problem lists and coded diagnoses can play the part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lang1.notes import clean_text
from lang1.prompt import PromptEncoder
from lang1.tasks import Horizon, Option, Task, TaskRegistry
from training.encoded import NO_LABEL, EncodedNotes
from training.finetune import Row
from training.recipe import Comprehension
from training.synth.arrow import Table
from training.synth.slots import SLOTS, UNTOLD, Slot

NO_PROBE = -2


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


@dataclass(frozen=True, slots=True)
class ToldFacts:
    """What N notes tell, by probe. `value` int8 (N, P): the told value, UNTOLD, or NO_PROBE for another note type;
    `token` int32 (N, P): the note token with which the statement is complete."""

    names: tuple[str, ...]
    value: npt.NDArray[np.int8]
    token: npt.NDArray[np.int32]
    not_stated: npt.NDArray[np.int8]
    """(P,): the option that stands for "not stated"."""

    def labels(self, rows: npt.NDArray[np.intp], tokens: npt.NDArray[np.intp]) -> npt.NDArray[np.int8]:
        """(len(rows), P) labels when only the first `tokens` tokens of each row are read; NO_LABEL where not asked."""
        value = self.value[rows]
        read = (value != UNTOLD) & (self.token[rows] < tokens[:, None])
        return np.where(value == NO_PROBE, NO_LABEL, np.where(read, value, self.not_stated)).astype(np.int8)


def told_facts(table: Table, encoder: PromptEncoder) -> ToldFacts:
    """What the notes of a dataset table (text, note_type, told, ends) tell, and by which token.

    A fact with two places in a note (history and background) is stated where either tells it, the earlier one deciding.
    """
    registry = probes()
    column = {name: index for index, name in enumerate(registry)}
    value = np.full((table.num_rows, len(registry)), NO_PROBE, dtype=np.int8)
    token = np.zeros((table.num_rows, len(registry)), dtype=np.int32)
    columns = (table[name].to_pylist() for name in ("text", "note_type", "told", "ends"))
    for row, (text, loinc, told, ends) in enumerate(zip(*columns, strict=True)):
        at = np.searchsorted(encoder.token_ends(clean_text(text)), ends)
        for slot, said, place in zip(SLOTS[loinc], told, at.tolist(), strict=True):
            p = column[_name(loinc, slot)]
            earlier = said != UNTOLD and (value[row, p] < 0 or place < token[row, p])
            if value[row, p] == NO_PROBE or earlier:
                value[row, p], token[row, p] = said, place
    options = np.asarray([len(probe.options) - 1 for probe in registry.values()], dtype=np.int8)
    return ToldFacts(tuple(registry), value, token, options)


def comprehension_steps(
    notes: EncodedNotes,
    facts: ToldFacts,
    encoder: PromptEncoder,
    plan: Comprehension,
    rng: np.random.Generator,
) -> Iterator[list[Row]]:
    """Steps of notes cut short, with probes about what the kept part says; half of them about facts it states.

    The cut grows over the run from `first_note_tokens` to the whole note: over a short text attention finds what a
    question is about within a few hundred steps, over a long one it stays at the marginals for thousands.
    """
    lengths = np.diff(notes.offsets)
    step = 0
    while True:
        for order in _batches(rng.permutation(len(notes)), 512):
            pending = list(order)
            while pending:
                share = min(1.0, step / max(1, plan.grow_steps))
                longest = plan.first_note_tokens + share * (encoder.max_note_tokens - plan.first_note_tokens)
                rows: list[Row] = []
                tokens = 0
                while pending and tokens < plan.optimization.batch_tokens:
                    index = int(pending.pop())
                    cut = min(int(lengths[index]), int(longest * rng.uniform(0.6, 1.0)))
                    row = _probe_row(notes, facts, encoder, index, cut, plan.questions_per_note, rng)
                    rows.append(row)
                    tokens += row.prompt.total_tokens
                if tokens < plan.optimization.batch_tokens / 2:
                    break  # the rest of a shuffle is too small for a step
                step += 1
                yield rows


def _batches(order: npt.NDArray[np.intp], size: int) -> Iterator[npt.NDArray[np.intp]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _probe_row(
    notes: EncodedNotes,
    facts: ToldFacts,
    encoder: PromptEncoder,
    index: int,
    cut: int,
    questions: int,
    rng: np.random.Generator,
) -> Row:
    labels = facts.labels(np.asarray([index]), np.asarray([cut]))[0]
    stated = rng.permutation(np.flatnonzero((labels != NO_LABEL) & (labels != facts.not_stated)))
    absent = rng.permutation(np.flatnonzero(labels == facts.not_stated))
    told = stated[: max(questions - len(absent), questions * 2 // 3)]
    asked = np.sort(np.concatenate([told, absent[: questions - len(told)]]))
    prompt = notes.prompt(index, [facts.names[int(p)] for p in asked], encoder, max_tokens=cut)
    return Row(prompt, tuple(int(labels[p]) for p in asked))
