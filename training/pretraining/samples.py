"""Text that the model writes, to a file for its owner alone: it may repeat a patient's note."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.pretraining.journal import Journal
from training.pretraining.model import ShardedModel
from training.pretraining.recipe import PretrainRecipe, Samples
from training.pretraining.shards import TOKENIZER_FILE, Tokens
from training.pretraining.tokens import token_id


def write_samples(
    model: ShardedModel, recipe: PretrainRecipe, data: Tokens, step: int, journal: Journal, device: torch.device
) -> None:
    """One text a prompt. Every process computes the same one; the first writes it."""
    plan = recipe.samples
    assert plan is not None
    tokenizer = Tokenizer.from_file(str(data.folder / TOKENIZER_FILE))
    bos, eos = (token_id(tokenizer, name) for name in (data.manifest.bos_token, data.manifest.eos_token))
    room = recipe.model.max_position_embeddings - plan.tokens
    with model.reading() as module:
        for number, prompt in enumerate(plan.prompts):
            start = [bos, *tokenizer.encode(prompt, add_special_tokens=False).ids][:room]
            dice = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step * 101 + number)
            row = torch.tensor([start + [eos] * plan.tokens], device=device)
            # All at one length, and never shorter: processes that disagreed on an end would wait for each other.
            for at in range(len(start), row.shape[1]):
                row[0, at] = _drawn(module(row)[0, at - 1, : data.manifest.vocab_size], plan, dice)
            written = row[0, len(start) :].tolist()
            written = written[: written.index(eos)] if eos in written else written
            journal.sample(step, prompt, tokenizer.decode(written))


def _drawn(logits: Tensor, plan: Samples, dice: torch.Generator) -> int:
    if plan.temperature == 0:
        return int(logits.argmax())
    chances = torch.softmax(logits.float().cpu() / plan.temperature, dim=-1)
    return int(torch.multinomial(chances, 1, generator=dice))
