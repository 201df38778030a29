"""A tokenizer of the hospital's own, over its notes and its tasks' questions, in Hugging Face format.

Two kinds: byte-level BPE, and BPE in SentencePiece's form, as Llama-2's (a mark for the space, bytes for strangers).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from lang1.tasks import OPTION_LETTERS

BOS_TOKEN = "<s>"  # noqa: S105 - a control token, not a password
EOS_TOKEN = "</s>"  # noqa: S105
UNKNOWN_TOKEN = "<unk>"  # noqa: S105
TokenizerKind = Literal["byte-level", "sentencepiece"]
_SPACE_MARK = "\u2581"
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train_tokenizer(texts: Iterable[str], vocab_size: int, kind: TokenizerKind = "byte-level") -> Tokenizer:
    """BPE with BOS and EOS as control tokens. Every byte is in the vocabulary, so no text is unknown.

    Digits stay apart, so that 38.5 and 138 share no opaque token, and each option letter with its space is one token.
    """
    return _byte_level(texts, vocab_size) if kind == "byte-level" else _sentencepiece(texts, vocab_size)


def _byte_level(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS_TOKEN, EOS_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(texts), trainer)
    return tokenizer


def _sentencepiece(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """As Llama-2's, but for two things: no mark is put before a text, so that note and question join as ids, and words
    are not joined across spaces, so that training and long notes take time in proportion to their length."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN_TOKEN, fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            # A line break is a token of its own, as in Llama-2, and never part of a word.
            pre_tokenizers.Split(Regex(r"[\r\n\t]"), behavior="isolated"),
            pre_tokenizers.Metaspace(replacement=_SPACE_MARK, prepend_scheme="never", split=True),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE_MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[UNKNOWN_TOKEN, BOS_TOKEN, EOS_TOKEN, *_BYTES],
        # Rare characters are their bytes: a vocabulary spent on them would have no words.
        limit_alphabet=256,
        initial_alphabet=[chr(code) for code in range(0x21, 0x7F)] + [_SPACE_MARK],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(texts), trainer)
    # The trainer takes whole tokens as control tokens only. Bytes are ordinary: decoding must not leave them out.
    described = json.loads(tokenizer.to_str())
    described["added_tokens"] = [token for token in described["added_tokens"] if token["content"] not in _BYTES]
    return Tokenizer.from_str(json.dumps(described))


def _corpus(texts: Iterable[str]) -> Iterable[str]:
    # The letters must merge with their space whatever the notes hold; this line makes those pairs frequent.
    yield "".join(f"\nAnswer: {letter}" for letter in OPTION_LETTERS) * 1000
    yield from texts
