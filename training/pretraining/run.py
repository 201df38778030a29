"""A pretraining run from its start to a model folder: checks first, then Ray Train's workers, then the conversion."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lang1 import __version__
from training.pretraining.batches import micro_batch, mixture_of
from training.pretraining.cluster import LOCAL, ray_cluster
from training.pretraining.errors import PretrainError
from training.pretraining.recipe import MAY_CHANGE, PretrainRecipe
from training.pretraining.shards import TOKENIZER_FILE, Tokens, open_tokens
from training.pretraining.summary import summary
from training.pretraining.tokens import token_id

RUN_FILE, OUTCOME_FILE, MODEL_FOLDER = "run.json", "outcome.json", "model"
_GROUP_TIMEOUT_S = 1800
Say = Callable[[str], None]


def pretrain(
    recipe: PretrainRecipe,
    data: Path,
    out: Path,
    *,
    workers: int,
    gpu: bool,
    asked_of: Mapping[str, Path] | None = None,
    address: str = LOCAL,
    check_hashes: bool = True,
    say: Say = print,
) -> dict[str, Any]:
    """Train, or go on with what `out` holds, and write `out`/model in Hugging Face format. Returns its summary.

    `asked_of`: what the recipe's evaluation asks about, see `probes.Probes`.
    Raises PretrainError: for tokens that are not those of their manifest, another run's folder, workers lost for good.
    """
    if importlib.util.find_spec("litgpt") is None:
        raise PretrainError("litgpt is not installed; docker/install-python.sh VENV train installs it")
    tokens = open_tokens(data)
    mixture = mixture_of(recipe, tokens)
    if asked_of and recipe.evaluation is None:
        raise PretrainError("the recipe has no evaluation section, so nothing can be asked; add one")
    if recipe.evaluation is not None and not asked_of:
        say("no questions will be asked: no --probe, --sciq or --pubmedqa was given")
    micro = micro_batch(recipe, workers)
    if check_hashes:
        tokens.verify()
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    _claim(out, recipe, tokens)
    (out / OUTCOME_FILE).unlink(missing_ok=True)
    windows = f"{mixture.clinical:,} clinical and {mixture.web:,} web windows"
    rounds = recipe.optimization.batch_sequences // workers // micro
    say(
        f"{windows} of {recipe.model.max_position_embeddings} tokens; {workers} workers, {rounds} x {micro} a step each"
    )
    run = {
        "recipe": recipe.model_dump(mode="json", exclude_none=True), "data": str(data.resolve()),
        "out": str(out.resolve()), "asked_of": {name: str(path.resolve()) for name, path in (asked_of or {}).items()},
        "threads": recipe.threads or max(1, (os.cpu_count() or 1) // workers),
    }  # fmt: skip
    with ray_cluster(address, out, workers, workers if gpu else 0):
        _fit(run, out, workers, gpu, recipe.max_worker_failures)
    outcome: dict[str, Any] = json.loads((out / OUTCOME_FILE).read_text(encoding="utf-8"))
    if outcome["failed"]:
        raise PretrainError(f"the run stopped at step {outcome['step']}: {outcome['stopped']}")
    export(out, tokens, say)
    return summary(out, outcome)


def _claim(out: Path, recipe: PretrainRecipe, tokens: Tokens) -> None:
    """Make `out` this run's, or see that it is. Raises PretrainError naming the key that differs."""
    now = recipe.model_dump(mode="json", exclude=set(MAY_CHANGE))
    path = out / RUN_FILE
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["tokens_sha256"] != tokens.sha256:
            raise PretrainError(f"{out} holds a run on other tokens; give another --out, or the tokens of that run")
        for key, value in now.items():
            if before["recipe"].get(key) != value:
                raise PretrainError(
                    f"{out} holds a run with another {key}; give another --out, or the recipe of that run"
                )
        return
    described = {"lang1_version": __version__, "recipe": now, "tokens_sha256": tokens.sha256}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)


