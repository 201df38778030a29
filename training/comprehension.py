"""Learning what notes say, beside learning outcomes: two losses whose heads are dropped after training.

Outcomes are rare and noisy: a small model that starts from nothing and sees tens of thousands of notes learns little of
reading from them. What a note states is certain, there is much of it in every note, and it is known where it stands.
So the token that completes a statement learns to tell it (attention over one sentence finds that quickly, however
long the note), and the position where a task's answer is read learns to tell all that the note stated, which gathers
the statements where outcomes are decided. On the synthetic hospital the facts are what the simulator wrote; in a
hospital, coded problems matched to their mentions can play the part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lang1.llama import PackedLlama
from lang1.notes import clean_text
from lang1.packing import PackedBatch, pack
from lang1.prompt import PromptEncoder
from training.encoded import NO_LABEL
from training.finetune import Row, answer_loss
from training.recipe import Comprehension
from training.synth.arrow import Table
from training.synth.slots import SLOTS, UNTOLD, Slot

NOT_OF_THIS_TYPE = -2


def subject(slot: Slot) -> str:
    """What a slot tells of; two places of one subject (history and background) share it."""
    return slot.factor.replace("_", " ") if slot.wording is None else slot.wording.heads[0]


def subjects() -> dict[tuple[str, str], int]:
    """Every (note type, subject) that the simulator can tell, with its number of values."""
    return {(loinc, subject(slot)): slot.channel().shape[0] for loinc, slots in SLOTS.items() for slot in slots}


@dataclass(frozen=True, slots=True)
class ToldFacts:
    """What N notes tell, by subject. `value` int8 (N, S): the told value, UNTOLD, or NOT_OF_THIS_TYPE; `token` int32
    (N, S): the note token with which the statement is complete."""

    value: npt.NDArray[np.int8]
    token: npt.NDArray[np.int32]
    values: tuple[int, ...]
    """(S,): how many values each subject has; the option after them is "not stated"."""

    @property
    def not_stated(self) -> npt.NDArray[np.int64]:
        """(S,) index of the option "not stated"."""
        return np.asarray(self.values, dtype=np.int64)

    def stated(self, row: int, tokens: int) -> npt.NDArray[np.bool_]:
        """(S,): which subjects the first `tokens` tokens of a note state."""
        return np.asarray((self.value[row] >= 0) & (self.token[row] < tokens))

    def recall_labels(self, row: int, tokens: int) -> npt.NDArray[np.int64]:
        """(S,) options to tell after reading the first `tokens` tokens; NO_LABEL for another note type's subject."""
        labels = np.where(self.stated(row, tokens), self.value[row], self.not_stated)
        return np.where(self.value[row] == NOT_OF_THIS_TYPE, NO_LABEL, labels)

    def statement_labels(
        self, row: int, tokens: int, plain: npt.NDArray[np.intp]
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
        """Note tokens (n,) that complete a statement, with the `plain` ones, and what each tells, options (n, S)."""
        stated = self.stated(row, tokens)
        places = np.unique(np.concatenate([self.token[row][stated], plain]).astype(np.intp))
        here = (self.token[row][None, :] == places[:, None]) & stated[None, :]
        return places, np.where(here, self.value[row][None, :], self.not_stated[None, :]).astype(np.int64)


def told_facts(table: Table, encoder: PromptEncoder) -> ToldFacts:
    """What the notes of a dataset table (text, note_type, told, ends) tell, and by which token.

    A subject with two places in a note (history and background) is stated where either tells it; the earlier decides.
    """
    counts = subjects()
    column = {key: index for index, key in enumerate(counts)}
    value = np.full((table.num_rows, len(counts)), NOT_OF_THIS_TYPE, dtype=np.int8)
    token = np.zeros((table.num_rows, len(counts)), dtype=np.int32)
    columns = (table[name].to_pylist() for name in ("text", "note_type", "told", "ends"))
    for row, (text, loinc, told, ends) in enumerate(zip(*columns, strict=True)):
        at = np.searchsorted(encoder.token_ends(clean_text(text)), ends)
        for slot, said, place in zip(SLOTS[loinc], told, at.tolist(), strict=True):
            s = column[loinc, subject(slot)]
            earlier = said != UNTOLD and (value[row, s] < 0 or place < token[row, s])
            if value[row, s] == NOT_OF_THIS_TYPE or earlier:
                value[row, s], token[row, s] = said, place
    return ToldFacts(value, token, tuple(counts.values()))


class FactHead(nn.Module):
    """From a hidden state to an option of every subject. `lean` is the first bias of "not stated"."""

    valid: Tensor

    def __init__(self, hidden: int, values: Sequence[int], lean: float) -> None:
        super().__init__()
        options = max(values) + 1
        self.norm = nn.RMSNorm(hidden)
        self.linear = nn.Linear(hidden, len(values) * options)
        bias = torch.zeros(len(values), options)
        bias[torch.arange(len(values)), torch.tensor(values)] = lean
        nn.init.zeros_(self.linear.weight)
        self.linear.bias = nn.Parameter(bias.flatten())
        self.register_buffer("valid", torch.arange(options)[None] <= torch.tensor(values)[:, None], persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        """(n, hidden) to logits (n, S, options), masked where a subject has fewer."""
        logits = self.linear(self.norm(states)).unflatten(-1, self.valid.shape)
        return logits.masked_fill(~self.valid, -1e4)  # type: ignore[no-any-return]


class AnswersAndFacts:
    """Answers, and what the note states: told where it stands (`statement`) and where answers are read (`recall`)."""

    def __init__(
        self, facts: ToldFacts, plan: Comprehension, model: PackedLlama, answer_space: str, rng: np.random.Generator
    ) -> None:
        self._facts, self._plan, self._answer_space, self._rng = facts, plan, answer_space, rng
        # Most tokens state nothing of most subjects; a head that starts there needs no steps to learn it.
        hidden, device = model.config.hidden_size, next(model.parameters()).device
        self._statement = FactHead(hidden, facts.values, lean=5.0).to(device)
        self._recall = FactHead(hidden, facts.values, lean=0.0).to(device)

    def parameters(self) -> Iterable[nn.Parameter]:
        return [*self._statement.parameters(), *self._recall.parameters()]

    def __call__(self, model: PackedLlama, rows: Sequence[Row]) -> dict[str, Tensor]:
        batch = pack([row.prompt for row in rows], next(model.parameters()).device)
        with _output_of(model.model.layers[self._plan.layer]) as middle:
            hidden = model.hidden_states(batch, read_only=True)
        answers = answer_loss(model, hidden, batch, rows, self._answer_space)
        with torch.autocast(hidden.device.type, enabled=False):
            statement = self._statement_loss(middle[0].float(), batch, rows)
            recall = self._recall_loss(hidden.float(), rows)
        loss = answers + self._plan.statement_weight * statement + self._plan.recall_weight * recall
        return {"loss": loss, "answers": answers, "statement": statement, "recall": recall}

    def _statement_loss(self, states: Tensor, batch: PackedBatch, rows: Sequence[Row]) -> Tensor:
        """Cross-entropy over all subjects at the chosen tokens, by the number of statements. `states` (T, hidden)."""
        positions: list[npt.NDArray[np.intp]] = []
        labels: list[npt.NDArray[np.int64]] = []
        for span, row in zip(batch.notes, rows, strict=True):
            tokens = row.prompt.note_tokens
            plain = self._rng.integers(0, tokens, self._plan.plain_tokens)
            places, told = self._facts.statement_labels(row.note, tokens, plain)
            positions.append(places + span.note_end - tokens)
            labels.append(told)
        targets = torch.from_numpy(np.concatenate(labels)).to(states.device)
        chosen = states[torch.from_numpy(np.concatenate(positions)).to(states.device)]
        total = F.cross_entropy(self._statement(chosen).flatten(0, 1), targets.flatten(), reduction="sum")
        stated = (targets != torch.from_numpy(self._facts.not_stated).to(states.device)).sum()
        return total / stated.clamp(min=1)

    def _recall_loss(self, states: Tensor, rows: Sequence[Row]) -> Tensor:
        """Mean cross-entropy over the subjects of the note's type. `states` (R, hidden) at the read positions."""
        wanted = np.stack(
            [self._facts.recall_labels(row.note, row.prompt.note_tokens) for row in rows for _ in row.labels]
        )
        targets = torch.from_numpy(wanted).to(states.device).flatten()
        return F.cross_entropy(self._recall(states).flatten(0, 1), targets, ignore_index=NO_LABEL)


@contextmanager
def _output_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """The layer's output of the one pass made inside the block."""
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        yield kept
    finally:
        handle.remove()
