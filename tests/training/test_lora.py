"""LoRA in the packed model. peft takes seconds to import."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lang1.llama import PackedLlama, load_llama
from lang1.packing import pack
from lang1.prompt import PackedPrompt, TaskSuffix
from tests.tiny_bundle import make_tiny_bundle, tiny_model
from tests.training.retraining.hospital import Hospital, write_hospital
from training.lora import add_lora, merge_lora
from training.pipeline import run_recipe
from training.recipe import Lora, Recipe, RecipeError, load_recipe

pytestmark = pytest.mark.slow

PROMPT = PackedPrompt((1, 5, 9, 13, 7), (TaskSuffix("q", (20, 21, 22), (30, 31)),), None, 5, 0)


def logits(model: PackedLlama) -> torch.Tensor:
    return model.option_logits(pack([PROMPT]))[0].detach()


def test_a_merged_model_is_plain_and_answers_as_with_adapters() -> None:
    model, plain = tiny_model(seed=3), tiny_model(seed=3)
    names = list(plain.state_dict())
    trained = add_lora(model, Lora(r=4, targets=("q_proj", "v_proj", "down_proj")), seed=1)
    assert torch.allclose(logits(model), logits(plain), atol=1e-6)  # nothing learned yet
    assert {id(each) for each in trained} == {id(each) for each in model.parameters() if each.requires_grad}
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.eval()
    adapted = logits(model)
    assert not torch.allclose(adapted, logits(plain), atol=1e-3)
    merge_lora(model)
    assert torch.allclose(logits(model), adapted, atol=1e-5)
    assert list(model.state_dict()) == names
    changed = [name for name in names if not torch.equal(model.state_dict()[name], plain.state_dict()[name])]
    assert all(any(target in name for target in ("q_proj", "v_proj", "down_proj")) for name in changed)
    assert len(changed) == 3 * plain.config.num_hidden_layers


def test_a_weight_that_is_not_finite_is_refused() -> None:
    model = tiny_model(seed=3)
    for each in add_lora(model, Lora(), seed=1):
        torch.nn.init.constant_(each, float("inf"))
    with pytest.raises(FloatingPointError, match="not finite"):
        merge_lora(model)


def test_a_recipe_with_lora_trains_adapters_alone(tmp_path: Path) -> None:
    """From a bundle, whose tokenizer is kept; what is sealed loads as any other bundle."""
    base = make_tiny_bundle(tmp_path / "base", seed=4)
    notes = write_hospital(Hospital(date(2024, 1, 1), date(2024, 6, 30), 160, seed=4), tmp_path / "notes")
    recipe = Recipe.model_validate(
        {
            "name": "lora", "version": "1.0.0", "precision": "float32", "base": str(base), "max_note_tokens": 40,
            "lora": {"r": 4},
            "finetuning": {"answer_space": "options", "validate_every_steps": 2, "validation_notes": 200,
                           "optimization": {"steps": 4, "batch_tokens": 2000, "learning_rate": 5e-3}},
        }
    )  # fmt: skip
    bundle = run_recipe(recipe, tmp_path / "out", tmp_path / "work", say=lambda _: None, data=notes)
    before, after = load_file(base / "model.safetensors"), load_file(bundle.folder / "model.safetensors")
    changed = {name for name in after if not torch.equal(before[name].bfloat16(), after[name])}
    assert changed == {name for name in after if "q_proj" in name or "v_proj" in name}
    assert (bundle.folder / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert bundle.manifest.base == "base" and "lora" in bundle.manifest.training["recipe"]
    assert np.isfinite(logits(load_llama(bundle.folder)).numpy()).all()


@pytest.mark.parametrize(
    ("addition", "named"),
    [
        ("lora: {r: 8}", "lora adapts a base"),
        ("base: /nowhere\nlora: {targets: [lm_head]}", "lora.targets"),
        ("base: /nowhere\nlora: {rank: 8}", "lora.rank"),
    ],
)
def test_an_impossible_lora_names_the_key(tmp_path: Path, addition: str, named: str) -> None:
    shape = "model: {vocab_size: 400, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, " \
        "num_attention_heads: 1, num_key_value_heads: 1}\n"  # fmt: skip
    text = "name: a\nversion: 1.0.0\nfinetuning: {optimization: {steps: 1, batch_tokens: 99, learning_rate: 0.1}}\n"
    path = tmp_path / "recipe.yaml"
    path.write_text(text + ("" if "base" in addition else shape) + addition)
    with pytest.raises(RecipeError, match=named):
        load_recipe(str(path))
