"""A tokenizer of the hospital's own: byte-level BPE over its notes and its tasks' questions, in Hugging Face format."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lang1.tasks import OPTION_LETTERS

BOS_TOKEN = "<s>"  # noqa: S105 - a control token, not a password
EOS_TOKEN = "</s>"  # noqa: S105


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE with BOS and EOS as control tokens. Every byte is in the alphabet, so no text is unknown.

    Digits stay apart, so that 38.5 and 138 share no opaque token, and each option letter with its space is one token.
    """
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
    # The letters must merge with their space whatever the notes hold; this line makes those pairs frequent.
    letters = "".join(f"\nAnswer: {letter}" for letter in OPTION_LETTERS) * 1000

    def corpus() -> Iterable[str]:
        yield letters
        yield from texts

    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer
