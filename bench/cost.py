"""What scoring costs, counted and not timed: tokens, passes, FLOPs, operations, bytes allocated and copied a note.

    python -m bench.cost            writes bench/results/cost.json

Runs on tensors without values, so that a 7B model is counted on any machine and every count is the same everywhere.
A test compares today's code with the recorded counts and fails when one has grown.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench.packed import SHAPES, prompts
from lang1.llama import LlamaConfig, PackedLlama
from lang1.packing import pack

RESULT = Path(__file__).parent / "results" / "cost.json"
# Llama-3.2-1B-like and Llama-2-7B shapes (paper, 5.3), beside those of bench.packed.
COUNTED_SHAPES: dict[str, dict[str, int]] = {
    "100m": SHAPES["100m"],
    "1.1b": {
        "vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
        "num_attention_heads": 32, "num_key_value_heads": 4,
    },
    "7b": {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32,
    },
}  # fmt: skip
BATCH = 4
_COPIES = frozenset({"copy_", "_to_copy", "clone", "contiguous", "cat", "index", "repeat_interleave", "index_select"})


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one note of 512 tokens with five questions of 60, in a batch of BATCH."""

    tokens: float
    """Packed; nothing is padding."""
    forwards: float
    """Passes through the layers."""
    gflop: float
    operations: float
    """Calls of torch's operators."""
    allocated_mb: float
    """Bytes of new tensors, in float32."""
    copied_mb: float
    """Bytes of them that only move what was there."""


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0
        self.allocated = 0
        self.copied = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations += 1
        given = {id(t.untyped_storage()) for t in _tensors(args)}
        for each in _tensors(out):
            if id(each.untyped_storage()) not in given and not func.is_view:
                size = each.numel() * each.element_size()
                self.allocated += size
                if func.overloadpacket.__name__ in _COPIES:
                    self.copied += size
        return out


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for each in value for tensor in _tensors(each)]
    return []


def cost_of(shape: dict[str, int]) -> Cost:
    """The cost of a note with a model of this shape."""
    asked = prompts(BATCH, shape["vocab_size"])
    passes = 0

    def count_pass(*_: Any) -> None:
        nonlocal passes
        passes += 1

    flops, counter = FlopCounterMode(display=False), _Counter()
    batch = pack(asked)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        model = PackedLlama(LlamaConfig.model_validate(shape | {"max_position_embeddings": 1024})).eval()
        with flops:
            model.option_logits(batch)
        model.model.layers[0].register_forward_hook(count_pass)
        with counter:
            model.option_logits(batch)
    return Cost(
        tokens=sum(each.total_tokens for each in asked) / BATCH,
        forwards=passes / BATCH,
        gflop=round(flops.get_total_flops() / BATCH / 1e9, 3),
        operations=counter.operations / BATCH,
        allocated_mb=round(counter.allocated / BATCH / 1e6, 3),
        copied_mb=round(counter.copied / BATCH / 1e6, 3),
    )


def costs() -> dict[str, dict[str, float]]:
    """Of every counted shape."""
    return {name: asdict(cost_of(shape)) for name, shape in COUNTED_SHAPES.items()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None).parse_args()
    found = costs()
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, cost in found.items():
        print(name, *(f"{key} {value:,g}" for key, value in cost.items()), sep="  ")


if __name__ == "__main__":
    main()
