"""LitGPT's model for a recipe, its weights in parts over the processes (FSDP2)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from litgpt.config import Config
from litgpt.model import GPT
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from training.pretraining.convert import HfWeights
from training.pretraining.errors import PretrainError
from training.pretraining.recipe import PretrainRecipe, PretrainShape
from training.pretraining.world import World

VOCAB_MULTIPLE = 64
"""The vocabulary is padded to a multiple, for the matrix units; LitGPT's choice for Llama shapes."""


def padded_vocab_size(vocab_size: int) -> int:
    return -(-vocab_size // VOCAB_MULTIPLE) * VOCAB_MULTIPLE


def litgpt_config(shape: PretrainShape, vocab_size: int, name: str) -> Config:
    """The Llama architecture in LitGPT's terms."""
    return Config(
        name=name,
        block_size=shape.max_position_embeddings,
        n_layer=shape.num_hidden_layers,
        n_embd=shape.hidden_size,
        n_head=shape.num_attention_heads,
        n_query_groups=shape.num_key_value_heads,
        vocab_size=vocab_size,
        padded_vocab_size=padded_vocab_size(vocab_size),
        padding_multiple=VOCAB_MULTIPLE,
        intermediate_size=shape.intermediate_size,
        norm_class_name="RMSNorm",
        norm_eps=shape.rms_norm_eps,
        mlp_class_name="LLaMAMLP",
        rotary_percentage=1.0,
        rope_base=int(shape.rope_theta),
        parallel_residual=False,
        bias=False,
    )


class ShardedModel:
    """A GPT whose weights are DTensors. `weights` are the float32 originals by LitGPT's names, in the model's order."""

    def __init__(self, recipe: PretrainRecipe, vocab_size: int, world: World) -> None:
        self.config = litgpt_config(recipe.model, vocab_size, recipe.name)
        self._world = world
        self._gathers_once = recipe.sharding == "gradients"
        with torch.device("meta"):
            self.module = cast(Any, GPT(self.config))
        blocks = list(self.module.transformer.h)
        if recipe.compile and world.device.type == "cuda":
            for block in blocks:
                block.compile()
        self._mesh: DeviceMesh = init_device_mesh(world.device.type, (world.size,))
        dtype = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
        # Inputs are not cast: the rotary angles' cosines stay float32, and x is in the weights' type already.
        policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for module in (*blocks, self.module):
            fully_shard(module, mesh=self._mesh, mp_policy=policy, reshard_after_forward=not self._gathers_once)
        self.module.to_empty(device=world.device)
        # Made on the CPU whatever the device, so that no machine rotates otherwise than another.
        cos, sin = self.module.rope_cache(torch.device("cpu"))
        self.module.cos, self.module.sin = cos.to(world.device), sin.to(world.device)
        self.weights = cast(dict[str, DTensor], dict(self.module.named_parameters()))
        self._sharded = [module for module in self.module.modules() if isinstance(module, FSDPModule)]

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """LitGPT's pretraining start: sqrt(2/5d), projections into the residual stream 1/(sqrt(d) L).

        Each weight has a stream of its own, so the values do not depend on the number of processes.
        """
        config = self.config
        for name, weight in self.weights.items():
            if weight.dim() == 1:
                self._fill(weight, torch.ones(weight.shape))
                continue
            into_residual = name.endswith(".proj.weight")
            std = 1 / config.n_embd**0.5 / config.n_layer if into_residual else (2 / 5 / config.n_embd) ** 0.5
            digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=7).digest()
            stream = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
            self._fill(weight, torch.empty(weight.shape).normal_(std=std, generator=stream))

    @torch.no_grad()
    def load_base(self, folder: Path) -> None:
        """Start from a Hugging Face checkpoint of the same shape. Raises PretrainError naming what does not fit."""
        with HfWeights(folder, self.config) as source:
            for name, weight in self.weights.items():
                full = source.read(name)
                if full.shape != weight.shape:
                    shapes = f"{tuple(full.shape)} in {folder.name}, {tuple(weight.shape)} in the recipe's model"
                    raise PretrainError(f"base: {name} is {shapes}")
                self._fill(weight, full.float())

    def _fill(self, weight: DTensor, full: Tensor) -> None:
        # No data travels: every process makes the whole tensor and keeps its own part.
        part = distribute_tensor(full.to(self._world.device), self._mesh, weight.placements, src_data_rank=None)
        weight.to_local().copy_(part.to_local())

    def accumulate(self, last: bool) -> None:
        """Before each backward: gradients are summed over processes, and weights given back, at the last one only."""
        self.module.set_requires_gradient_sync(last)
        if self._gathers_once:
            self.module.set_reshard_after_backward(last)

    @contextmanager
    def reading(self) -> Iterator[nn.Module]:
        """The model for forward passes without gradients, its gathered weights given back at the end."""
        self.module.eval()
        try:
            with torch.no_grad():
                yield self.module
        finally:
            for module in self._sharded:
                module.reshard()
            self.module.train()
