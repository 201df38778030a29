"""The evaluation report of a finetuned model: one JSON-ready dict a run, with every figure that the card shows.

AUROC stands beside a bag-of-words baseline and, on the synthetic hospital, two ceilings: `latent` (the true
probabilities) and `visible` (the posterior given only the facts that the model could read).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from lang1.calibration import (
    calibration_line,
    expected_calibration_error,
    fit_calibrator,
    perfect_ece_bound,
)
from lang1.discrimination import macro_auroc, macro_auroc_interval
from lang1.scores import Calibrator, OperatingThresholds
from lang1.tasks import Task, TaskRegistry
from training.encoded import NO_LABEL, EncodedNotes
from training.finetune import Logits, probabilities_of

Floats = npt.NDArray[np.float64]
Probabilities = npt.NDArray[np.float64] | npt.NDArray[np.floating[Any]]


def calibrated(logits: Floats, calibrator: Calibrator) -> Floats:
    """(n, K) probabilities, as serving computes them."""
    offsets = np.asarray(calibrator.offsets or (0.0,) * logits.shape[1])
    return probabilities_of(calibrator.scale * logits + offsets)


def fit_calibrators(registry: TaskRegistry, logits: Logits, notes: EncodedNotes) -> dict[str, Calibrator]:
    """Vector scaling of every task on validation pairs."""
    fitted = {}
    for name in registry:
        rows = labelled(notes, logits, name)
        fitted[name] = fit_calibrator(logits[name][rows], notes.labels[name][rows])
    return fitted


def choose_thresholds(
    registry: TaskRegistry, logits: Logits, notes: EncodedNotes, calibrators: Mapping[str, Calibrator]
) -> dict[str, OperatingThresholds]:
    """Thresholds that flag each task's `high_risk_fraction` and `moderate_risk_fraction` of validation notes."""
    chosen = {}
    for task in registry.values():
        rows = labelled(notes, logits, task.name)
        adverse = adverse_probability(task, calibrated(logits[task.name][rows], calibrators[task.name]))
        high, moderate = np.quantile(adverse, [1 - task.high_risk_fraction, 1 - task.moderate_risk_fraction])
        chosen[task.name] = OperatingThresholds(moderate=min(1.0, float(moderate)), high=min(1.0, float(high)))
    return chosen


def labelled(notes: EncodedNotes, logits: Logits, name: str) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(logits[name]).all(axis=1) & (notes.labels[name] != NO_LABEL))


def adverse_probability(task: Task, probabilities: Floats) -> Floats:
    return np.asarray(probabilities[:, list(task.adverse_options)].sum(axis=1))


def evaluate_split(
    registry: TaskRegistry,
    notes: EncodedNotes,
    logits: Logits,
    calibrators: Mapping[str, Calibrator],
    thresholds: Mapping[str, OperatingThresholds],
    *,
    truth: Mapping[str, Probabilities] | None = None,
    visible: Mapping[str, Probabilities] | None = None,
    baseline: Mapping[str, Probabilities] | None = None,
    patients: npt.NDArray[Any] | None = None,
) -> dict[str, Any]:
    """The figures of every task that has labels in one split.

    The optional mappings hold (N, K) probabilities in the notes' order.

    `patients` (N,) names each note's patient, so that intervals are clustered by patient.
    """
    report: dict[str, Any] = {}
    for task in registry.values():
        rows = labelled(notes, logits, task.name)
        if not rows.any():
            continue
        labels = notes.labels[task.name][rows]
        probabilities = calibrated(logits[task.name][rows], calibrators[task.name])
        adverse = adverse_probability(task, probabilities)
        happened = np.isin(labels, task.adverse_options)
        flagged = adverse >= thresholds[task.name].high
        intercept, slope = calibration_line(adverse, happened)
        entry: dict[str, Any] = {
            "notes": int(rows.sum()),
            "class_counts": np.bincount(labels, minlength=len(task.options)).tolist(),
            "auroc": asdict(
                macro_auroc_interval(probabilities, labels, groups=None if patients is None else patients[rows])
            ),
            "patients": None if patients is None else len(np.unique(patients[rows])),
            "brier": float(np.mean((adverse - happened) ** 2)),
            "ece_15": expected_calibration_error(adverse, happened),
            "ece_15_perfect_99th": perfect_ece_bound(adverse),
            "calibration_intercept": intercept,
            "calibration_slope": slope,
            "mean_adverse_probability": float(adverse.mean()),
            "adverse_rate": float(happened.mean()),
            "high_threshold_flagged": float(flagged.mean()),
            "high_threshold_ppv": float(happened[flagged].mean()) if flagged.any() else None,
            "high_threshold_sensitivity": float(flagged[happened].mean()) if happened.any() else None,
        }
        if truth is not None:
            true = truth[task.name][rows]
            entry["soft"] = {"model": macro_auroc(probabilities, true), "latent": macro_auroc(true, true)}
            if visible is not None:
                entry["soft"]["visible"] = macro_auroc(visible[task.name][rows], true)
            if baseline is not None:
                entry["soft"]["tfidf"] = macro_auroc(baseline[task.name][rows], true)
        if baseline is not None:
            entry["tfidf_auroc"] = macro_auroc(baseline[task.name][rows], labels)
        report[task.name] = entry
    return report


def rounded(value: Any, digits: int = 6) -> Any:
    """The same structure with floats rounded, so that the stored report is readable and stable."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    if isinstance(value, float | np.floating):
        return round(float(value), digits) if np.isfinite(value) else None
    return value
