"""Finished phases of a run, and the state of one that is under way, in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_model, save_model

from lang1.llama import PackedLlama
from training.resume import TrainingState, write_atomically

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Finished phases in a folder, so that a run that was stopped goes on after its last one.

    A phase is found again only for the same data, the same recipe up to it and the same earlier phases.
    """

    folder: Path
    notes_sha256: str
    every_s: float = 120.0
    """Seconds between two states of a phase that is under way."""
    every_steps: int | None = None
    """Instead of seconds."""

    def _key(self, made_by: Mapping[str, Any]) -> str:
        return hashlib.sha256(json.dumps([made_by, self.notes_sha256], sort_keys=True).encode()).hexdigest()

    def under_way(
        self, phase: str, made_by: Mapping[str, Any], generators: Mapping[str, np.random.Generator]
    ) -> TrainingState:
        """Where a phase keeps its state while it runs."""
        return TrainingState(
            self.folder / f"{phase}-state", self._key(made_by), generators, self.every_s, self.every_steps
        )

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
        write_atomically(record, json.dumps({"key": self._key(made_by), "measured": dict(measured)}).encode())
