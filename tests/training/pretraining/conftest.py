"""Token folders of a small synthetic hospital and some plain English, made once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lang1.tasks import BUILT_IN
from training.pretraining.clinical import ClinicalSource
from training.pretraining.recipe import PretrainRecipe
from training.pretraining.tokens import build_tokens
from training.pretraining.web import WebSource
from training.synth.generate import read_notes
from training.tokenizer import train_tokenizer

ENGLISH = "The manual of this program says that the option is read from the file which you name, and not from the web. "
TINY = {
    "name": "tiny",
    "version": "0.0.1",
    "model": {
        "vocab_size": 1200, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 192,
    },
    "precision": "float32",
    "threads": 1,
    "peak_tflops": 1.0,
    "optimization": {
        "steps": 12, "batch_sequences": 4, "micro_batch_sequences": 1, "learning_rate": 0.003,
        "final_learning_rate": 0.0003, "warmup_steps": 2,
    },
    "spikes": {"window_steps": 8, "stable_steps": 2},
    "checkpoints": {"every_steps": 4, "trajectory_tokens": 4000},
    "validation": {"every_steps": 6, "sequences": 8},
}  # fmt: skip


def tiny_recipe(**changes: object) -> PretrainRecipe:
    """The tiny recipe; a dict of changes goes into its section."""
    described: dict[str, object] = dict(TINY)
    for key, value in changes.items():
        before = described.get(key)
        described[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return PretrainRecipe.model_validate(described)


@pytest.fixture(scope="session")
def web_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("web") / "web.jsonl"
    lines = [{"text": f"Page {number}. " + ENGLISH * 12, "meta": {"source": "test"}} for number in range(200)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    texts = read_notes(dataset, None, ["text"])["text"].to_pylist()[:100]
    train_tokenizer([*texts, ENGLISH * 20, *[task.suffix(None) for task in BUILT_IN.values()] * 5], 1200).save(
        str(path)
    )
    return path


@pytest.fixture(scope="session")
def token_folder(tmp_path_factory: pytest.TempPathFactory, dataset: Path, tokenizer_file: Path, web_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    build_tokens(
        folder, tokenizer_file, ClinicalSource([dataset], []), WebSource([web_file]), validation_fraction=0.1,
        shard_tokens=20_000,
    )  # fmt: skip
    return folder
