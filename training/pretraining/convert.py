"""LitGPT's weights to Hugging Face's and back: safetensors on both sides, nothing pickled.

The two differ in names, and in LitGPT's one matrix of queries, keys and values. The rotary convention is the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from lang1.errors import BundleError
from lang1.llama import LlamaConfig, RopeParameters
from training.pretraining.errors import PretrainError

if TYPE_CHECKING:
    from litgpt.config import Config

LITGPT_WEIGHTS = "lit_model.safetensors"
LITGPT_CONFIG = "model_config.yaml"
HF_WEIGHTS = "model.safetensors"
HF_INDEX = "model.safetensors.index.json"
_SHARD_SIZE = "5GB"

_WHOLE = {
    "lm_head.weight": "lm_head.weight",
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.ln_f.weight": "model.norm.weight",
}
_OF_LAYER = {
    "norm_1.weight": "input_layernorm.weight",
    "attn.proj.weight": "self_attn.o_proj.weight",
    "norm_2.weight": "post_attention_layernorm.weight",
    "mlp.fc_1.weight": "mlp.gate_proj.weight",
    "mlp.fc_2.weight": "mlp.up_proj.weight",
    "mlp.proj.weight": "mlp.down_proj.weight",
}
_QKV = "attn.qkv.weight"
_QKV_PARTS = tuple(f"self_attn.{part}_proj.weight" for part in "qkv")
_LAYER = re.compile(r"^transformer\.h\.(\d+)\.(.+)$")


def hf_names(name: str) -> tuple[str, ...]:
    """The Hugging Face tensors that make up a LitGPT one: three for queries, keys and values, else one."""
    if name in _WHOLE:
        return (_WHOLE[name],)
    match = _LAYER.match(name)
    if match is None or (match[2] not in _OF_LAYER and match[2] != _QKV):
        raise PretrainError(f"{name} is not a weight of a Llama model in LitGPT")
    parts = _QKV_PARTS if match[2] == _QKV else (_OF_LAYER[match[2]],)
    return tuple(f"model.layers.{match[1]}.{part}" for part in parts)


def to_hf(config: Config, name: str, weight: Tensor) -> dict[str, Tensor]:
    """One LitGPT weight as Hugging Face has it."""
    names = hf_names(name)
    if len(names) == 1:
        return {names[0]: weight}
    assert config.head_size is not None and config.n_query_groups is not None, "LitGPT fills them in"
    rows = [config.n_head * config.head_size, *[config.n_query_groups * config.head_size] * 2]
    return {part: rows_of.contiguous() for part, rows_of in zip(names, torch.split(weight, rows), strict=True)}


def llama_config(config: Config) -> LlamaConfig:
    """LitGPT's configuration as the `config.json` of a Hugging Face Llama. The padded vocabulary is the vocabulary."""
    return LlamaConfig(
        vocab_size=config.padded_vocab_size,
        hidden_size=config.n_embd,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.n_layer,
        num_attention_heads=config.n_head,
        num_key_value_heads=config.n_query_groups,
        head_dim=config.head_size,
        max_position_embeddings=config.block_size,
        rms_norm_eps=config.norm_eps,
        rope_parameters=RopeParameters(rope_theta=float(config.rope_base)),
    )


