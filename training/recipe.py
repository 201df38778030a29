"""A finetuning recipe: every choice of a run in one YAML file, validated before any work starts.

Defaults are the paper's (5.4) where it gives them. A recipe that trains a small model from nothing needs others, and
says so beside each.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lang1.errors import Lang1Error
from training.synth.config import SynthConfig

QUESTION_TOKENS = 128
"""Positions kept free behind a note for the longest question."""


Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class RecipeError(Lang1Error):
    """A recipe names an unknown key or an impossible combination; the message names the key."""

    code = "invalid"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelShape(_Frozen):
    """A Llama decoder's shape. `vocab_size` is asked of the tokenizer; the model takes what it gives."""

    vocab_size: Annotated[int, Field(ge=300)]
    hidden_size: Annotated[int, Field(ge=8)]
    intermediate_size: Annotated[int, Field(ge=8)]
    num_hidden_layers: Annotated[int, Field(ge=1)]
    num_attention_heads: Annotated[int, Field(ge=1)]
    num_key_value_heads: Annotated[int, Field(ge=1)]
    max_position_embeddings: Annotated[int, Field(ge=64)] = 1024
    rope_theta: float = 10_000.0

    @model_validator(mode="after")
    def _check(self) -> ModelShape:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must divide by num_attention_heads {self.num_attention_heads}"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads must divide by num_key_value_heads")
        if (self.hidden_size // self.num_attention_heads) % 2:
            raise ValueError("the head size must be even for rotary embeddings")
        return self


class Optimization(_Frozen):
    """AdamW with a cosine schedule. The paper's betas, eps and decay; its learning rate came from a search."""

    steps: Annotated[int, Field(ge=1)]
    """Optimizer steps."""
    batch_tokens: Annotated[int, Field(ge=64)]
    """Packed tokens a step, not padded."""
    learning_rate: Annotated[float, Field(gt=0)]
    final_learning_rate_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-5
    weight_decay: float = 0.02
    max_gradient_norm: Annotated[float, Field(gt=0)] | None = None
    """The paper does not clip when finetuning; a model trained from nothing needs it."""
    layer_matrices: Literal["adamw", "muon"] = "adamw"
    """What updates the layers' matrices. Muon suits a model that starts from nothing; the rest always takes AdamW."""


class Comprehension(_Frozen):
    """What the notes are known to state, learned beside the tasks through heads that the bundle does not keep."""

    layer: Annotated[int, Field(ge=0)]
    """Index of the layer after which a note's tokens tell the statement that they complete."""
    statement_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of that loss."""
    recall_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of telling, where a task's answer is read, everything that the note stated."""
    plain_tokens: Annotated[int, Field(ge=0)] = 10
    """Tokens a note that complete no statement and must say so."""


class Lora(_Frozen):
    """Low-rank adapters instead of all weights (paper, 5.4: query and value projections, rank 8, alpha 16)."""

    r: Annotated[int, Field(ge=1, le=1024)] = 8
    alpha: Annotated[int, Field(ge=1)] = 16
    """The adapters' product is scaled by alpha / r."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    targets: Annotated[tuple[Projection, ...], Field(min_length=1)] = ("q_proj", "v_proj")
    """Projections that get adapters, in every layer."""


class Finetuning(_Frozen):
    optimization: Optimization
    answer_space: Literal["options", "vocabulary"] = "vocabulary"
    """Cross-entropy of the answer letter over the task's options, or over all tokens (the paper's)."""
    validate_every_steps: Annotated[int, Field(ge=1)] = 100
    validation_notes: Annotated[int, Field(ge=1)] = 4000
    patience_steps: Annotated[int, Field(ge=1)] = 300
    even_classes: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the notes that are drawn by task, then by class, each as likely as the next, so that rare outcomes are
    seen more often. Calibration on validation notes, drawn as they come, takes the shift out again."""


class Recipe(_Frozen):
    """A whole run: data, tokenizer, model, joint finetuning, bundle."""

    name: str
    version: str
    demo: bool = False
    seed: Annotated[int, Field(ge=0)] = 3407
    """The paper's seed."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """bfloat16 is autocast: weights and optimizer stay float32."""
    max_note_tokens: Annotated[int, Field(ge=16)] = 512
    tokenizer_notes: Annotated[int, Field(ge=1)] = 20_000
    evaluation_notes: Annotated[int, Field(ge=100)] = 100_000
    """Notes of each split that calibration and evaluation read, at most."""
    baseline_notes: Annotated[int, Field(ge=100)] = 30_000
    """Training notes of the TF-IDF baseline, at most."""
    model: ModelShape | None = None
    """A model from random weights, with a tokenizer of its own; or `base`."""
    base: Path | None = None
    """A Llama-architecture checkpoint in Hugging Face format with its tokenizer.json, or a bundle; or `model`."""
    synth: SynthConfig | None = None
    """The synthetic hospital to train on; left out when the notes come from a dataset folder."""
    comprehension: Comprehension | None = None
    finetuning: Finetuning
    lora: Lora | None = None
    """Train adapters and merge them, rather than all weights; for a `base`."""

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if (self.model is None) == (self.base is None):
            raise ValueError("give either model (a shape, from random weights) or base (a checkpoint folder)")
        if self.lora is not None:
            if self.base is None:
                raise ValueError("lora adapts a base; random weights are trained whole")
            if self.finetuning.optimization.layer_matrices != "adamw":
                raise ValueError("finetuning.optimization.layer_matrices must be adamw with lora")
            if self.comprehension is not None:
                raise ValueError("comprehension trains all weights; take it or lora out of the recipe")
        if self.model is not None:
            self._check_shape(self.model)
        if self.synth is not None:
            for year in self.synth.temporal_years:
                if not self.synth.first_year <= year <= self.synth.last_year:
                    raise ValueError(
                        f"synth.temporal_years: {year} is not simulated; change it or first_year and last_year"
                    )
        return self

    def _check_shape(self, model: ModelShape) -> None:
        # A question and BOS stand behind and before the note.
        if self.max_note_tokens + QUESTION_TOKENS > model.max_position_embeddings:
            raise ValueError(
                f"max_note_tokens must leave {QUESTION_TOKENS} of model.max_position_embeddings for a question"
            )
        if self.comprehension is not None and self.comprehension.layer >= model.num_hidden_layers - 1:
            raise ValueError("comprehension.layer must be under the last layer, which reads answers alone")


def load_recipe(name_or_path: str) -> Recipe:
    """A shipped recipe by name ("demo") or a YAML file by path. Raises RecipeError naming the key."""
    source: Traversable = Path(name_or_path)
    where = name_or_path
    if not name_or_path.endswith((".yaml", ".yml")):
        source = resources.files("training") / "recipes" / f"{name_or_path}.yaml"
        if not source.is_file():
            shipped = sorted(
                p.name[:-5] for p in (resources.files("training") / "recipes").iterdir() if p.name[-5:] == ".yaml"
            )
            raise RecipeError(
                f"no recipe {name_or_path!r}; shipped: {', '.join(shipped)}; or give a path to a .yaml file"
            )
        where = source.name
    try:
        return Recipe.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")), strict=False)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{where}: cannot be read as YAML ({type(error).__name__})") from None
    except ValidationError as error:
        # A misspelt key also misses its right spelling; the wrong one is the better thing to name.
        first = min(error.errors(include_url=False), key=lambda entry: entry["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise RecipeError(f"{where}: {key}: {first['msg']}") from None
