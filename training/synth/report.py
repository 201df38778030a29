"""Baseline and ceilings side by side: `python -m training.synth.report DIR [--chars N]`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lang1.discrimination import macro_auroc
from lang1.tasks import BUILT_IN
from training.baseline import baseline_auroc
from training.synth.ceiling import latent_probabilities, visible_probabilities
from training.synth.generate import read_notes


def ceilings(path: Path, split: str = "test", chars: float = np.inf) -> dict[str, tuple[float, float]]:
    """Task name to (latent, visible) AUROC against the true probabilities, notes cut at `chars` characters."""
    columns = ["note_type", "authored", "context", "told", "ends", *(f"true_{task.name}" for task in BUILT_IN.values())]
    notes = read_notes(path, [split], columns)
    latent = latent_probabilities(notes)
    visible = visible_probabilities(notes, np.full(notes.num_rows, chars))
    out = {}
    for name, truth in latent.items():
        here = ~np.isnan(truth[:, 0])
        out[name] = (macro_auroc(truth[here], truth[here]), macro_auroc(visible[name][here], truth[here]))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.synth.report", description="Baseline and ceilings.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--chars", type=int, default=None)
    parser.add_argument("--max-train", type=int, default=None)
    given = parser.parse_args()
    found = ceilings(given.path, given.split, np.inf if given.chars is None else given.chars)
    baseline = baseline_auroc(given.path, given.split, chars=given.chars, max_train=given.max_train)
    print(f"{'task':32}{'TF-IDF':>9}{'visible':>9}{'latent':>9}")
    for name, (latent, visible) in found.items():
        print(f"{name:32}{baseline[name]:9.3f}{visible:9.3f}{latent:9.3f}")


if __name__ == "__main__":
    main()
