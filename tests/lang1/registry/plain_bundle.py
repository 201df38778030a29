"""A sealed bundle without weights that work: what the registry moves about, made in a millisecond and without torch."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lang1.bundle import CARD, write_bundle
from lang1.scores import OperatingThresholds
from lang1.tasks import BUILT_IN, TaskRegistry

_TASKS = TaskRegistry([BUILT_IN["readmission_30d"]])


def make_plain_bundle(folder: Path, version: str) -> Path:
    """A bundle whose hash differs with its version."""
    thresholds = OperatingThresholds(moderate=0.1, high=0.2)
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch)
        for name in ("config.json", "tokenizer.json", "model.safetensors", CARD):
            (files / name).write_text(f"{name} of {version}\n")
        write_bundle(
            folder, files, name="plain", version=version, demo=True, base="nothing", max_note_tokens=8, bos_token=None,
            registry=_TASKS, calibrators={}, thresholds=dict.fromkeys(_TASKS, thresholds),
            training={}, evaluation={},
        )  # fmt: skip
    return folder
