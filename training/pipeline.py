"""A recipe, start to end: data, tokenizer, model, joint finetuning, calibration, evaluation, bundle."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lang1.bundle import MANIFEST, Bundle, load_bundle
from lang1.errors import BundleError
from lang1.llama import PackedLlama, load_llama
from lang1.notes import clean_text
from lang1.prompt import PromptEncoder
from lang1.tasks import BUILT_IN, TaskRegistry
from training.checkpoints import Checkpoints
from training.comprehension import AnswersAndFacts, told_facts
from training.dataset import TRAIN, VALIDATION, Dataset, dataset_of
from training.evaluation import rounded
from training.finetune import (
    Answers,
    Objective,
    TrainingHistory,
    predict_logits,
    steps_of_rows,
    task_aurocs,
    train,
)
from training.initial import fresh_model
from training.lora import add_lora, merge_lora
from training.notes import Split, load_split
from training.recipe import QUESTION_TOKENS, Optimization, Recipe, RecipeError
from training.resume import TrainingState, json_ready
from training.sealing import Seal, Trained, notes_of, seal_model
from training.synth.generate import read_notes
from training.tokenizer import BOS_TOKEN, train_tokenizer

Say = Callable[[str], None]
NOT_TRAINING = ("evaluation_notes", "baseline_notes")
"""Recipe keys that change what is measured and not what is trained."""


def run_recipe(
    recipe: Recipe,
    out: Path,
    work: Path,
    say: Say = print,
    registry: TaskRegistry = BUILT_IN,
    data: Path | None = None,
    *,
    seal: Seal | None = None,
) -> Bundle:
    """Train the recipe's model and seal it as a bundle at `out`. `work` keeps what is made on the way, and is reused:
    a run that was stopped goes on there, also in the middle of training.

    The notes are those of the dataset folder `data`, or of the recipe's synthetic hospital. Raises RecipeError.
    """
    seal = seal or Seal()
    if out.exists() and not (out / MANIFEST).exists():
        raise BundleError(f"{out} exists and is not a bundle; give another folder for the bundle")
    work.mkdir(parents=True, exist_ok=True)
    dataset = dataset_of(recipe, data, work, registry, say)
    asked, registry = registry, dataset.trained_tasks(registry)
    if left := [name for name in asked if name not in registry]:
        say(f"left out, because the notes have no labels of them: {', '.join(left)}")
    base = _base_bundle(recipe, asked)
    model, encoder = start(recipe, registry, dataset, say)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    say(f"model: {parameters / 1e6:.2f} M parameters, vocabulary {encoder.vocab_size}, on {_device().type}")
    validation = load_split(dataset.folder, (VALIDATION,), encoder, registry)
    checkpoints = Checkpoints(work, dataset.notes_sha256, every_steps=seal.checkpoint_every_steps)
    phases = fit(recipe, model, encoder, dataset, validation, checkpoints, say, base)

    # The bundle keeps bfloat16 weights; everything that is measured is measured on them.
    model.load_state_dict({name: tensor.bfloat16().float() for name, tensor in model.state_dict().items()})
    evidence = notes_of(dataset, registry, base, seal.salt)
    return seal_model(recipe, Trained(model, encoder, phases, evidence), dataset, validation, out, seal, say)


def _base_bundle(recipe: Recipe, registry: TaskRegistry) -> Bundle | None:
    """The bundle that training begins from, verified; None for a checkpoint or random weights. Raises BundleError."""
    if recipe.base is None or not (recipe.base / MANIFEST).exists():
        return None
    return load_bundle(recipe.base, registry)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def start(recipe: Recipe, registry: TaskRegistry, dataset: Dataset, say: Say) -> tuple[PackedLlama, PromptEncoder]:
    """The recipe's checkpoint with its tokenizer, or a model from nothing with a tokenizer made from the notes."""
    if recipe.base is None:
        assert recipe.model is not None
        encoder = make_encoder(recipe, recipe.model.vocab_size, registry, dataset.folder, say)
        return fresh_model(recipe.model, encoder.vocab_size, recipe.seed).to(_device()), encoder
    model = load_llama(recipe.base, device=_device())
    if recipe.max_note_tokens + QUESTION_TOKENS > model.config.max_position_embeddings:
        raise RecipeError(
            f"max_note_tokens: {recipe.base.name} reads {model.config.max_position_embeddings} tokens, "
            f"{QUESTION_TOKENS} of them for a question"
        )
    if recipe.comprehension is not None and recipe.comprehension.layer >= model.config.num_hidden_layers - 1:
        raise RecipeError("comprehension.layer must be under the last layer, which reads answers alone")
    encoder = PromptEncoder.from_file(
        recipe.base / "tokenizer.json", registry, recipe.max_note_tokens, _bos_token(recipe.base)
    )
    if encoder.vocab_size > model.config.vocab_size:
        raise RecipeError(f"base: {recipe.base.name} has a tokenizer of more tokens than its model knows")
    return model, encoder


def _bos_token(base: Path) -> str | None:
    """The token that a bundle, or the `bos_token_id` of a checkpoint's config.json, says starts every note."""
    if (base / MANIFEST).exists():
        return load_bundle(base).manifest.bos_token
    bos_id = json.loads((base / "config.json").read_text(encoding="utf-8")).get("bos_token_id")
    tokens = json.loads((base / "tokenizer.json").read_text(encoding="utf-8")).get("added_tokens", [])
    return next((str(token["content"]) for token in tokens if token["id"] == bos_id), None)


