"""Training that was stopped goes on where it was: weights, optimizers, generators and data position, on the disk.

Tensors are safetensors and the rest is JSON, so nothing is unpickled. The data position is a number of steps: the same
steps are drawn again without a pass, which costs microseconds a note and is exact by construction. On a CPU, with as
many threads as before, a run that went on ends with the same bits as one that was never stopped.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

RECORD = "training.json"
_FORMAT = 1


@dataclass(slots=True)
class Position:
    """How far a run has come. `best_score` is -inf before the first validation."""

    step: int = 0
    seconds: float = 0.0
    notes_seen: int = 0
    tokens_seen: int = 0
    validations: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    best_score: float = -math.inf


@dataclass(slots=True)
class TrainingState:
    """Where a run keeps its state: a folder of its own. `key` names the run: another's state is not taken up.

    generators: numpy generators that the objective draws from, whose states are kept. A state is written after a step
    when `every_s` seconds have passed since the last one, or every `every_steps` steps where that is given.
    """

    folder: Path
    key: str
    generators: Mapping[str, np.random.Generator] = field(default_factory=dict)
    every_s: float = 120.0
    every_steps: int | None = None
    _saved_at: float = field(default_factory=time.monotonic)
    _best_file: str | None = None
    _best_of_file: int = -1

    def due(self, step: int) -> bool:
        """Whether a state is to be written after `step` finished steps."""
        if self.every_steps is not None:
            return step % self.every_steps == 0
        return time.monotonic() - self._saved_at >= self.every_s

    def save(
        self,
        position: Position,
        weights: Mapping[str, Tensor],
        extra: Sequence[Tensor],
        optimizers: Sequence[torch.optim.Optimizer],
        best: Mapping[str, Tensor] | None,
    ) -> None:
        """Write a state; the one before is there until this one is whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"weight.{name}": tensor for name, tensor in weights.items()}
        tensors |= {f"extra.{index}": tensor for index, tensor in enumerate(extra)}
        for number, optimizer in enumerate(optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{number}.{index}.{name}": value for name, value in state.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        name = f"state-{position.step}.safetensors"
        _write_tensors(self.folder / name, tensors)
        if best is None:
            self._best_file = None
        elif self._best_file is None or self._best_of_file != position.best_step:
            # Best weights change at validations alone, so they are not written with every state.
            self._best_file, self._best_of_file = f"best-{position.best_step}.safetensors", position.best_step
            _write_tensors(self.folder / self._best_file, dict(best))
        record = {
            "format": _FORMAT, "key": self.key, "step": position.step, "seconds": position.seconds,
            "notes_seen": position.notes_seen, "tokens_seen": position.tokens_seen,
            "validations": position.validations, "best_step": position.best_step,
            "best_score": position.best_score if math.isfinite(position.best_score) else None,
            "generators": {name: each.bit_generator.state for name, each in self.generators.items()},
            "state": name, "best": self._best_file,
        }  # fmt: skip
        write_atomically(self.folder / RECORD, json.dumps(record).encode())
        for old in self.folder.glob("*.safetensors"):
            if old.name not in (name, self._best_file):
                old.unlink()
        self._saved_at = time.monotonic()

    def load(
        self,
        weights: Mapping[str, nn.Parameter],
        extra: Sequence[nn.Parameter],
        optimizers: Sequence[torch.optim.Optimizer],
    ) -> tuple[Position, dict[str, Tensor] | None] | None:
        """Put a state into the run, and return where it stands and its best weights; None when there is none of it."""
        try:
            record = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
            if record.get("format") != _FORMAT or record.get("key") != self.key:
                return None
            tensors = load_file(self.folder / str(record["state"]))
            best = None if record["best"] is None else load_file(self.folder / str(record["best"]))
        except (OSError, ValueError, KeyError, SafetensorError):
            return None
        wanted = {f"weight.{name}" for name in weights} | {f"extra.{index}" for index in range(len(extra))}
        if not wanted <= tensors.keys() or (best is not None and best.keys() != weights.keys()):
            return None
        with torch.no_grad():
            for name, parameter in weights.items():
                parameter.copy_(tensors[f"weight.{name}"])
            for index, parameter in enumerate(extra):
                parameter.copy_(tensors[f"extra.{index}"])
        for number, optimizer in enumerate(optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in tensors.items():
                if name.startswith(f"optimizer.{number}."):
                    _, _, index_text, value = name.split(".", 3)
                    state.setdefault(int(index_text), {})[value] = tensor
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        for name, generator in self.generators.items():
            generator.bit_generator.state = record["generators"][name]
        torch.set_rng_state(tensors["random.cpu"])
        if torch.cuda.is_available() and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])
        self._best_file, self._best_of_file = record["best"], int(record["best_step"])
        score = record["best_score"]
        return Position(
            step=int(record["step"]), seconds=float(record["seconds"]), notes_seen=int(record["notes_seen"]),
            tokens_seen=int(record["tokens_seen"]), validations=list(record["validations"]),
            best_step=int(record["best_step"]), best_score=-math.inf if score is None else float(score),
        ), best  # fmt: skip

    def clear(self) -> None:
        """Forget the run: its result is kept elsewhere."""
        (self.folder / RECORD).unlink(missing_ok=True)
        for old in self.folder.glob("*.safetensors"):
            old.unlink()


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    fresh = path.with_suffix(".new")
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, fresh)
    _sync(fresh)
    fresh.replace(path)


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` in the place of a file: a reader sees the old bytes or the new, also after a crash."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(data)
    _sync(fresh)
    fresh.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_ready(value: Any) -> Any:
    """The value as JSON gives it back (tuples as lists), so that what is compared with a record is of one form."""
    return json.loads(json.dumps(value))
