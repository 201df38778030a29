"""Forward pass and gradient of attention on CPU: the pass of `lang1.attention` against torch's fused kernel.

python -m bench.attention            # writes bench/results/attention.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812

from lang1.attention import attend

LENGTHS = (128, 256, 384, 512)
HEADS, HEAD_DIM = 3, 64
REPEATS, ROUNDS = 20, 7


def measure() -> list[dict[str, float]]:
    """Milliseconds of forward and gradient by note length, bfloat16, causal: medians over rounds, taken in turns."""
    found = []
    for length in LENGTHS:
        inputs = [torch.randn(1, HEADS, length, HEAD_DIM, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
        weight = torch.randn(1, HEADS, length, HEAD_DIM, dtype=torch.bfloat16)

        def ours(inputs: list[torch.Tensor] = inputs, weight: torch.Tensor = weight) -> None:
            attend(inputs[0], inputs[1], inputs[2], None).backward(weight)  # type: ignore[no-untyped-call]

        def fused(inputs: list[torch.Tensor] = inputs, weight: torch.Tensor = weight) -> None:
            F.scaled_dot_product_attention(inputs[0], inputs[1], inputs[2], is_causal=True).backward(weight)  # type: ignore[no-untyped-call]

        rounds = [(_milliseconds(ours), _milliseconds(fused)) for _ in range(ROUNDS)]
        mine, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
        found.append({"tokens": length, "ours_ms": mine, "fused_ms": theirs, "ratio": theirs / mine})
    return found


def _milliseconds(call: Callable[[], None]) -> float:
    call()
    started = time.perf_counter()
    for _ in range(REPEATS):
        call()
    return (time.perf_counter() - started) / REPEATS * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "attention.json")
    out = parser.parse_args().out
    rows = measure()
    hardware = {
        "cpus": os.cpu_count(), "threads": torch.get_num_threads(), "architecture": platform.machine(),
        "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip
    record = {"hardware": hardware, "heads": HEADS, "head_dim": HEAD_DIM, "dtype": "bfloat16", "lengths": rows}
    out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        ours, fused = f"ours {row['ours_ms']:.2f} ms", f"fused {row['fused_ms']:.2f} ms"
        print(f"{row['tokens']:>5} tokens  {ours}  {fused}  {row['ratio']:.2f}x")


if __name__ == "__main__":
    main()
