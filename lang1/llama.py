"""A Llama-architecture decoder whose forward pass reads packed prompts.

Parameter names and shapes are Hugging Face's `LlamaForCausalLM`, so its safetensors load unchanged. The pass is written
here, rather than called in transformers, because three things must be ours: a suffix's attention (its note and itself),
positions that restart at the end of the note, and a last layer that computes queries, output projection and MLP at the
read positions alone (keys and values are still needed everywhere).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user reads at sight
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors.torch import load_file
from torch import Tensor, nn

from lang1.attention import attend
from lang1.errors import BundleError
from lang1.packing import PackedBatch


class RopeParameters(BaseModel):
    """Rotary embedding settings: plain, linearly stretched, or Llama 3's frequency-dependent stretch."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rope_type: Literal["default", "linear", "llama3"] = "default"
    rope_theta: float = 10_000.0
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


class LlamaConfig(BaseModel):
    """The fields of a Hugging Face Llama `config.json` that change the computation. Others are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: Literal["llama"] = "llama"
    vocab_size: int = Field(gt=0)
    hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    max_position_embeddings: int = Field(gt=0)
    rms_norm_eps: float = 1e-6
    hidden_act: Literal["silu"] = "silu"
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    rope_parameters: RopeParameters = RopeParameters()

    @model_validator(mode="before")
    @classmethod
    def _older_spellings(cls, data: Any) -> Any:
        """transformers 4 wrote `rope_theta` and `rope_scaling` at the top, 5 writes `rope_parameters`."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if data.get("num_key_value_heads") is None:
            data["num_key_value_heads"] = data.get("num_attention_heads")
        if data.get("head_dim") is None and data.get("hidden_size") and data.get("num_attention_heads"):
            data["head_dim"] = data["hidden_size"] // data["num_attention_heads"]
        if not data.get("rope_parameters"):
            scaling = dict(data.get("rope_scaling") or {})
            scaling.setdefault("rope_type", scaling.pop("type", "default"))
            scaling.setdefault("rope_theta", data.get("rope_theta", 10_000.0))
            data["rope_parameters"] = scaling
        return data

    @classmethod
    def from_file(cls, path: Path) -> LlamaConfig:
        """Raises BundleError naming the first field that is missing or not supported."""
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BundleError(f"{path.name}: {where}: {first['msg']}; only Llama-architecture models load") from None
        except (OSError, ValueError) as error:
            raise BundleError(f"{path.name} cannot be read ({type(error).__name__}); remake the bundle") from None

    def to_hf(self) -> dict[str, Any]:
        """A `config.json` that transformers loads as LlamaForCausalLM."""
        fields = self.model_dump(mode="json")
        # transformers warns of settings that a rope type does not read.
        read = {"default": 2, "linear": 3, "llama3": 6}[self.rope_parameters.rope_type]
        fields["rope_parameters"] = dict(list(fields["rope_parameters"].items())[:read])
        return {"architectures": ["LlamaForCausalLM"], "dtype": "float32", **fields}


def inverse_frequencies(config: LlamaConfig) -> Tensor:
    """float32 (head_dim / 2): rotary frequencies, stretched as `rope_parameters` says."""
    rope = config.rope_parameters
    inverse = rope.rope_theta ** -(torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim)
    if rope.rope_type == "linear":
        return inverse / rope.factor
    if rope.rope_type == "llama3":
        wavelength = 2 * math.pi / inverse
        low = rope.original_max_position_embeddings / rope.low_freq_factor
        high = rope.original_max_position_embeddings / rope.high_freq_factor
        share = (rope.original_max_position_embeddings / wavelength - rope.low_freq_factor) / (
            rope.high_freq_factor - rope.low_freq_factor
        )
        blended = (1 - share) * inverse / rope.factor + share * inverse
        stretched = torch.where(wavelength > low, inverse / rope.factor, inverse)
        return torch.where((wavelength <= low) & (wavelength >= high), blended, stretched)
    return inverse


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding, half-split convention. x (T, heads, head_dim); cos, sin (T, 1, head_dim)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        normed = F.rms_norm(x.float(), (x.shape[-1],), None, self.eps)
        return self.weight * normed.to(x.dtype)


