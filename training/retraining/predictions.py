"""A bundle's calibrated probabilities of a holdout, kept in a file so that a champion is scored once a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lang1.bundle import Bundle
from lang1.scorer import Device, PackedScorer
from training.encoded import EncodedNotes, encode_notes
from training.evaluation import calibrated
from training.finetune import predict_logits
from training.notes import clinical_notes
from training.retraining.holdout import Holdout

Probabilities = Mapping[str, npt.NDArray[np.float64]]
"""Task to (n, K) in the holdout's order, NaN where the pair was not drawn."""
Advance = Callable[[int], None]


def predict(
    bundle: Bundle,
    holdout: Holdout,
    *,
    device: Device = "auto",
    precision: str = "float32",
    advance: Advance = lambda _: None,
) -> Probabilities:
    """Score every drawn (note, task) pair as the service would. Raises BundleError."""
    scorer = PackedScorer.load(bundle.folder, device=device)
    names = [name for name in scorer.registry if name in holdout.manifest.tasks]
    labels = {name: holdout.table[f"label_{name}"].to_numpy().astype(np.int8) for name in names}
    notes: EncodedNotes = encode_notes(clinical_notes(holdout.table), labels, scorer.encoder)
    logits = predict_logits(scorer.model, notes, scorer.encoder, precision=precision, advance=advance)
    return {name: calibrated(logits[name], bundle.calibrators[name]) for name in names}


def save_predictions(path: Path, predictions: Probabilities, *, bundle: str, holdout: str) -> None:
    """Write the file, whole or not at all."""
    fresh = path.with_suffix(".new")
    save_file({name: np.ascontiguousarray(each) for name, each in predictions.items()}, fresh,
              metadata={"bundle": bundle, "holdout": holdout})  # fmt: skip
    fresh.replace(path)


def read_predictions(path: Path, *, bundle: str, holdout: str) -> Probabilities | None:
    """The predictions of this bundle on this holdout; None when the file is not that."""
    try:
        with safe_open(path, framework="numpy") as file:
            if file.metadata() != {"bundle": bundle, "holdout": holdout}:
                return None
            return {name: np.asarray(file.get_tensor(name), dtype=np.float64) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
