"""A recipe, start to end: data, tokenizer, model, joint finetuning, calibration, evaluation, bundle."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_file, save_model

from lang1.bundle import CARD, MANIFEST, REFERENCE, REPORT, Bundle, BundleManifest, write_bundle
from lang1.errors import BundleError
from lang1.llama import PackedLlama, load_llama
from lang1.notes import clean_text
from lang1.prompt import PromptEncoder
from lang1.tasks import BUILT_IN, TaskRegistry
from monitoring.reference import MIN_REFERENCE_NOTES
from training.card import model_card
from training.comprehension import AnswersAndFacts, told_facts
from training.dataset import TRAIN, VALIDATION, Dataset, dataset_of
from training.evaluation import choose_thresholds, fit_calibrators, rounded
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
from training.notes import Split, load_split
from training.recipe import QUESTION_TOKENS, Optimization, Recipe, RecipeError
from training.reference import reference_profile
from training.report import evaluate_model
from training.synth.generate import read_notes
from training.tokenizer import BOS_TOKEN, train_tokenizer

Say = Callable[[str], None]
NOT_TRAINING = ("evaluation_notes", "baseline_notes")
"""Recipe keys that change what is measured and not what is trained."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Finished phases in a folder, so that a run that was stopped goes on after its last one.

    A phase is found again only for the same data, the same recipe up to it and the same earlier phases.
    """

    folder: Path
    notes_sha256: str

    def _key(self, made_by: Mapping[str, Any]) -> str:
        return hashlib.sha256(json.dumps([made_by, self.notes_sha256], sort_keys=True).encode()).hexdigest()

    def load(self, phase: str, made_by: Mapping[str, Any], model: PackedLlama, say: Say) -> dict[str, Any] | None:
        """Put a finished phase's weights into `model` and return what it measured; None when there is none."""
        record = self.folder / f"{phase}.json"
        if not record.exists():
            return None
        found = json.loads(record.read_text(encoding="utf-8"))
        if found["key"] != self._key(made_by):
            return None
        load_model(model, str(self.folder / f"{phase}.safetensors"))
        say(f"{phase}: taken from {self.folder}")
        return dict(found["measured"])

    def save(self, phase: str, made_by: Mapping[str, Any], model: PackedLlama, measured: Mapping[str, Any]) -> None:
        """Keep a finished phase. The old record goes first and the new one comes last, whole or not at all."""
        record = self.folder / f"{phase}.json"
        record.unlink(missing_ok=True)
        save_model(model, str(self.folder / f"{phase}.safetensors"))
        fresh = record.with_suffix(".new")
        fresh.write_text(json.dumps({"key": self._key(made_by), "measured": dict(measured)}), encoding="utf-8")
        fresh.replace(record)


