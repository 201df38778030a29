"""A trained model to a bundle: calibration, thresholds, reference profile, report, card, evidence of its notes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from lang1.bundle import CARD, REFERENCE, REPORT, TRAINING_NOTES, Bundle, write_bundle
from lang1.llama import PackedLlama
from lang1.prompt import PromptEncoder
from lang1.tasks import TaskRegistry
from monitoring.reference import MIN_REFERENCE_NOTES
from training.card import model_card
from training.dataset import TRAIN, VALIDATION, Dataset
from training.evaluation import choose_thresholds, fit_calibrators
from training.finetune import predict_logits
from training.notes import Split
from training.recipe import Recipe
from training.reference import reference_profile
from training.report import evaluate_model
from training.synth.arrow import pc
from training.synth.generate import read_notes
from training.training_notes import TrainingNotes, Window, training_notes

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Seal:
    """What a caller decides of the bundle beside the recipe. The defaults are those of `lang1 train finetune`."""

    created: datetime | None = None
    """Now, by default."""
    salt: bytes | None = None
    """Of the hashes of the training notes; random by default."""
    baseline: bool = True
    """Fit the TF-IDF baseline and report it."""
    with_minutes: bool = True
    """Keep how long training took. Without it a run that is repeated gives the same bundle, byte for byte."""
    with_recipe: bool = True
    """Keep the recipe; without, a bundle whose weights were not trained says so."""
    checkpoint_every_steps: int | None = None
    about: Mapping[str, Any] | None = None
    """Put into the manifest's `training` beside the rest."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A model as it will be sealed. `files_of` is the bundle whose weights and tokenizer it has, byte for byte."""

    model: PackedLlama
    encoder: PromptEncoder
    phases: Mapping[str, Any]
    evidence: TrainingNotes
    files_of: Bundle | None = None


def seal_model(
    recipe: Recipe, trained: Trained, dataset: Dataset, validation: Split, out: Path, seal: Seal, say: Say
) -> Bundle:
    """Calibrate and choose thresholds on `validation`, evaluate on the test splits, and write the bundle at `out`."""
    model, encoder = trained.model, trained.encoder
    registry = encoder.registry
    logits = predict_logits(
        model,
        validation.notes,
        encoder,
        precision=recipe.precision,
        indices=np.arange(min(len(validation.notes), recipe.evaluation_notes)),
    )
    calibrators = fit_calibrators(registry, logits, validation.notes)
    thresholds = choose_thresholds(registry, logits, validation.notes, calibrators)
    profile = reference_profile(
        registry, logits, validation.notes, calibrators,
        model_version=recipe.version, source=f"{VALIDATION} notes of the training data",
    )  # fmt: skip
    if profile is None:
        say(f"no reference profile: fewer than {MIN_REFERENCE_NOTES} {VALIDATION} notes; monitoring must make its own")
    say(f"evaluating on {', '.join(dataset.test_splits)}")
    report = evaluate_model(
        model, encoder, registry, dataset, dataset.test_splits, calibrators, thresholds, precision=recipe.precision,
        notes_per_split=recipe.evaluation_notes, baseline_notes=recipe.baseline_notes if seal.baseline else None,
    )  # fmt: skip
    parameters = sum(parameter.numel() for parameter in model.parameters())
    training = _training_record(recipe, dataset, parameters, trained.phases, seal)
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch)
        if trained.files_of is None:
            _write_model_files(files, model, encoder)
        else:
            _copy_model_files(trained.files_of, files)
        trained.evidence.save(files / TRAINING_NOTES)
        (files / REPORT).write_text(json.dumps({"training": training, **report}, indent=2) + "\n", encoding="utf-8")
        card = model_card(recipe, registry, parameters, dataset.description(), report)
        (files / CARD).write_text(card, encoding="utf-8")
        if profile is not None:
            (files / REFERENCE).write_text(profile.model_dump_json() + "\n", encoding="utf-8")
        return write_bundle(
            out, files, name=recipe.name, version=recipe.version, demo=recipe.demo, base=_base_name(recipe),
            max_note_tokens=recipe.max_note_tokens, bos_token=encoder.bos_token, registry=registry,
            calibrators=calibrators, thresholds=thresholds, training=training, evaluation=_summary(report),
            created=seal.created,
        )  # fmt: skip


def notes_of(
    dataset: Dataset,
    registry: TaskRegistry,
    base: Bundle | None,
    salt: bytes | None = None,
    splits: Sequence[str] = (TRAIN, VALIDATION),
) -> TrainingNotes:
    """The evidence of the notes of `dataset` that a model was trained or validated on, and its base before it."""
    dated = ["authored"] if "authored" in dataset.columns else []
    labels = [f"label_{task}" for task in registry]
    table = read_notes(dataset.folder, splits, ["split", "text", *dated, *labels])
    windows = {}
    for task in registry:
        here = pc.greater_equal(table[f"label_{task}"], 0)
        days = pc.min_max(pc.filter(table["authored"], here)).as_py() if dated else {"min": None}
        if days["min"] is not None:
            windows[task] = Window(first_day=f"{days['min']:%Y-%m-%d}", last_day=f"{days['max']:%Y-%m-%d}")
    train, validation = (table.filter(pc.equal(table["split"], name))["text"] for name in (TRAIN, VALIDATION))
    return training_notes(train.to_pylist(), validation.to_pylist(), windows, salt=salt, base=base)


def _training_record(
    recipe: Recipe, dataset: Dataset, parameters: int, phases: Mapping[str, Any], seal: Seal
) -> dict[str, Any]:
    if not seal.with_minutes:
        phases = {
            phase: {name: value for name, value in measured.items() if name != "minutes"}
            for phase, measured in phases.items()
        }
    # The base by its name: where it lay on the machine of the training is nobody's concern.
    named = {"base": _base_name(recipe)} if recipe.base is not None else {}
    kept = {"recipe": recipe.model_dump(mode="json", exclude_none=True) | named} if seal.with_recipe else {}
    return {
        **kept,
        **(seal.about or {}),
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


def _base_name(recipe: Recipe) -> str:
    return "random initialisation" if recipe.base is None else recipe.base.name


def _copy_model_files(bundle: Bundle, folder: Path) -> None:
    for name in bundle.manifest.files:
        if name in ("config.json", "tokenizer.json") or name.startswith("model"):
            shutil.copyfile(bundle.folder / name, folder / name)


def _write_model_files(folder: Path, model: PackedLlama, encoder: PromptEncoder) -> None:
    tied = ("lm_head.weight",) if model.config.tie_word_embeddings else ()
    tensors = {
        name: tensor.bfloat16().cpu().contiguous() for name, tensor in model.state_dict().items() if name not in tied
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_hf() | {"dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    encoder.save(folder / "tokenizer.json")
