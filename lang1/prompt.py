"""Note to prompt: tokens of the note, cut to fit, and tokens of each task's question, which are never cut.

Note and question are tokenised apart and joined as ids, so that where the note ends cannot change how a question is
read. Control-token text in a note ("</s>") is plain text: ordinary tokens, never a control id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from lang1.errors import BundleError
from lang1.notes import ClinicalNote
from lang1.tasks import OPTION_LETTERS, Task, TaskRegistry

# Text is tokenised in pieces of at most this many characters, cut at spaces: tokenisers without a pre-tokeniser
# (Llama-2's) are far slower than linear on long text.
_PIECE_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class TaskSuffix:
    """One task's question as ids, and the id of each option letter (K of them) whose logit is read after the last."""

    task: str
    token_ids: tuple[int, ...]
    option_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PackedPrompt:
    """`[note | suffix 1 | ... | suffix n]` of one note. `prefix_ids` is the note with its BOS, if the model has one."""

    prefix_ids: tuple[int, ...]
    suffixes: tuple[TaskSuffix, ...]
    note_type: str | None
    note_tokens: int
    """Tokens of the note that are in the prompt, BOS not counted."""
    dropped_tokens: int
    """Tokens cut from the end of the note."""
    total_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        total = len(self.prefix_ids) + sum(len(suffix.token_ids) for suffix in self.suffixes)
        object.__setattr__(self, "total_tokens", total)


class PromptEncoder:
    """Encodes notes and questions with one tokeniser. Raises BundleError when an option letter is not one token."""

    def __init__(
        self, tokenizer: Tokenizer, registry: TaskRegistry, max_note_tokens: int, bos_token: str | None
    ) -> None:
        if max_note_tokens < 1:
            raise BundleError(f"max_note_tokens is {max_note_tokens}; it must be at least 1")
        self.registry = registry
        self.max_note_tokens = max_note_tokens
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # transformers calls this split_special_tokens: "</s>" in a note is five characters, not a control id.
        self._tokenizer.encode_special_tokens = True
        self.bos_ids: tuple[int, ...] = ()
        if bos_token is not None:
            bos_id = tokenizer.token_to_id(bos_token)
            if bos_id is None:
                raise BundleError(f"the tokenizer has no {bos_token!r} token, which the bundle says starts every note")
            self.bos_ids = (bos_id,)
        longest = max(len(task.options) for task in registry.values())
        self._letter_ids = self._find_letter_ids(OPTION_LETTERS[:longest])
        self._suffixes: dict[tuple[str, str], TaskSuffix] = {}

    @classmethod
    def from_file(
        cls, path: Path, registry: TaskRegistry, max_note_tokens: int, bos_token: str | None
    ) -> PromptEncoder:
        """From a Hugging Face `tokenizer.json`. Raises BundleError when it cannot be read."""
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise BundleError(
                f"{path.name} is not a tokenizer.json ({type(error).__name__}); remake the bundle"
            ) from None
        return cls(tokenizer, registry, max_note_tokens, bos_token)

    @property
    def bos_token(self) -> str | None:
        """The token that starts every note, if one does."""
        return self._tokenizer.id_to_token(self.bos_ids[0]) if self.bos_ids else None

    @property
    def vocab_size(self) -> int:
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode(self, note: ClinicalNote, tasks: Sequence[str] | None = None) -> PackedPrompt:
        """The packed prompt of a cleaned note for the named tasks (all by default), in registry order.

        The beginning of the note is kept (paper, 5.4). Raises UnknownTaskError.
        """
        selected = self.registry.select(tasks)
        ids, total = self.note_ids(note.text)
        return PackedPrompt(
            prefix_ids=self.bos_ids + tuple(ids),
            suffixes=tuple(self.suffix(task, note.note_type) for task in selected),
            note_type=note.note_type,
            note_tokens=len(ids),
            dropped_tokens=total - len(ids),
        )

    def note_ids(self, text: str) -> tuple[list[int], int]:
        """The first `max_note_tokens` ids of a text, and how many it has in all.

        Both are exact for tokenisers that never join tokens across a space, as byte-level BPE; with one that puts a
        mark before every text (Llama-2's), each piece of 20,000 characters counts one token more.
        """
        kept: list[int] = []
        total = 0
        for piece in _pieces(text):
            ids = self._ids(piece)
            total += len(ids)
            kept.extend(ids[: self.max_note_tokens - len(kept)])
        return kept, total

    def suffix(self, task: Task, loinc: str | None) -> TaskSuffix:
        """A task's question for a note of this type, as ids; made once and kept."""
        text = task.suffix(loinc)
        key = (task.name, text)
        if key not in self._suffixes:
            self._suffixes[key] = TaskSuffix(
                task=task.name,
                token_ids=tuple(self._ids(text)),
                option_ids=tuple(self._letter_ids[letter] for letter in task.letters),
            )
        return self._suffixes[key]

    def token_ends(self, text: str) -> list[int]:
        """For every token of a whole text, the character offset where it ends."""
        return [end for _, end in self._tokenizer.encode(text, add_special_tokens=False).offsets]

    def kept_characters(self, text: str) -> float:
        """Characters of a text that its first `max_note_tokens` ids cover; infinity when that is all of it."""
        ends = self.token_ends(text)
        return float(ends[self.max_note_tokens - 1]) if len(ends) > self.max_note_tokens else float("inf")

    def save(self, path: Path) -> None:
        """Write the tokenizer as a Hugging Face `tokenizer.json`."""
        self._tokenizer.save(str(path))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _find_letter_ids(self, letters: str) -> dict[str, int]:
        """The id that follows "Answer:" for each letter: the token with its space (" A"), not the bare letter."""
        stem = self._ids("Answer:")
        found: dict[str, int] = {}
        for letter in letters:
            ids = self._ids(f"Answer: {letter}")
            if ids[: len(stem)] != stem or len(ids) != len(stem) + 1:
                raise BundleError(
                    f"the tokenizer does not read ' {letter}' after 'Answer:' as one token; train one that does"
                )
            found[letter] = ids[-1]
        if len(set(found.values())) != len(found):
            raise BundleError("two option letters have the same token id; the tokenizer cannot be used")
        return found


def _pieces(text: str) -> list[str]:
    """`text` in pieces that join to it, cut before a space so that " word" stays whole; one piece when it is short."""
    pieces = []
    start = 0
    while len(text) - start > _PIECE_CHARACTERS:
        cut = text.rfind(" ", start + 1, start + _PIECE_CHARACTERS)
        cut = cut if cut > start else start + _PIECE_CHARACTERS
        pieces.append(text[start:cut])
        start = cut
    pieces.append(text[start:])
    return pieces


def suffix_sha256(task: Task, loinc: str | None) -> str:
    """Hash of a rendered question; a bundle keeps it and refuses to load with other words."""
    return hashlib.sha256(task.suffix(loinc).encode()).hexdigest()
