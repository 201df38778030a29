"""A recipe, start to end: data, tokenizer, model, warm-up, joint finetuning, calibration, evaluation, bundle."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_file, save_model

from lang1.bundle import CARD, MANIFEST, REPORT, Bundle, file_sha256, write_bundle
from lang1.errors import BundleError
from lang1.llama import PackedLlama
from lang1.notes import ClinicalNote, clean_text
from lang1.prompt import PromptEncoder
from lang1.scores import Calibrator, OperatingThresholds
from lang1.tasks import BUILT_IN, TaskRegistry
from training.baseline import fit_and_score
from training.card import model_card
from training.comprehension import comprehension_steps, probes, told_facts
from training.encoded import NO_LABEL, EncodedNotes, encode_notes
from training.evaluation import choose_thresholds, evaluate_split, fit_calibrators, rounded
from training.finetune import Logits, TrainingHistory, predict_logits, steps_of_rows, task_aurocs, train
from training.initial import fresh_model
from training.recipe import Comprehension, Optimization, Recipe
from training.synth.arrow import Table
from training.synth.ceiling import latent_probabilities, visible_probabilities
from training.synth.config import SIMULATOR_VERSION, SynthConfig
from training.synth.generate import MANIFEST_FILE, NOTES_FILE, Manifest, labelled, read_notes, write_dataset
from training.tokenizer import BOS_TOKEN, train_tokenizer

Say = Callable[[str], None]
NOT_TRAINING = ("evaluation_notes", "baseline_notes")
"""Recipe keys that change what is measured and not what is trained."""


@dataclass(frozen=True, slots=True)
class Split:
    """One split's rows and their encoded notes, in the same order."""

    table: Table
    notes: EncodedNotes


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


def run_recipe(recipe: Recipe, out: Path, work: Path, say: Say = print, registry: TaskRegistry = BUILT_IN) -> Bundle:
    """Train the recipe's model and seal it as a bundle at `out`. `work` keeps data, reused when it fits the recipe."""
    if out.exists() and not (out / MANIFEST).exists():
        raise BundleError(f"{out} exists and is not a bundle; give another folder for the bundle")
    work.mkdir(parents=True, exist_ok=True)
    manifest = prepare_data(recipe.synth, work / "data", say)
    data = work / "data"
    encoder = make_encoder(recipe, registry, data, say)
    model = fresh_model(recipe.model, encoder.vocab_size, recipe.seed)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    say(f"model: {parameters / 1e6:.2f} M parameters, vocabulary {encoder.vocab_size}")
    validation = load_split(data, ("val",), encoder, registry)
    phases = fit(recipe, model, encoder, data, validation, Checkpoints(work, manifest.notes_sha256), say)

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
    say(f"evaluating on {', '.join(test_splits(recipe))}")
    report = rounded(_evaluate(recipe, registry, data, model, encoder, calibrators, thresholds))
    training = _training_record(recipe, manifest, parameters, phases)
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch)
        _write_model_files(files, model, encoder)
        (files / REPORT).write_text(json.dumps({"training": training, **report}, indent=2) + "\n", encoding="utf-8")
        card = model_card(recipe, registry, parameters, training["data"], report)
        (files / CARD).write_text(card, encoding="utf-8")
        return write_bundle(
            out, files, name=recipe.name, version=recipe.version, demo=recipe.demo, base="random initialisation",
            max_note_tokens=recipe.max_note_tokens, bos_token=BOS_TOKEN, registry=registry, calibrators=calibrators,
            thresholds=thresholds, training=training, evaluation=_summary(report),
        )  # fmt: skip


def prepare_data(config: SynthConfig, folder: Path, say: Say) -> Manifest:
    """The recipe's synthetic hospital in `folder`: made there, or taken as it is when its manifest fits."""
    path = folder / MANIFEST_FILE
    if path.exists():
        found = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
        fits = found.config == config and found.simulator_version == SIMULATOR_VERSION
        if fits and file_sha256(folder / NOTES_FILE) == found.notes_sha256:
            say(f"data: {found.notes:,} notes taken from {folder}")
            return found
    made = write_dataset(config, folder)
    say(f"data: {made.notes:,} notes of {made.patients:,} invented patients written to {folder}")
    return made


def test_splits(recipe: Recipe) -> tuple[str, ...]:
    """The splits that a report is about: held-out patients, and each held-out year."""
    return ("test", *(f"temporal_{year}" for year in recipe.synth.temporal_years))