def write_hf(
    folder: Path,
    config: Config,
    weights: Mapping[str, Tensor],
    tokenizer: Path,
    token_ids: Mapping[str, int],
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """A folder that transformers, `lang1 train finetune` (as `base`) and vLLM load. Replaces files of the same name.

    `weights` are LitGPT's, whole; `token_ids` go into config.json (`bos_token_id`, `eos_token_id`).
    """
    from huggingface_hub import split_torch_state_dict_into_shards

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    tensors = {
        hf: part.to(dtype) for name, weight in weights.items() for hf, part in to_hf(config, name, weight).items()
    }
    plan = split_torch_state_dict_into_shards(tensors, max_shard_size=_SHARD_SIZE)
    for old in (*folder.glob("model*.safetensors"), folder / HF_INDEX):
        old.unlink(missing_ok=True)
    for file, names in plan.filename_to_tensors.items():
        save_file({name: tensors[name].contiguous() for name in names}, folder / file, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / HF_INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    _describe(folder, config, dtype, token_ids, tokenizer)


def _describe(folder: Path, config: Config, dtype: torch.dtype, token_ids: Mapping[str, int], tokenizer: Path) -> None:
    described = llama_config(config).to_hf() | {"dtype": str(dtype).removeprefix("torch."), **token_ids}
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())


def token_ids_of(folder: Path) -> dict[str, int]:
    """The ids in a folder's config.json that start and end a document, as far as it names them."""
    found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {key: int(found[key]) for key in ("bos_token_id", "eos_token_id") if isinstance(found.get(key), int)}


class HfWeights:
    """A Hugging Face Llama folder read a LitGPT weight at a time. Raises PretrainError for what is not there."""

    def __init__(self, folder: Path, config: Config) -> None:
        self._folder, self._config = folder, config
        self._stack = ExitStack()

    def __enter__(self) -> HfWeights:
        try:
            index = self._folder / HF_INDEX
            files = [HF_WEIGHTS]
            if index.exists():
                files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            self._where: dict[str, Any] = {}
            for name in files:
                if Path(name).name != name:
                    raise PretrainError(f"{HF_INDEX} names a file outside {self._folder.name}")
                opened = self._stack.enter_context(safe_open(self._folder / name, framework="pt"))
                self._where.update(dict.fromkeys(opened.keys(), opened))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            self._stack.close()
            raise PretrainError(f"the weights in {self._folder} cannot be read ({type(error).__name__})") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, name: str) -> Tensor:
        """One LitGPT weight, whole."""
        found = []
        for part in hf_names(name):
            if part == "lm_head.weight" and part not in self._where:
                part = "model.embed_tokens.weight"  # a model with tied embeddings has no head of its own
            if part not in self._where:
                raise PretrainError(f"{self._folder.name} has no {part}; only Llama-architecture checkpoints load")
            found.append(self._where[part].get_tensor(part))
        # A copy, also of one: a head that is the embedding must not share its memory, or neither can be written.
        return torch.cat(found)


def litgpt_config_of(folder: Path) -> Config:
    """LitGPT's configuration of a Hugging Face Llama folder. Raises PretrainError for what LitGPT's Llama has not."""
    from litgpt.config import Config

    try:
        llama = LlamaConfig.from_file(folder / "config.json")
    except BundleError as error:
        raise PretrainError(str(error)) from None
    if llama.attention_bias or llama.mlp_bias or llama.rope_parameters.rope_type != "default":
        raise PretrainError(f"{folder.name}/config.json: biases and stretched rotary embeddings are not converted")
    return Config(
        name=folder.name, block_size=llama.max_position_embeddings, n_layer=llama.num_hidden_layers,
        n_embd=llama.hidden_size, n_head=llama.num_attention_heads, n_query_groups=llama.num_key_value_heads,
        head_size=llama.head_dim, vocab_size=llama.vocab_size, padded_vocab_size=llama.vocab_size,
        intermediate_size=llama.intermediate_size, norm_class_name="RMSNorm", norm_eps=llama.rms_norm_eps,
        mlp_class_name="LLaMAMLP", rotary_percentage=1.0, rope_base=int(llama.rope_parameters.rope_theta),
        parallel_residual=False, bias=False,
    )  # fmt: skip


def litgpt_names(config: Config) -> Iterator[str]:
    """Every weight's name, in the model's order."""
    yield "lm_head.weight"
    yield "transformer.wte.weight"
    for layer in range(config.n_layer):
        for part in (
            "norm_1.weight",
            _QKV,
            "attn.proj.weight",
            "norm_2.weight",
            *[n for n in _OF_LAYER if n[0] == "m"],
        ):
            yield f"transformer.h.{layer}.{part}"
    yield "transformer.ln_f.weight"


def write_litgpt(
    folder: Path, config: Config, weights: Mapping[str, Tensor], tokenizer: Path, token_ids: Mapping[str, int]
) -> None:
    """LitGPT's weights by its names and its configuration, beside config.json and the tokenizer as LitGPT keeps them.

    Safetensors, where LitGPT itself pickles.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / LITGPT_WEIGHTS)
    (folder / LITGPT_CONFIG).write_text(yaml.safe_dump(asdict(config)), encoding="utf-8")
    _describe(folder, config, weights["lm_head.weight"].dtype, token_ids, tokenizer)


def read_litgpt(folder: Path) -> tuple[Config, dict[str, Tensor]]:
    """What `write_litgpt` wrote. Raises PretrainError."""
    from litgpt.config import Config

    try:
        fields = yaml.safe_load((folder / LITGPT_CONFIG).read_text(encoding="utf-8"))
        return Config(**fields), load_file(folder / LITGPT_WEIGHTS)
    except (OSError, ValueError, TypeError, yaml.YAMLError, SafetensorError) as error:
        raise PretrainError(f"{folder} is not a LitGPT checkpoint in safetensors ({type(error).__name__})") from None
