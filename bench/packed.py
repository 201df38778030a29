"""The packed pass against plain ways to ask five questions: a loop, and a fair batch. Same weights, same type, A B A B.

    python -m bench.packed [--shape 100m|tiny] [--notes 3] [--dtype bfloat16]

Weights are random at a published shape; agreement of the answers is checked before anything is timed.
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
import transformers
from transformers import LlamaConfig as HfLlamaConfig
from transformers import LlamaForCausalLM

from lang1.llama import LlamaConfig, PackedLlama
from lang1.packing import pack
from lang1.prompt import PackedPrompt, TaskSuffix
from lang1.scores import softmax

SHAPES: dict[str, dict[str, int]] = {
    # smol_llama-101M (paper, 5.3)
    "100m": {
        "vocab_size": 32000, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 6,
        "num_attention_heads": 24, "num_key_value_heads": 8,
    },
    "tiny": {
        "vocab_size": 2048, "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    },
}  # fmt: skip
NOTE_TOKENS, SUFFIX_TOKENS, QUESTIONS, OPTIONS = 512, 60, 5, 5
# Random weights give logits near zero, so probabilities agree more easily than a trained model's would.
AGREEMENT = {"float32": 1e-4, "bfloat16": 0.03}
Answers = list[list[float]]


def prompts(count: int, vocab_size: int) -> list[PackedPrompt]:
    generator = torch.Generator().manual_seed(3407)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(2, vocab_size, (length,), generator=generator).tolist())

    options = tuple(range(10, 10 + OPTIONS))
    return [
        PackedPrompt(
            ids(NOTE_TOKENS), tuple(TaskSuffix(f"q{k}", ids(SUFFIX_TOKENS), options) for k in range(QUESTIONS)), None,
            NOTE_TOKENS, 0,
        )
        for _ in range(count)
    ]  # fmt: skip


def contenders(shape: str, dtype: torch.dtype) -> dict[str, Callable[[list[PackedPrompt]], Answers]]:
    config = LlamaConfig.model_validate(SHAPES[shape] | {"max_position_embeddings": 1024})
    torch.manual_seed(3407)
    ours = PackedLlama(config)
    for parameter in ours.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.02)
    reference = LlamaForCausalLM(HfLlamaConfig.from_dict(config.to_hf() | {"attn_implementation": "sdpa"}))
    reference.load_state_dict(ours.state_dict())
    ours.to(dtype).train(False)
    torch.nn.Module.to(reference, dtype).train(False)

    def answers(logits: torch.Tensor, suffix: TaskSuffix) -> list[float]:
        return list(softmax(logits[list(suffix.option_ids)].float().tolist()))

    def packed(batch: list[PackedPrompt]) -> Answers:
        found: Answers = []
        for prompt in batch:
            found += [list(softmax(logits.tolist())) for logits in ours.option_logits(pack([prompt]))]
        return found

    def loop_all_positions(batch: list[PackedPrompt]) -> Answers:
        return [
            answers(reference(torch.tensor([[*p.prefix_ids, *s.token_ids]]), use_cache=False).logits[0, -1], s)
            for p in batch
            for s in p.suffixes
        ]

    def batch_last_token(batch: list[PackedPrompt]) -> Answers:
        found: Answers = []
        for p in batch:
            ids = torch.tensor([[*p.prefix_ids, *s.token_ids] for s in p.suffixes])
            logits = reference(ids, use_cache=False, logits_to_keep=1).logits[:, -1]
            found += [answers(row, s) for row, s in zip(logits, p.suffixes, strict=True)]
        return found

    return {"packed": packed, "hf_loop": loop_all_positions, "hf_batch_of_five": batch_last_token}


def one_question(shape: str, dtype: torch.dtype, batch: list[PackedPrompt]) -> list[PackedPrompt]:
    return [PackedPrompt(p.prefix_ids, p.suffixes[:1], None, p.note_tokens, 0) for p in batch]


def measure(shape: str, dtype_name: str, notes: int, rounds: int) -> dict[str, object]:
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype_name]
    batch = prompts(notes, SHAPES[shape]["vocab_size"])
    ways = contenders(shape, dtype)
    with torch.inference_mode():
        results = {name: way(batch[:1]) for name, way in ways.items()}
        gaps = {
            name: max(abs(a - b) for ours, theirs in zip(results["packed"], found, strict=True)
                      for a, b in zip(ours, theirs, strict=True))
            for name, found in results.items() if name != "packed"
        }  # fmt: skip
        worst = max(gaps.values())
        if worst > AGREEMENT[dtype_name]:
            raise SystemExit(f"answers differ by {worst:.2g}, over {AGREEMENT[dtype_name]}; nothing was timed")
        timings: dict[str, list[float]] = {name: [] for name in [*ways, "packed_one_question"]}
        single = one_question(shape, dtype, batch)
        for _ in range(rounds):
            for name, way in ways.items():
                timings[name].append(_seconds(lambda way=way: way(batch)))  # type: ignore[misc]
            timings["packed_one_question"].append(_seconds(lambda: ways["packed"](single)))
    rates = {name: notes / statistics.median(times) for name, times in timings.items()}
    return {
        "shape": shape, "dtype": dtype_name, "notes": notes, "rounds": rounds, "note_tokens": NOTE_TOKENS,
        "suffix_tokens": SUFFIX_TOKENS, "questions": QUESTIONS, "largest_probability_gap": gaps,
        "notes_per_second": rates,
        "ratios": {
            "packed / hf_loop": rates["packed"] / rates["hf_loop"],
            "packed / hf_batch_of_five": rates["packed"] / rates["hf_batch_of_five"],
            "five questions / one question (time)": rates["packed_one_question"] / rates["packed"],
        },
        "seconds": timings,
        "machine": {
            "cpus": os.cpu_count(), "threads": torch.get_num_threads(), "architecture": platform.machine(),
            "torch": torch.__version__, "transformers": transformers.__version__, "python": platform.python_version(),
        },
    }  # fmt: skip


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="100m")
    parser.add_argument("--dtype", choices=AGREEMENT, default="bfloat16")
    parser.add_argument("--notes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    result = measure(arguments.shape, arguments.dtype, arguments.notes, arguments.rounds)
    out = arguments.out or Path(__file__).parent / "results" / f"packed-{arguments.shape}-{arguments.dtype}.json"
    out.write_text(json.dumps(result, indent=2) + "\n")
    for name, rate in result["notes_per_second"].items():  # type: ignore[attr-defined]
        print(f"{name:24} {rate:8.2f} notes/s")
    for name, ratio in result["ratios"].items():  # type: ignore[attr-defined]
        print(f"{name:40} {ratio:6.2f}")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