class Attention(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        bias = config.attention_bias
        self.q_proj = nn.Linear(config.hidden_size, self.heads * self.head_dim, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, self.kv_heads * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, self.kv_heads * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(self.heads * self.head_dim, config.hidden_size, bias=bias)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, batch: PackedBatch, read_only: bool) -> Tensor:
        """x (T, hidden) -> (T, hidden), or (R, hidden) at the read positions when `read_only`."""
        keys = rotate(self.k_proj(x).unflatten(-1, (self.kv_heads, self.head_dim)), cos, sin)
        values = self.v_proj(x).unflatten(-1, (self.kv_heads, self.head_dim))
        if read_only:
            reads = batch.read_positions
            x, cos, sin = x[reads], cos[reads], sin[reads]
        queries = rotate(self.q_proj(x).unflatten(-1, (self.heads, self.head_dim)), cos, sin)
        # (1, heads, T, head_dim); angles are float32, so queries and keys come back to the projections' type here.
        queries, keys, values = (t.to(values.dtype).transpose(0, 1).unsqueeze(0) for t in (queries, keys, values))
        groups = self.heads // self.kv_heads
        if groups > 1:
            keys, values = keys.repeat_interleave(groups, dim=1), values.repeat_interleave(groups, dim=1)
        # split, not slices: its gradient is one concatenation, where every slice's would be a full tensor of zeros.
        lengths = [note.end - note.start for note in batch.notes]
        asked = [note.read_mask.shape[0] for note in batch.notes] if read_only else lengths
        parts: list[Tensor] = []
        for note, query, key, value in zip(
            batch.notes,
            queries.split(asked, dim=2),
            keys.split(lengths, dim=2),
            values.split(lengths, dim=2),
            strict=True,
        ):
            if read_only:
                parts.append(attend(query, key, value, note.read_mask))
                continue
            body = note.note_end - note.start
            parts.append(attend(query[:, :, :body], key[:, :, :body], value[:, :, :body], None))
            parts.append(attend(query[:, :, body:], key, value, note.suffix_mask))
        mixed = torch.cat(parts, dim=2).squeeze(0).transpose(0, 1).flatten(1)
        return self.o_proj(mixed)  # type: ignore[no-any-return]


class MLP(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class Layer(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, batch: PackedBatch, read_only: bool) -> Tensor:
        attended = self.self_attn(self.input_layernorm(x), cos, sin, batch, read_only)
        x = (x[batch.read_positions] if read_only else x) + attended
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class _Body(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class PackedLlama(nn.Module):
    """The model. `option_logits` is what scoring and finetuning read; `hidden_states` is for next-token training."""

    inverse_frequency: Tensor

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = _Body(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.register_buffer("inverse_frequency", inverse_frequencies(config), persistent=False)

    def hidden_states(self, batch: PackedBatch, *, read_only: bool) -> Tensor:
        """Normed last hidden states: (R, hidden) at the read positions with the last layer pruned, else (T, hidden)."""
        x = self.model.embed_tokens(batch.token_ids)
        angles = batch.positions[:, None].float() * self.inverse_frequency.float()
        angles = torch.cat((angles, angles), dim=-1)[:, None, :]
        cos, sin = angles.cos(), angles.sin()
        last = len(self.model.layers) - 1
        for index, layer in enumerate(self.model.layers):
            x = layer(x, cos, sin, batch, read_only and index == last)
        return self.model.norm(x)  # type: ignore[no-any-return]

    def option_logits(self, batch: PackedBatch) -> list[Tensor]:
        """R float32 tensors, one a suffix in batch order: the logits of its K option letters."""
        return self.answer_logits(self.hidden_states(batch, read_only=True), batch)

    def answer_logits(self, hidden: Tensor, batch: PackedBatch) -> list[Tensor]:
        """`option_logits` from hidden states (R, hidden) at the read positions."""
        letters = sorted({token for options in batch.option_ids for token in options})
        column = {token: index for index, token in enumerate(letters)}
        rows = self.lm_head.weight[torch.tensor(letters, device=hidden.device)]
        # Never in autocast's type: neighbouring probabilities would be rounded to ties.
        with torch.autocast(hidden.device.type, enabled=False):
            logits = hidden.float() @ rows.float().T
        return [logits[i, [column[token] for token in options]] for i, options in enumerate(batch.option_ids)]


def load_llama(folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> PackedLlama:
    """A model from `config.json` and `model.safetensors` (or a sharded index) in a folder. Raises BundleError."""
    config = LlamaConfig.from_file(folder / "config.json")
    with torch.device("meta"):
        model = PackedLlama(config)
    tensors = _read_tensors(folder)
    if config.tie_word_embeddings:
        tensors.setdefault("lm_head.weight", tensors.get("model.embed_tokens.weight", torch.empty(0)))
    expected = dict(model.state_dict())
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    extra = [name for name in extra if not name.endswith("rotary_emb.inv_freq")]
    if missing or extra:
        raise BundleError(f"the weights do not fit config.json: missing {missing[:3]}, unexpected {extra[:3]}")
    for name, parameter in expected.items():
        if tensors[name].shape != parameter.shape:
            raise BundleError(f"{name}: shape {tuple(tensors[name].shape)}, config.json asks {tuple(parameter.shape)}")
    model.load_state_dict({name: tensors[name].to(device=device, dtype=dtype) for name in expected}, assign=True)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    # Frequencies stay float32: rounded positions would blur every angle.
    model.inverse_frequency = inverse_frequencies(config).to(device)
    return model.requires_grad_(False).eval()


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    try:
        if index.exists():
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        tensors: dict[str, Tensor] = {}
        for name in names:
            if Path(name).name != name:
                raise BundleError("model.safetensors.index.json names a file outside the bundle")
            tensors.update(load_file(folder / name))
    except BundleError:
        raise
    except Exception as error:  # safetensors raises its own type, a missing file OSError, a bad index KeyError
        raise BundleError(
            f"the weights in {folder.name} cannot be read ({type(error).__name__}); remake the bundle"
        ) from None
    return tensors