def make_encoder(recipe: Recipe, registry: TaskRegistry, data: Path, say: Say) -> PromptEncoder:
    """A tokenizer trained on notes of the train split and on the tasks' questions."""
    table = read_notes(data, ["train"], ["text"]).slice(0, recipe.tokenizer_notes)
    texts = [clean_text(text) for text in table["text"].to_pylist()]
    # A question must cost few tokens: it is read with every note.
    questions = [task.suffix(loinc) for task in registry.values() for loinc in (*task.note_types, None)]
    say(f"tokenizer: trained on {len(texts):,} notes")
    tokenizer = train_tokenizer([*texts, *questions * max(1, len(texts) // 50)], recipe.model.vocab_size)
    return PromptEncoder(tokenizer, registry, recipe.max_note_tokens, BOS_TOKEN)


def load_split(data: Path, splits: tuple[str, ...], encoder: PromptEncoder, registry: TaskRegistry) -> Split:
    """A split's notes through the encoder that serving uses."""
    table = read_notes(data, list(splits))
    labels = {name: table[f"label_{name}"].to_numpy().astype(np.int8) for name in registry}
    return Split(table, encode_notes(clinical_notes(table), labels, encoder))


def clinical_notes(table: Table) -> Iterator[ClinicalNote]:
    for note_id, text, loinc in zip(
        table["note_id"].to_pylist(), table["text"].to_pylist(), table["note_type"].to_pylist(), strict=True
    ):
        yield ClinicalNote(note_id, clean_text(text), loinc)


def kept_characters(table: Table, encoder: PromptEncoder) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How many characters of each cleaned note the model reads; infinite for a note that is read whole."""
    return np.asarray([encoder.kept_characters(note.text) for note in clinical_notes(table)])


def fit(
    recipe: Recipe,
    model: PackedLlama,
    encoder: PromptEncoder,
    data: Path,
    validation: Split,
    checkpoints: Checkpoints,
    say: Say,
) -> dict[str, Any]:
    """The warm-up, if the recipe has one, then joint finetuning with early stopping on the mean AUROC over tasks.

    A phase that `checkpoints` holds is taken from there. Returns what each phase measured, ready for JSON.
    """
    phases: dict[str, Any] = {}
    made_by = recipe.model_dump(mode="json", exclude={"comprehension", "finetuning", "name", "version", *NOT_TRAINING})
    # The questions are part of what is trained: other words, other weights.
    made_by["tasks"] = [task.model_dump(mode="json") for task in encoder.registry.values()]
    if recipe.comprehension is not None:
        made_by["comprehension"] = recipe.comprehension.model_dump(mode="json")
        found = checkpoints.load("comprehension", made_by, model, say)
        if found is None:
            found = _comprehend(recipe, recipe.comprehension, model, encoder, data, say)
            checkpoints.save("comprehension", made_by, model, found)
        phases["comprehension"] = found
    made_by["finetuning"] = recipe.finetuning.model_dump(mode="json")
    found = checkpoints.load("finetuning", made_by, model, say)
    if found is None:
        found = _finetune(recipe, model, encoder, data, validation, say)
        checkpoints.save("finetuning", made_by, model, found)
    phases["finetuning"] = found
    return phases


def _comprehend(
    recipe: Recipe, plan: Comprehension, model: PackedLlama, encoder: PromptEncoder, data: Path, say: Say
) -> dict[str, Any]:
    split = load_split(data, ("train",), encoder, encoder.registry)
    questions = probes()
    say(f"comprehension: {plan.optimization.steps} steps on {len(questions)} probes")
    rows = comprehension_steps(
        split.notes,
        told_facts(split.table, encoder),
        encoder.with_registry(questions),
        plan,
        np.random.default_rng(recipe.seed),
    )
    history = train(
        model,
        rows,
        plan.optimization,
        precision=recipe.precision,
        answer_space="options",
        log=_logger(plan.optimization, say),
    )
    return _measured(history)


def _finetune(
    recipe: Recipe, model: PackedLlama, encoder: PromptEncoder, data: Path, validation: Split, say: Say
) -> dict[str, Any]:
    plan = recipe.finetuning
    split = load_split(data, ("train",), encoder, encoder.registry)
    picked = np.random.default_rng(recipe.seed).permutation(len(validation.notes))[: plan.validation_notes]

    def validate() -> dict[str, float]:
        logits = predict_logits(model, validation.notes, encoder, precision=recipe.precision, indices=picked)
        aurocs = task_aurocs(logits, validation.notes)
        say("validation: " + "  ".join(f"{name} {value:.3f}" for name, value in aurocs.items()))
        return {"score": float(np.mean(list(aurocs.values()))), **aurocs}

    say(f"finetuning: {plan.optimization.steps} steps")
    history = train(
        model,
        steps_of_rows(
            split.notes,
            encoder,
            plan.optimization.batch_tokens,
            np.random.default_rng(recipe.seed),
            plan.questions_per_note,
            plan.first_note_tokens,
            plan.grow_steps,
        ),
        plan.optimization,
        precision=recipe.precision,
        answer_space=plan.answer_space,
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


def _evaluate(
    recipe: Recipe,
    registry: TaskRegistry,
    data: Path,
    model: PackedLlama,
    encoder: PromptEncoder,
    calibrators: Mapping[str, Calibrator],
    thresholds: Mapping[str, OperatingThresholds],
) -> dict[str, Any]:
    """The report of every test split. All are scored together, so that the baseline is fitted once."""
    rows = load_split(data, test_splits(recipe), encoder, registry)
    split_of_row = np.asarray(rows.table["split"].to_pylist())
    chosen = np.concatenate(
        [np.flatnonzero(split_of_row == split)[: recipe.evaluation_notes] for split in test_splits(recipe)]
    )
    logits = predict_logits(model, rows.notes, encoder, precision=recipe.precision, indices=chosen)
    truth = latent_probabilities(rows.table)
    visible = visible_probabilities(rows.table, kept_characters(rows.table, encoder))
    baseline = _baseline(registry, data, rows.table, encoder, recipe.baseline_notes)
    patients = np.asarray(rows.table["patient_id"].to_pylist())
    report: dict[str, Any] = {}
    for split in test_splits(recipe):
        here = split_of_row == split
        labels = {name: np.where(here, column, NO_LABEL).astype(np.int8) for name, column in rows.notes.labels.items()}
        report[split] = evaluate_split(
            registry, rows.notes.with_labels(labels), logits, calibrators, thresholds,
            truth=truth, visible=visible, baseline=baseline, patients=patients,
        )  # fmt: skip
    return report


def _logger(plan: Optimization, say: Say, every: int = 50) -> Callable[[dict[str, float]], None]:
    losses: list[float] = []
    started = time.monotonic()

    def log(entry: dict[str, float]) -> None:
        losses.append(entry["loss"])
        step = int(entry["step"])
        if step % every == 0 or step == plan.steps:
            pace = (time.monotonic() - started) / step
            left_min = pace * (plan.steps - step) / 60
            mean = np.mean(losses[-every:])
            say(f"step {step}/{plan.steps}  loss {mean:.4f}  {pace:.2f} s/step  {left_min:.0f} min left")

    return log


def _baseline(registry: TaskRegistry, data: Path, table: Table, encoder: PromptEncoder, notes: int) -> Logits:
    """TF-IDF + logistic regression of every task, reading no more of a note than the model does: (N, K), NaN rows."""
    columns = ["text", *(f"label_{name}" for name in registry)]
    train_rows = read_notes(data, ["train"], columns)
    words = encoder.max_note_tokens  # generous: a word is at least a token
    found: Logits = {}
    for task in registry.values():
        mask = table[f"label_{task.name}"].to_numpy() >= 0
        scores = fit_and_score(task, labelled(train_rows, task).slice(0, notes), labelled(table, task), words)
        found[task.name] = np.full((table.num_rows, len(task.options)), np.nan)
        found[task.name][mask] = scores
    return found


def _training_record(recipe: Recipe, manifest: Manifest, parameters: int, phases: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(mode="json"),
        "parameters": parameters,
        "torch": torch.__version__.split("+")[0],
        "data": {
            "simulator_version": manifest.simulator_version,
            "notes_sha256": manifest.notes_sha256,
            "notes_by_split": manifest.notes_by_split,
            "class_ratios": manifest.class_ratios,
        },
        "phases": phases,
    }


def _summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """What `lang1 bundle inspect` shows; the whole report is the bundle's evaluation.json."""
    return {
        split: {task: {"auroc": entry["auroc"]} for task, entry in tasks.items()} for split, tasks in report.items()
    }


def _write_model_files(folder: Path, model: PackedLlama, encoder: PromptEncoder) -> None:
    tensors = {
        name: tensor.bfloat16().contiguous() for name, tensor in model.state_dict().items() if name != "lm_head.weight"
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_hf() | {"dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    encoder.save(folder / "tokenizer.json")
