"""Bundles that differ from one another as much as a test wants: the same weights with other calibrators."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lang1.bundle import MANIFEST, load_bundle, write_bundle
from lang1.scores import Calibrator


def shifted_bundle(folder: Path, original: Path, version: str, shift: float) -> Path:
    """A bundle whose adverse options score `shift` logits higher than the original's."""
    bundle = load_bundle(original)
    with tempfile.TemporaryDirectory() as scratch:
        for name in bundle.manifest.files:
            shutil.copyfile(original / name, Path(scratch) / name)
        assert not (Path(scratch) / MANIFEST).exists()
        write_bundle(
            folder, Path(scratch), name=bundle.manifest.name, version=version, demo=True, base=bundle.manifest.base,
            max_note_tokens=bundle.manifest.max_note_tokens, bos_token=bundle.manifest.bos_token,
            registry=bundle.registry, thresholds=bundle.thresholds, training={}, evaluation={},
            calibrators={
                task.name: Calibrator(
                    offsets=tuple(shift if o in task.adverse_options else 0.0 for o in range(len(task.options)))
                )
                for task in bundle.registry.values()
            },
        )  # fmt: skip
    return folder
