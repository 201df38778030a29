"""A tiny random bundle, made in milliseconds: the real format and the real code, with weights that know nothing."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from lang1.bundle import CARD, write_bundle
from lang1.llama import LlamaConfig, PackedLlama
from lang1.scores import OperatingThresholds
from lang1.tasks import BUILT_IN, TaskRegistry
from training.tokenizer import BOS_TOKEN, train_tokenizer

WORDS = "the patient was admitted with chest pain and has a history of diabetes heart failure and renal disease"


def tiny_model(seed: int = 0, **overrides: object) -> PackedLlama:
    torch.manual_seed(seed)
    fields: dict[str, object] = {
        "vocab_size": 600, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 1024, "tie_word_embeddings": True,
    }  # fmt: skip
    model = PackedLlama(LlamaConfig.model_validate(fields | overrides))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2 if parameter.dim() > 1 else 0.5)
    return model.requires_grad_(False).eval()


def make_tiny_bundle(
    folder: Path, seed: int = 0, *, registry: TaskRegistry = BUILT_IN, poison: bool = False, version: str = "0.0.1"
) -> Path:
    """Write a bundle at `folder`. `poison` puts NaN into the weights, so that every pass gives NaN logits."""
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch)
        questions = [task.suffix(loinc) for task in registry.values() for loinc in (*task.note_types, None)]
        tokenizer = train_tokenizer([WORDS] * 3 + questions, vocab_size=600)
        tokenizer.save(str(files / "tokenizer.json"))
        model = tiny_model(seed, vocab_size=tokenizer.get_vocab_size())
        if poison:
            model.model.norm.weight.fill_(float("nan"))
        tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
        save_file(tensors, files / "model.safetensors", metadata={"format": "pt"})

        (files / "config.json").write_text(json.dumps(model.config.to_hf()))
        (files / CARD).write_text("# Tiny\n\nRandom weights for tests.\n")
        write_bundle(
            folder, files, name="lang1-tiny", version=version, demo=True, base="random", max_note_tokens=512,
            bos_token=BOS_TOKEN, registry=registry, calibrators={},
            thresholds={name: OperatingThresholds(moderate=0.2, high=0.22) for name in registry},
            training={}, evaluation={},
        )  # fmt: skip
    return folder
