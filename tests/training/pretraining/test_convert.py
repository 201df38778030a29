"""LitGPT's weights in Hugging Face's form and back: the same logits in transformers and in the service's own model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lang1.llama import load_llama
from lang1.packing import pack
from lang1.prompt import PackedPrompt, TaskSuffix
from lang1.tasks import BUILT_IN
from tests.training.pretraining.conftest import tiny_recipe
from training.dataset import open_dataset
from training.pipeline import start
from training.pretraining import convert
from training.pretraining.convert import hf_names
from training.pretraining.errors import PretrainError
from training.pretraining.recipe import PretrainShape, load_pretrain_recipe
from training.recipe import Recipe

pytestmark = pytest.mark.slow

IDS = torch.randint(0, 1200, (1, 40), generator=torch.Generator().manual_seed(3))
TOKEN_IDS = {"bos_token_id": 0, "eos_token_id": 1}
SHAPES = {
    "grouped": {},
    "plain": {"num_key_value_heads": 2},
    "other base": {"rope_theta": 50_000.0, "rms_norm_eps": 1e-6},
}


def litgpt_model(**shape: object) -> Any:
    """A GPT of random weights, norms' gains not 1."""
    from litgpt.model import GPT

    from training.pretraining.model import litgpt_config

    described = tiny_recipe().model.model_dump() | shape
    model = GPT(litgpt_config(PretrainShape.model_validate(described), 1200, "tiny"))
    draw = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.2, generator=draw)
    return model.requires_grad_(False).eval()


def of_transformers(folder: Path) -> Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(IDS).logits[0]  # type: ignore[no-any-return]


def of_the_service(folder: Path) -> Tensor:
    """All tokens' logits of the packed model: a note of all but the last token, and a question that is the last."""
    model = load_llama(folder)
    ids = IDS[0].tolist()
    prompt = PackedPrompt(tuple(ids[:-1]), (TaskSuffix("t", (ids[-1],), (0, 1)),), None, len(ids) - 1, 0)
    return torch.nn.functional.linear(model.hidden_states(pack([prompt]), read_only=False), model.lm_head.weight)


def of_litgpt(folder: Path) -> Tensor:
    from litgpt.model import GPT

    config, weights = convert.read_litgpt(folder)
    model = GPT(config).eval()
    model.load_state_dict(weights)
    with torch.no_grad():
        return model(IDS)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_the_same_out_of_litgpt(shape: str, tmp_path: Path, tokenizer_file: Path) -> None:
    model = litgpt_model(**SHAPES[shape])
    convert.write_hf(tmp_path, model.config, model.state_dict(), tokenizer_file, TOKEN_IDS, dtype=torch.float32)
    expected = model(IDS)[0]
    assert expected.std() > 0.5
    torch.testing.assert_close(of_transformers(tmp_path), expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(of_the_service(tmp_path), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
def test_logits_are_the_same_into_litgpt_and_back(tied: bool, tmp_path: Path, tokenizer_file: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.pretraining.run import convert_folder

    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=1200, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=tied,
        initializer_range=0.2, **TOKEN_IDS,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path / "hf")
    (tmp_path / "hf" / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
    with torch.no_grad():
        expected = model(IDS).logits[0]
    convert_folder(tmp_path / "hf", tmp_path / "lit", "litgpt")
    torch.testing.assert_close(of_litgpt(tmp_path / "lit"), expected, atol=2e-5, rtol=1e-5)
    convert_folder(tmp_path / "lit", tmp_path / "back", "hf")
    torch.testing.assert_close(of_transformers(tmp_path / "back"), expected, atol=2e-5, rtol=1e-5)
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "back"))
    assert before.keys() <= after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert convert.token_ids_of(tmp_path / "back") == TOKEN_IDS
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".pth", ".bin", ".pt", ".pkl"}]


def test_large_models_are_written_in_shards(
    tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "_SHARD_SIZE", "100KB")
    model = litgpt_model()
    convert.write_hf(tmp_path, model.config, model.state_dict(), tokenizer_file, TOKEN_IDS, dtype=torch.float32)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    torch.testing.assert_close(of_transformers(tmp_path), model(IDS)[0], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(of_the_service(tmp_path), model(IDS)[0], atol=2e-5, rtol=1e-5)
    with convert.HfWeights(tmp_path, model.config) as source:
        assert all(torch.equal(source.read(name), weight) for name, weight in model.state_dict().items())


def test_finetuning_takes_the_result_as_its_base(tmp_path: Path, dataset: Path, tokenizer_file: Path) -> None:
    model = litgpt_model(max_position_embeddings=512)
    base = tmp_path / "base"
    convert.write_hf(base, model.config, model.state_dict(), tokenizer_file, TOKEN_IDS)
    recipe = Recipe.model_validate(
        {
            "name": "t", "version": "1", "base": base, "max_note_tokens": 128,
            "finetuning": {"optimization": {"steps": 1, "batch_tokens": 1000, "learning_rate": 1e-4}},
        }
    )  # fmt: skip
    opened = open_dataset(dataset, BUILT_IN)
    started, encoder = start(recipe, BUILT_IN, opened, lambda _: None)
    assert encoder.bos_token == "<s>" and started.config.vocab_size == model.config.padded_vocab_size
    assert torch.equal(started.lm_head.weight, model.lm_head.weight.bfloat16().float())


def test_every_name_is_known_and_no_other(tmp_path: Path) -> None:
    model = litgpt_model()
    assert sorted(convert.litgpt_names(model.config)) == sorted(model.state_dict())
    with pytest.raises(PretrainError, match=r"h\.0\.attn\.bias"):
        hf_names("transformer.h.0.attn.bias")
    with pytest.raises(PretrainError, match="cannot be read"), convert.HfWeights(tmp_path, model.config):
        pass


@pytest.mark.parametrize(("name", "theirs"), [("1b", "tiny-llama-1.1b"), ("7b", "Llama-2-7b-hf")])
def test_the_shapes_are_litgpts_own(name: str, theirs: str) -> None:
    from litgpt.config import Config

    from training.pretraining.model import litgpt_config

    ours = vars(litgpt_config(load_pretrain_recipe(name).model, 32_000, name))
    expected = vars(Config.from_name(theirs))
    assert {key: value for key, value in ours.items() if expected[key] != value} == {"name": name, "hf_config": {}}