def make_encoder(recipe: Recipe, vocab_size: int, registry: TaskRegistry, data: Path, say: Say) -> PromptEncoder:
    """A tokenizer trained on notes of the train split and on the tasks' questions."""
    table = read_notes(data, [TRAIN], ["text"]).slice(0, recipe.tokenizer_notes)
    texts = [clean_text(text) for text in table["text"].to_pylist()]
    # A question must cost few tokens: it is read with every note.
    questions = [task.suffix(loinc) for task in registry.values() for loinc in (*task.note_types, None)]
    say(f"tokenizer: trained on {len(texts):,} notes")
    tokenizer = train_tokenizer([*texts, *questions * max(1, len(texts) // 50)], vocab_size)
    return PromptEncoder(tokenizer, registry, recipe.max_note_tokens, BOS_TOKEN)


def fit(
    recipe: Recipe,
    model: PackedLlama,
    encoder: PromptEncoder,
    dataset: Dataset,
    validation: Split,
    checkpoints: Checkpoints,
    say: Say,
    base: Bundle | None = None,
) -> dict[str, Any]:
    """Joint finetuning with early stopping on the mean AUROC over tasks, taken from `checkpoints` if it is there.

    Of all weights, or of LoRA adapters that are then merged. Returns what each phase measured, ready for JSON.
    """
    made_by = recipe.model_dump(mode="json", exclude_none=True, exclude={"name", "version", *NOT_TRAINING})
    # The questions are part of what is trained: other words, other weights.
    made_by["tasks"] = [task.model_dump(mode="json") for task in encoder.registry.values()]
    if base is not None:
        made_by["base_sha256"] = base.sha256
    found = checkpoints.load("finetuning", made_by, model, say)
    if found is None:
        facts = np.random.default_rng([recipe.seed, 1])
        state = checkpoints.under_way("finetuning", json_ready(made_by), {"facts": facts})
        found = _finetune(recipe, model, encoder, dataset, validation, facts, state, say)
        checkpoints.save("finetuning", made_by, model, found)
        state.clear()
    return {"finetuning": found}


def _finetune(
    recipe: Recipe,
    model: PackedLlama,
    encoder: PromptEncoder,
    dataset: Dataset,
    validation: Split,
    facts: np.random.Generator,
    state: TrainingState,
    say: Say,
) -> dict[str, Any]:
    """`facts` is what the choice of plain tokens is drawn from."""
    plan = recipe.finetuning
    split = load_split(dataset.folder, (TRAIN,), encoder, encoder.registry)
    picked = np.random.default_rng(recipe.seed).permutation(len(validation.notes))[: plan.validation_notes]

    def validate() -> dict[str, float]:
        logits = predict_logits(model, validation.notes, encoder, precision=recipe.precision, indices=picked)
        aurocs = task_aurocs(logits, validation.notes)
        say("validation: " + "  ".join(f"{name} {value:.3f}" for name, value in aurocs.items()))
        return {"score": float(np.mean(list(aurocs.values()))), **aurocs}

    objective: Objective = Answers(plan.answer_space)
    if recipe.comprehension is not None:
        objective = AnswersAndFacts(
            told_facts(split.table, encoder),
            recipe.comprehension,
            model,
            plan.answer_space,
            facts,
        )
    adapters = None if recipe.lora is None else add_lora(model, recipe.lora, recipe.seed)
    what = "" if adapters is None else f" of LoRA, {sum(each.numel() for each in adapters):,} weights"
    say(f"finetuning: {plan.optimization.steps} steps{what}")
    history = train(
        model,
        steps_of_rows(
            split.notes,
            encoder,
            plan.optimization.batch_tokens,
            np.random.default_rng(recipe.seed),
            plan.even_classes,
        ),
        plan.optimization,
        objective,
        precision=recipe.precision,
        parameters=adapters,
        validate_every_steps=plan.validate_every_steps,
        patience_steps=plan.patience_steps,
        validate=validate,
        log=_logger(plan.optimization, say),
        state=state,
    )
    if adapters is not None:
        merge_lora(model)
    return _measured(history)


def _measured(history: TrainingHistory) -> dict[str, Any]:
    return {
        "notes_seen": history.notes_seen,
        "tokens_seen": history.tokens_seen,
        "minutes": round(history.seconds / 60, 1),
        "best_step": history.best_step,
        "validations": rounded(history.validations, 4),
    }


def _logger(plan: Optimization, say: Say, every: int = 50) -> Callable[[dict[str, float]], None]:
    terms: dict[str, list[float]] = {}
    started, first = time.monotonic(), 0

    def log(entry: dict[str, float]) -> None:
        nonlocal first
        step = int(entry["step"])
        # A run that goes on began at a later step.
        first = first or step
        for name in entry.keys() - {"step"}:
            terms.setdefault(name, []).append(entry[name])
        if step % every == 0 or step == plan.steps:
            pace = (time.monotonic() - started) / (step - first + 1)
            left_min = pace * (plan.steps - step) / 60
            means = "  ".join(f"{name} {np.mean(terms[name][-every:]):.4f}" for name in sorted(terms))
            say(f"step {step}/{plan.steps}  {means}  {pace:.2f} s/step  {left_min:.0f} min left")

    return log
