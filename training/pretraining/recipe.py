"""A pretraining recipe: every choice of a run in one YAML file, validated before any work starts.

Defaults are the paper's (5.3) where it gives them. What it does not give says why it is what it is.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.recipe import ModelShape, RecipeError

PREFIX = "pretrain-"
"""Shipped recipes of this kind are training/recipes/pretrain-NAME.yaml."""
Count = Annotated[int, Field(ge=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PretrainShape(ModelShape):
    """A Llama decoder; `max_position_embeddings` is the context that it is trained on, in tokens."""

    rms_norm_eps: Annotated[float, Field(gt=0)] = 1e-5


class Optimization(_Frozen):
    """AdamW, linear warm-up, cosine to `final_learning_rate`. Weight decay is of matrices, not of norms' gains."""

    steps: Count
    """Optimizer steps of the whole run."""
    batch_sequences: Count
    """Sequences a step over all devices: the effective batch."""
    micro_batch_sequences: Count = 8
    """Sequences a device takes at once, at most; gradient accumulation makes up the rest."""
    learning_rate: Annotated[float, Field(gt=0)] = 4e-4
    """The peak. Not in the paper; its floor of 4e-5 is a tenth of this, as in TinyLlama and in LitGPT's defaults."""
    final_learning_rate: Annotated[float, Field(ge=0)] = 4e-5
    warmup_steps: Annotated[int, Field(ge=0)] = 2000
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0


class Spikes(_Frozen):
    """When a loss is a spike, and what is done. None of it is in the paper, which alerts and goes back by hand."""

    window_steps: Annotated[int, Field(ge=8)] = 128
    """The losses that a new one is held against."""
    deviations: Annotated[float, Field(gt=0)] = 8.0
    """Robust standard deviations (1.4826 MAD) over the window's median. Batch losses have tails, so not 4 or 5."""
    least_rise: Annotated[float, Field(gt=0)] = 0.3
    """Nats over the median that it must rise as well: late in training the deviation is small enough for noise."""
    stable_steps: Annotated[int, Field(ge=0)] = 50
    """A checkpoint counts as stable when it is at least so many steps older than the spike: weights go bad before the
    loss shows it."""
    max_rollbacks: Annotated[int, Field(ge=0)] = 8
    """More than that is no bad batch but a bad run: it stops, and says so."""


class Checkpoints(_Frozen):
    every_steps: Count = 500
    keep: Annotated[int, Field(ge=2)] = 3
    """Newest ones that are kept. Spikes need one that is `stable_steps` old, so at least 2."""
    trajectory_tokens: Count | None = None
    """Weights alone are kept for good each time that so many tokens were seen, from the first weights on."""


class Validation(_Frozen):
    every_steps: Count = 1000
    sequences: Count = 1024
    """Held-out sequences of each source, at most; always the same ones."""
    patience: Count | None = None
    """Validations without a better mean loss after which the run ends; None never."""


class Evaluation(_Frozen):
    """Zero-shot or few-shot questions about notes that the model never saw (`--probe`)."""

    every_steps: Count = 5000
    notes_per_task: Annotated[int, Field(ge=20)] = 1000
    note_tokens: Annotated[int, Field(ge=16)] = 512
    shots: Annotated[int, Field(ge=0, le=16)] = 0
    """Answered examples before the question; the paper says few-shot, and not how many."""
    comprehension_questions: Annotated[int, Field(ge=0)] = 2000
    """Questions of what a synthetic note says; none on notes that come without what they state."""


class Samples(_Frozen):
    """Text that the model writes. It may repeat what it was trained on, so it is off, and goes to a 0600 file."""

    every_steps: Count
    tokens: Annotated[int, Field(ge=1, le=2048)] = 128
    prompts: tuple[str, ...] = ("",)
    temperature: Annotated[float, Field(ge=0)] = 0.8


class PretrainRecipe(_Frozen):
    """A whole pretraining run, but for its tokens and its machines."""

    name: str
    version: str
    seed: Annotated[int, Field(ge=0)] = 3407
    model: PretrainShape
    clinical_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Sequences from the clinical source; the others are web text."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """bfloat16: weights are gathered and multiplied in it; the sharded originals, the optimizer and the sums of
    gradients stay float32."""
    sharding: Literal["gradients", "full"] = "gradients"
    """What FSDP keeps in parts: gradients and optimizer (weights stay whole from forward to backward), or all of it."""
    compile: bool = True
    """torch.compile of each block, on a GPU only."""
    base: Path | None = None
    """Hugging Face checkpoint folder of the same shape to start from, instead of random weights."""
    peak_tflops: Annotated[float, Field(gt=0)] | None = None
    """Dense bf16 peak of a device, for MFU; by default that of a known GPU, or what a matrix product measures."""
    threads: Count | None = None
    """CPU threads of a worker; by default the machine's cores over the workers."""
    max_worker_failures: Annotated[int, Field(ge=0)] = 16
    """Times that lost workers are replaced before the run gives up. A week on 64 GPUs loses some."""
    optimization: Optimization
    spikes: Spikes = Spikes()
    checkpoints: Checkpoints = Checkpoints()
    validation: Validation = Validation()
    evaluation: Evaluation | None = None
    samples: Samples | None = None

    @model_validator(mode="after")
    def _check(self) -> PretrainRecipe:
        plan, context = self.optimization, self.model.max_position_embeddings
        if plan.warmup_steps >= plan.steps:
            raise ValueError("optimization.warmup_steps must be under optimization.steps")
        if plan.final_learning_rate > plan.learning_rate:
            raise ValueError("optimization.final_learning_rate must not be over optimization.learning_rate")
        if self.evaluation is not None and self.evaluation.note_tokens > context:
            raise ValueError(f"evaluation.note_tokens must fit the context of {context} tokens")
        if self.samples is not None and self.samples.tokens >= context:
            raise ValueError(f"samples.tokens must be under the context of {context} tokens")
        return self

    @property
    def batch_tokens(self) -> int:
        """Tokens a step over all devices."""
        return self.optimization.batch_sequences * self.model.max_position_embeddings


MAY_CHANGE = frozenset({"checkpoints", "compile", "evaluation", "max_worker_failures", "peak_tflops", "samples"})
"""Keys that a run may be resumed with another value of: they change no weight. All others would be another run."""


def load_pretrain_recipe(name_or_path: str) -> PretrainRecipe:
    """A shipped recipe by name ("demo", "1b") or a YAML file by path. Raises RecipeError naming the key."""
    source: Traversable = Path(name_or_path)
    where = name_or_path
    if not name_or_path.endswith((".yaml", ".yml")):
        folder = resources.files("training") / "recipes"
        source = folder / f"{PREFIX}{name_or_path}.yaml"
        if not source.is_file():
            names = sorted(entry.name for entry in folder.iterdir() if entry.name.startswith(PREFIX))
            shipped = ", ".join(name.removeprefix(PREFIX).removesuffix(".yaml") for name in names)
            raise RecipeError(
                f"no pretraining recipe {name_or_path!r}; shipped: {shipped}; or give a .yaml file's path"
            )
        where = source.name
    try:
        return PretrainRecipe.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{where}: cannot be read as YAML ({type(error).__name__})") from None
    except ValidationError as error:
        # A misspelt key also misses its right spelling; the wrong one is the better thing to name.
        first = min(error.errors(include_url=False), key=lambda entry: entry["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise RecipeError(f"{where}: {key}: {first['msg']}") from None
