"""A model with fresh weights, from a recipe's shape."""

from __future__ import annotations

import torch

from lang1.llama import LlamaConfig, PackedLlama
from training.recipe import ModelShape

INITIAL_STD = 0.02


def fresh_model(shape: ModelShape, vocab_size: int, seed: int) -> PackedLlama:
    """Normal weights of 0.02; projections into the residual stream scaled by 1/sqrt(2 layers), as in GPT-2."""
    torch.manual_seed(seed)
    fields = shape.model_dump(exclude={"vocab_size"})
    model = PackedLlama(
        LlamaConfig.model_validate(
            {
                **fields,
                "vocab_size": vocab_size,
                "head_dim": shape.hidden_size // shape.num_attention_heads,
                "tie_word_embeddings": True,
            }
        )
    )
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            std = INITIAL_STD / (2 * shape.num_hidden_layers) ** 0.5 if into_residual else INITIAL_STD
            torch.nn.init.normal_(parameter, std=std)
    return model
