"""A bundle held against a dataset: every figure of the model card, and by year, by subgroup, by whether the patient was
seen in training, with curves. What a hospital reads before it turns a model on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lang1.discrimination import delong_difference, delong_interval
from lang1.llama import PackedLlama
from lang1.prompt import PromptEncoder
from lang1.scorer import Device, PackedScorer
from lang1.scores import Calibrator, OperatingThresholds
from lang1.tasks import Task, TaskRegistry
from training.baseline import baseline_probabilities
from training.dataset import TRAIN, Dataset, open_dataset
from training.encoded import NO_LABEL, EncodedNotes
from training.evaluation import adverse_probability, calibrated, evaluate_split, labelled, rounded
from training.finetune import Logits, predict_logits
from training.notes import kept_characters, load_split
from training.recipe import RecipeError
from training.synth.arrow import Table, pc
from training.synth.ceiling import latent_probabilities, visible_probabilities
from training.synth.factors import AGE_BANDS, SEXES
from training.synth.generate import read_notes

CURVE_POINTS = 101
CALIBRATION_BINS = 15
MIN_EVENTS = 30
"""Events and non-events under which a part of the notes gets no AUROC."""
_GROUP = "group_"

Say = Callable[[str], None]
Strings = npt.NDArray[np.str_]


def evaluate_model(
    model: PackedLlama,
    encoder: PromptEncoder,
    registry: TaskRegistry,
    dataset: Dataset,
    splits: Sequence[str],
    calibrators: Mapping[str, Calibrator],
    thresholds: Mapping[str, OperatingThresholds],
    *,
    precision: str,
    notes_per_split: int,
    baseline_notes: int | None,
    detailed: bool = False,
) -> dict[str, Any]:
    """Split to task to figures, the first `notes_per_split` notes of each. `baseline_notes` None leaves TF-IDF out.

    All splits are scored together, so that the baseline is fitted once.
    """
    rows = load_split(dataset.folder, splits, encoder, registry)
    split_of_row = np.asarray(rows.table["split"].to_pylist())
    chosen = np.concatenate([np.flatnonzero(split_of_row == split)[:notes_per_split] for split in splits])
    logits = predict_logits(model, rows.notes, encoder, precision=precision, indices=chosen)
    truth = latent_probabilities(rows.table) if dataset.knows_the_truth else None
    visible = (
        visible_probabilities(rows.table, kept_characters(rows.table, encoder))
        if dataset.knows_the_truth and dataset.knows_what_is_stated
        else None
    )
    baseline = (
        None
        if baseline_notes is None
        else baseline_probabilities(registry, dataset.folder, rows.table, encoder.max_note_tokens, baseline_notes)
    )
    patients = np.asarray(rows.table["patient_id"].to_pylist())
    report: dict[str, Any] = {}
    for split in splits:
        here = split_of_row == split
        labels = {name: np.where(here, column, NO_LABEL).astype(np.int8) for name, column in rows.notes.labels.items()}
        notes = rows.notes.with_labels(labels)
        report[split] = evaluate_split(
            registry, notes, logits, calibrators, thresholds,
            truth=truth, visible=visible, baseline=baseline, patients=patients,
        )  # fmt: skip
        if detailed:
            parts = parts_of(rows.table, dataset)
            for name, entry in report[split].items():
                task = registry[name]
                entry |= _details(task, notes, logits, calibrators[task.name], baseline, parts, patients)
    return dict(rounded(report))


def evaluate_bundle(
    bundle: Path,
    data: Path,
    *,
    splits: Sequence[str] = (),
    notes_per_split: int = 100_000,
    baseline_notes: int | None = 30_000,
    device: Device = "auto",
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """The whole report of a bundle on a dataset folder, JSON-ready. Raises BundleError or RecipeError."""
    scorer = PackedScorer.load(bundle, device=device)
    dataset = open_dataset(data, scorer.registry)
    chosen = tuple(splits) or dataset.test_splits
    absent = [split for split in chosen if not dataset.manifest["notes_by_split"].get(split)]
    if absent:
        raise RecipeError(f"--split: {data} has no notes in {', '.join(absent)}")
    say(f"{scorer.identity.name} {scorer.identity.version} on {', '.join(chosen)} of {data}")
    report = evaluate_model(
        scorer.model, scorer.encoder, scorer.registry, dataset, chosen,
        scorer.bundle.calibrators, scorer.bundle.thresholds, precision="float32",
        notes_per_split=notes_per_split, baseline_notes=baseline_notes, detailed=True,
    )  # fmt: skip
    return {
        "model": asdict(scorer.identity),
        "demo": scorer.bundle.manifest.demo,
        "trained_on": scorer.bundle.manifest.training.get("data", {}).get("notes_sha256"),
        "data": dataset.record(),
        "splits": report,
    }


def parts_of(table: Table, dataset: Dataset) -> dict[str, Strings]:
    """Ways to part the rows: the year of the note, whether the patient has notes in training, and subgroups.

    Subgroups are the columns `group_<name>`, and age and sex on the synthetic hospital.
    """
    parts: dict[str, Strings] = {}
    if "authored" in table.column_names:
        parts["year"] = np.asarray([str(year) for year in pc.year(table["authored"]).to_pylist()])
    seen = set(read_notes(dataset.folder, [TRAIN], ["patient_id"])["patient_id"].to_pylist())
    known = [patient in seen for patient in table["patient_id"].to_pylist()]
    parts["patient"] = np.where(known, "seen in training", "not seen in training")
    for name in table.column_names:
        if name.startswith(_GROUP):
            parts[name.removeprefix(_GROUP)] = np.asarray([str(value) for value in table[name].to_pylist()])
    if "context" in table.column_names:
        context = np.asarray(table["context"].to_pylist())
        bands = np.asarray([f"{low} to {high}" for low, high in AGE_BANDS])
        parts["age"], parts["sex"] = bands[context[:, 0]], np.asarray(SEXES)[context[:, 1]]
    return parts


def _details(
    task: Task,
    notes: EncodedNotes,
    logits: Logits,
    calibrator: Calibrator,
    baseline: Logits | None,
    parts: Mapping[str, Strings],
    patients: Strings,
) -> dict[str, Any]:
    """Of the adverse outcome: precision-recall, DeLong, ROC and calibration curves, and AUROC by part.

    A patient's rows are not independent, so intervals are clustered by patient.
    """
    from sklearn.metrics import average_precision_score

    rows = labelled(notes, logits, task.name)
    adverse = adverse_probability(task, calibrated(logits[task.name][rows], calibrator))
    happened = np.isin(notes.labels[task.name][rows], task.adverse_options)
    who = patients[rows]
    found: dict[str, Any] = {
        "adverse": {
            "auroc_delong": asdict(delong_interval(adverse, happened, who)),
            "auprc": float(average_precision_score(happened, adverse)) if happened.any() else None,
            "roc": roc_curve(adverse, happened),
            "calibration": calibration_curve(adverse, happened),
        }
    }
    if baseline is not None:
        other = adverse_probability(task, baseline[task.name][rows])
        found["adverse"]["over_tfidf_delong"] = asdict(delong_difference(adverse, other, happened, who))
    found["parts"] = {
        name: {
            value: _part(adverse[here], happened[here], who[here])
            for value in sorted(set(values[rows].tolist()))
            if (here := values[rows] == value).any()
        }
        for name, values in parts.items()
    }
    return found


def _part(adverse: npt.NDArray[np.float64], happened: npt.NDArray[np.bool_], who: Strings) -> dict[str, Any]:
    enough = min(int(happened.sum()), int((~happened).sum())) >= MIN_EVENTS
    return {
        "notes": len(happened),
        "events": int(happened.sum()),
        "mean_probability": float(adverse.mean()),
        "auroc": asdict(delong_interval(adverse, happened, who)) if enough else None,
    }


def roc_curve(scores: npt.NDArray[np.float64], happened: npt.NDArray[np.bool_]) -> list[tuple[float, float]]:
    """At most CURVE_POINTS (false positive rate, sensitivity) from (0, 0) to (1, 1); empty when one side is."""
    events, others = int(happened.sum()), int((~happened).sum())
    if not events or not others:
        return []
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.concatenate(([0], np.cumsum(happened[order])[last])) / events
    alarms = np.concatenate(([0], np.cumsum(~happened[order])[last])) / others
    kept = np.unique(np.searchsorted(alarms, np.linspace(0, 1, CURVE_POINTS - 1), side="right") - 1)
    kept = np.union1d(kept, [0, len(alarms) - 1])
    return [(float(alarms[i]), float(hits[i])) for i in kept]


def calibration_curve(
    probabilities: npt.NDArray[np.float64], happened: npt.NDArray[np.bool_]
) -> list[dict[str, float]]:
    """Bins of equally many notes: mean probability, observed rate with Wilson's 95% interval, notes."""
    order = np.argsort(probabilities, kind="stable")
    curve = []
    for part in np.array_split(order, min(CALIBRATION_BINS, max(1, len(order)))):
        n, rate = len(part), float(happened[part].mean())
        centre = (rate + 1.96**2 / (2 * n)) / (1 + 1.96**2 / n)
        half = 1.96 / (1 + 1.96**2 / n) * float(np.sqrt(rate * (1 - rate) / n + 1.96**2 / (4 * n * n)))
        curve.append(
            {
                "probability": float(probabilities[part].mean()), "rate": rate,
                "low": max(0.0, centre - half), "high": min(1.0, centre + half), "notes": float(n),
            }
        )  # fmt: skip
    return curve
