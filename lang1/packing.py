"""Layout of packed prompts in one row of tokens: `[note 1 | suffixes of 1 | note 2 | ...]`, no padding.

A suffix sees its note and itself. Its positions go on from the end of its note, so every suffix is where it would stand
if it were the only question. The layout is computed once a batch and used by every layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lang1.prompt import PackedPrompt


@dataclass(frozen=True, slots=True)
class NoteSpan:
    """Where one note lies in the row: tokens [start, note_end) are the note, [note_end, end) its suffixes."""

    start: int
    note_end: int
    end: int
    suffix_mask: Tensor
    """bool (end - note_end, end - start): what each suffix token may see; True is visible."""
    read_mask: Tensor
    """bool (suffixes, end - start): the mask rows of this note's read positions."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """One row of T tokens holding N notes and R suffixes."""

    token_ids: Tensor
    """int64 (T,)"""
    positions: Tensor
    """int64 (T,)"""
    read_positions: Tensor
    """int64 (R,): last token of every suffix, where the answer's logits are read."""
    notes: tuple[NoteSpan, ...]
    option_ids: tuple[tuple[int, ...], ...]
    """R tuples of option token ids."""

    @property
    def total_tokens(self) -> int:
        return int(self.token_ids.shape[0])


def pack(prompts: Sequence[PackedPrompt], device: torch.device | str = "cpu") -> PackedBatch:
    """Lay prompts out in one row. Every prompt needs at least one note token and one suffix."""
    assert prompts, "a batch holds at least one prompt"
    token_ids: list[int] = []
    positions: list[int] = []
    reads: list[int] = []
    option_ids: list[tuple[int, ...]] = []
    notes: list[NoteSpan] = []
    for prompt in prompts:
        assert prompt.prefix_ids and prompt.suffixes, "a prompt holds a note and a question"
        start, note_length = len(token_ids), len(prompt.prefix_ids)
        token_ids.extend(prompt.prefix_ids)
        positions.extend(range(note_length))
        read_start = len(reads)
        for suffix in prompt.suffixes:
            length = len(suffix.token_ids)
            token_ids.extend(suffix.token_ids)
            positions.extend(range(note_length, note_length + length))
            reads.append(len(token_ids) - 1)
            option_ids.append(suffix.option_ids)
        mask = _suffix_mask(note_length, [len(suffix.token_ids) for suffix in prompt.suffixes])
        own_reads = torch.tensor([read - start - note_length for read in reads[read_start:]])
        notes.append(
            NoteSpan(
                start=start,
                note_end=start + note_length,
                end=len(token_ids),
                suffix_mask=mask.to(device),
                read_mask=mask[own_reads].to(device),
            )
        )
    return PackedBatch(
        token_ids=torch.tensor(token_ids, device=device),
        positions=torch.tensor(positions, device=device),
        read_positions=torch.tensor(reads, device=device),
        notes=tuple(notes),
        option_ids=tuple(option_ids),
    )


def _suffix_mask(note_length: int, suffix_lengths: Sequence[int]) -> Tensor:
    """bool (S, note_length + S), S = sum of suffix lengths: the note and, causally, the own suffix."""
    owner = torch.repeat_interleave(torch.arange(len(suffix_lengths)), torch.tensor(suffix_lengths))
    total = owner.shape[0]
    own = (owner[:, None] == owner[None, :]).tril_()
    return torch.cat([torch.ones(total, note_length, dtype=torch.bool), own], dim=1)


def batches_by_tokens(prompts: Sequence[PackedPrompt], max_tokens: int) -> Iterator[list[int]]:
    """Indices of `prompts` in order, in groups of at most `max_tokens`; a longer prompt goes alone."""
    group: list[int] = []
    tokens = 0
    for index, prompt in enumerate(prompts):
        if group and tokens + prompt.total_tokens > max_tokens:
            yield group
            group, tokens = [], 0
        group.append(index)
        tokens += prompt.total_tokens
    if group:
        yield group
