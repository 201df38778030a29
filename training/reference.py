"""The reference profile of a trained model: what drift is judged against, from the notes its thresholds come from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lang1.scores import Calibrator
from lang1.tasks import TaskRegistry
from monitoring.reference import (
    MIN_REFERENCE_NOTES,
    NoteSample,
    ReferenceProfile,
    ScoreSample,
    build_reference,
)
from training.encoded import EncodedNotes
from training.evaluation import calibrated
from training.finetune import Logits


def reference_profile(
    registry: TaskRegistry,
    logits: Logits,
    notes: EncodedNotes,
    calibrators: Mapping[str, Calibrator],
    *,
    model_version: str,
    source: str,
) -> ReferenceProfile | None:
    """Profile of the notes that were scored; None under 1,000 of them: their own noise would look like drift."""
    scored = {name: np.isfinite(logits[name]).all(axis=1) for name in registry}
    rows = np.logical_or.reduce(list(scored.values()))
    if int(rows.sum()) < MIN_REFERENCE_NOTES:
        return None
    samples = {
        name: (
            registry[name],
            ScoreSample(
                calibrated(logits[name][which], calibrators[name]), np.asarray(notes.labels[name][which], np.int64)
            ),
        )
        for name, which in scored.items()
    }
    kept = NoteSample(
        note_tokens=np.diff(notes.offsets)[rows].astype(np.float64),
        truncated=notes.dropped_tokens[rows] > 0,
        note_type=np.asarray(notes.note_types, dtype=np.str_)[rows],
    )
    return build_reference(samples, kept, model_version=model_version, source=source)