def run_recipe(
    recipe: Recipe,
    out: Path,
    work: Path,
    say: Say = print,
    registry: TaskRegistry = BUILT_IN,
    data: Path | None = None,
) -> Bundle:
    """Train the recipe's model and seal it as a bundle at `out`. `work` keeps what is made on the way, and is reused.

    The notes are those of the dataset folder `data`, or of the recipe's synthetic hospital. Raises RecipeError.
    """
    if out.exists() and not (out / MANIFEST).exists():
        raise BundleError(f"{out} exists and is not a bundle; give another folder for the bundle")
    work.mkdir(parents=True, exist_ok=True)
    dataset = dataset_of(recipe, data, work, registry, say)
    asked, registry = registry, dataset.trained_tasks(registry)
    if left := [name for name in asked if name not in registry]:
        say(f"left out, because the notes have no labels of them: {', '.join(left)}")
    model, encoder = start(recipe, registry, dataset, say)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    say(f"model: {parameters / 1e6:.2f} M parameters, vocabulary {encoder.vocab_size}, on {_device().type}")
    validation = load_split(dataset.folder, (VALIDATION,), encoder, registry)
    phases = fit(recipe, model, encoder, dataset, validation, Checkpoints(work, dataset.notes_sha256), say)

    # The bundle keeps bfloat16 weights; everything that is measured is measured on them.
    model.load_state_dict({name: tensor.bfloat16().float() for name, tensor in model.state_dict().items()})
    validation_logits = predict_logits(
        model,
        validation.notes,
        encoder,
        precision=recipe.precision,
        indices=np.arange(min(len(validation.notes), recipe.evaluation_notes)),
    )
    calibrators = fit_calibrators(registry, validation_logits, validation.notes)
    thresholds = choose_thresholds(registry, validation_logits, validation.notes, calibrators)
    profile = reference_profile(
        registry, validation_logits, validation.notes, calibrators,
        model_version=recipe.version, source=f"{VALIDATION} notes of the training data",
    )  # fmt: skip
    if profile is None:
        say(f"no reference profile: fewer than {MIN_REFERENCE_NOTES} {VALIDATION} notes; monitoring must make its own")
    say(f"evaluating on {', '.join(dataset.test_splits)}")
    report = evaluate_model(
        model, encoder, registry, dataset, dataset.test_splits, calibrators, thresholds, precision=recipe.precision,
        notes_per_split=recipe.evaluation_notes, baseline_notes=recipe.baseline_notes,
    )  # fmt: skip
    training = _training_record(recipe, dataset, parameters, phases)
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch)
        _write_model_files(files, model, encoder)
        (files / REPORT).write_text(json.dumps({"training": training, **report}, indent=2) + "\n", encoding="utf-8")
        card = model_card(recipe, registry, parameters, dataset.description(), report)
        (files / CARD).write_text(card, encoding="utf-8")
        if profile is not None:
            (files / REFERENCE).write_text(profile.model_dump_json() + "\n", encoding="utf-8")
        return write_bundle(
            out, files, name=recipe.name, version=recipe.version, demo=recipe.demo,
            base="random initialisation" if recipe.base is None else recipe.base.name,
            max_note_tokens=recipe.max_note_tokens, bos_token=encoder.bos_token, registry=registry,
            calibrators=calibrators, thresholds=thresholds, training=training, evaluation=_summary(report),
        )  # fmt: skip


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
        return BundleManifest.model_validate_json((base / MANIFEST).read_text(encoding="utf-8")).bos_token
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
) -> dict[str, Any]:
    """Joint finetuning with early stopping on the mean AUROC over tasks, taken from `checkpoints` if it is there.

    Returns what each phase measured, ready for JSON.
    """
    made_by = recipe.model_dump(mode="json", exclude_none=True, exclude={"name", "version", *NOT_TRAINING})
    # The questions are part of what is trained: other words, other weights.
    made_by["tasks"] = [task.model_dump(mode="json") for task in encoder.registry.values()]
    found = checkpoints.load("finetuning", made_by, model, say)
    if found is None:
        found = _finetune(recipe, model, encoder, dataset, validation, say)
        checkpoints.save("finetuning", made_by, model, found)
    return {"finetuning": found}


def _finetune(
    recipe: Recipe, model: PackedLlama, encoder: PromptEncoder, dataset: Dataset, validation: Split, say: Say
) -> dict[str, Any]:
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
            np.random.default_rng([recipe.seed, 1]),
        )
    say(f"finetuning: {plan.optimization.steps} steps")
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
        validate_every_steps=plan.validate_every_steps,
        patience_steps=plan.patience_steps,
        validate=validate,
        log=_logger(plan.optimization, say),
    )
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
    started = time.monotonic()

    def log(entry: dict[str, float]) -> None:
        step = int(entry["step"])
        for name in entry.keys() - {"step"}:
            terms.setdefault(name, []).append(entry[name])
        if step % every == 0 or step == plan.steps:
            pace = (time.monotonic() - started) / step
            left_min = pace * (plan.steps - step) / 60
            means = "  ".join(f"{name} {np.mean(terms[name][-every:]):.4f}" for name in sorted(terms))
            say(f"step {step}/{plan.steps}  {means}  {pace:.2f} s/step  {left_min:.0f} min left")

    return log


def _training_record(recipe: Recipe, dataset: Dataset, parameters: int, phases: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(mode="json", exclude_none=True),
        "parameters": parameters,
        "torch": torch.__version__.split("+")[0],
        "data": dataset.record(),
        "phases": phases,
    }


def _summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """What `lang1 bundle inspect` shows; the whole report is the bundle's evaluation.json."""
    return {
        split: {task: {"auroc": entry["auroc"]} for task, entry in tasks.items()} for split, tasks in report.items()
    }


def _write_model_files(folder: Path, model: PackedLlama, encoder: PromptEncoder) -> None:
    tied = ("lm_head.weight",) if model.config.tie_word_embeddings else ()
    tensors = {
        name: tensor.bfloat16().cpu().contiguous() for name, tensor in model.state_dict().items() if name not in tied
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_hf() | {"dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    encoder.save(folder / "tokenizer.json")