def _fit(run: dict[str, Any], out: Path, workers: int, gpu: bool, max_failures: int) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from training.pretraining.worker import train_worker

    trainer = TorchTrainer(
        train_worker,
        train_loop_config=run,
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
        run_config=RunConfig(
            name="ray-train", storage_path=str(out.resolve()), failure_config=FailureConfig(max_failures=max_failures)
        ),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo", timeout_s=_GROUP_TIMEOUT_S),
    )
    try:
        trainer.fit()
    except Exception as error:  # Ray wraps whatever a worker raised, with its traceback
        raise PretrainError(
            f"the workers failed ({type(error).__name__}: {_first_cause(error)}); start the same command to go on "
            "from the last checkpoint"
        ) from None


def _first_cause(error: BaseException) -> str:
    """The message of our own error inside Ray's, or the last error's type alone: others may hold anything."""
    failures = getattr(error, "worker_failures", None) or {}
    for failure in [error, *failures.values()]:
        cause: BaseException | None = failure
        while cause is not None:
            if isinstance(cause, PretrainError):
                return str(cause)
            cause = cause.__cause__ or getattr(cause, "cause", None)
    return ", ".join(sorted({type(failure).__name__ for failure in failures.values()})) or "no worker answered"


def export(out: Path, tokens: Tokens, say: Say) -> Path:
    """`out`/model from the best validated weights, or the last. Raises PretrainError when there is no checkpoint."""
    from training.pretraining.checkpoints import BEST, RECORD, step_name, steps_of
    from training.pretraining.loop import CHECKPOINTS

    folder = out / CHECKPOINTS
    steps = steps_of(folder)
    if not (folder / BEST / RECORD).exists() and not steps:
        raise PretrainError(f"{out} holds no checkpoint yet")
    name = BEST if (folder / BEST / RECORD).exists() else step_name(steps[-1])
    convert_checkpoint(folder / name, out / RUN_FILE, tokens, out / MODEL_FOLDER)
    say(f"{out / MODEL_FOLDER}: checkpoint {name} in Hugging Face format")
    return out / MODEL_FOLDER


def convert_checkpoint(checkpoint: Path, run_file: Path, tokens: Tokens, target: Path, form: str = "hf") -> None:
    """One checkpoint as a Hugging Face (`hf`) or LitGPT (`litgpt`) folder. Raises PretrainError."""
    from training.pretraining.checkpoints import read_weights
    from training.pretraining.convert import write_hf, write_litgpt
    from training.pretraining.model import litgpt_config

    recipe = PretrainRecipe.model_validate(json.loads(run_file.read_text(encoding="utf-8"))["recipe"])
    config = litgpt_config(recipe.model, tokens.manifest.vocab_size, recipe.name)
    weights, tokenizer = read_weights(checkpoint), tokens.folder / TOKENIZER_FILE
    found = Tokenizer.from_file(str(tokenizer))
    ids = {
        "bos_token_id": token_id(found, tokens.manifest.bos_token),
        "eos_token_id": token_id(found, tokens.manifest.eos_token),
    }
    (write_litgpt if form == "litgpt" else write_hf)(target, config, weights, tokenizer, ids)


def convert_folder(source: Path, target: Path, form: str) -> None:
    """A Hugging Face Llama folder to LitGPT's names, or the reverse; the form of `source` is told by its files."""
    from training.pretraining.convert import (
        LITGPT_WEIGHTS,
        HfWeights,
        litgpt_config_of,
        litgpt_names,
        read_litgpt,
        token_ids_of,
        write_hf,
        write_litgpt,
    )

    tokenizer = source / TOKENIZER_FILE
    if not tokenizer.exists():
        raise PretrainError(f"{source} has no {TOKENIZER_FILE}")
    if (source / LITGPT_WEIGHTS).exists():
        config, weights = read_litgpt(source)
    else:
        config = litgpt_config_of(source)
        with HfWeights(source, config) as found:
            weights = {name: found.read(name) for name in litgpt_names(config)}
    ids = token_ids_of(source)
    if form == "litgpt":
        write_litgpt(target, config, weights, tokenizer, ids)
    else:
        write_hf(target, config, weights, tokenizer, ids, dtype=weights["lm_head.weight"].dtype)
