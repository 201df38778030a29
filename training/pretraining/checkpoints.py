"""Distributed checkpoints: every process writes its part as safetensors; a folder counts once it is whole.

OUT/checkpoints/step-00000500/ holds `*.safetensors` (weights, moments), `rng.safetensors`, `tokenizer.json` aside, and
`checkpoint.json` with the run's state and every file's size and hash. torch's own format for these keeps its index as a
pickle; its Hugging Face storage does not, and is read on any number of processes.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.distributed.checkpoint.state_dict_saver import save as save_tensors

from lang1.bundle import file_sha256
from training.pretraining.errors import PretrainError
from training.pretraining.model import ShardedModel
from training.pretraining.optimizer import ShardedAdamW
from training.pretraining.state import RunState
from training.pretraining.world import World

RECORD = "checkpoint.json"
RNG = "rng.safetensors"
PARTS = "parts"
STEP, TRAJECTORY, BEST = "step-", "tokens-", "best"
_WEIGHT = "weight."


class Part(BaseModel):
    """A file of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^(parts/)?[A-Za-z0-9][A-Za-z0-9._-]*$")]
    bytes: int
    sha256: str


class CheckpointRecord(BaseModel):
    """`checkpoint.json`: the last file that is written, so a folder with it is whole."""

    model_config = ConfigDict(extra="forbid")

    state: RunState
    processes: int
    resumable: bool
    """False for weights alone."""
    files: list[Part]


def step_name(step: int) -> str:
    return f"{STEP}{step:08d}"


def trajectory_name(tokens: int) -> str:
    return f"{TRAJECTORY}{tokens:015d}"


class CheckpointFolder:
    """OUT/checkpoints of a run, written and read by all processes together."""

    def __init__(self, folder: Path, model: ShardedModel, optimizer: ShardedAdamW, world: World) -> None:
        self.folder, self._model, self._optimizer, self._world = folder, model, optimizer, world

    def save(self, name: str, state: RunState, *, resumable: bool = True) -> None:
        """Write `name`: the weights, and with `resumable` all that is needed to go on. Replaces an older one."""
        partial, whole = self.folder / f"{name}.partial", self.folder / name
        if self._world.first:
            shutil.rmtree(partial, ignore_errors=True)
            (partial / PARTS).mkdir(parents=True, mode=0o700)
        self._world.barrier()
        tensors: dict[str, Tensor] = {f"{_WEIGHT}{name}": weight for name, weight in self._model.weights.items()}
        if resumable:
            tensors |= self._optimizer.tensors()
        writer = HuggingFaceStorageWriter(str(partial / PARTS), save_distributed=True)
        save_tensors(tensors, storage_writer=writer)
        streams = self._world.gather(_random_states(self._world.device))
        if self._world.first:
            flat = {f"{rank}.{kind}": value for rank, states in enumerate(streams) for kind, value in states.items()}
            save_file(flat, partial / RNG)
        self._world.barrier()
        mine = [path for place, path in enumerate(_files(partial)) if place % self._world.size == self._world.rank]
        parts = self._world.gather([_part(partial, path) for path in mine])
        if self._world.first:
            record = CheckpointRecord(
                state=state, processes=self._world.size, resumable=resumable,
                files=sorted((part for each in parts for part in each), key=lambda part: part.name),
            )  # fmt: skip
            (partial / RECORD).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
            shutil.rmtree(whole, ignore_errors=True)
            partial.replace(whole)
        self._world.barrier()

    def load(self, name: str) -> RunState:
        """Put a checkpoint into the model and the optimizer, exactly as they were. Raises PretrainError."""
        record = read_record(self.folder / name)
        parts = self.folder / name / PARTS
        tensors: dict[str, Tensor] = {f"{_WEIGHT}{name}": weight for name, weight in self._model.weights.items()}
        load_tensors(tensors | self._optimizer.tensors(), storage_reader=HuggingFaceStorageReader(str(parts)))
        self._optimizer.set_steps(record.state.step)
        if record.processes == self._world.size:
            flat = load_file(self.folder / name / RNG)
            mine = f"{self._world.rank}."
            streams = {name.removeprefix(mine): value for name, value in flat.items() if name.startswith(mine)}
            _set_random_states(self._world.device, streams)
        self._world.barrier()
        return record.state

    def newest_sound(self) -> tuple[str | None, list[str]]:
        """The newest resumable checkpoint whose files have their hashes, and the newer ones that are damaged."""
        damaged: list[str] = []
        # One process looks: a shared folder may not show all of them the same at once.
        for step in reversed(self._world.gather(steps_of(self.folder) if self._world.first else [])[0]):
            if self._is_sound(step_name(step)):
                return step_name(step), damaged
            damaged.append(step_name(step))
        return None, damaged

    def _is_sound(self, name: str) -> bool:
        """Each process reads a share of the files."""
        try:
            record = read_record(self.folder / name)
            bad = any(
                _part(self.folder / name, self.folder / name / part.name) != part
                for place, part in enumerate(record.files)
                if place % self._world.size == self._world.rank
            )
        except (PretrainError, OSError):
            bad = True
        return not any(self._world.gather(bad))

    def prune(self, keep: int) -> None:
        """Delete the oldest resumable ones but `keep`."""
        self._delete(lambda: [step_name(step) for step in steps_of(self.folder)[:-keep]])

    def forget_after(self, state: RunState) -> None:
        """Delete what a run that goes back to `state` wrote later, and what is damaged or half written."""
        self._delete(lambda: [
            *[step_name(step) for step in steps_of(self.folder) if step > state.step],
            *[trajectory_name(tokens) for tokens in trajectory_of(self.folder) if tokens > state.tokens],
            *[BEST for record in self._best() if record.state.step > state.step],
        ])  # fmt: skip

    def _best(self) -> list[CheckpointRecord]:
        return [read_record(self.folder / BEST)] if (self.folder / BEST / RECORD).exists() else []

    def _delete(self, names: Callable[[], list[str]]) -> None:
        if self._world.first:
            for name in names():
                # Out of the way under another name first: a half-deleted folder never looks whole.
                gone = self.folder / f"{name}.partial"
                shutil.rmtree(gone, ignore_errors=True)
                (self.folder / name).replace(gone)
                shutil.rmtree(gone)
        self._world.barrier()


def steps_of(folder: Path) -> list[int]:
    """Steps of the resumable checkpoints there, in order."""
    return _numbers(folder, STEP)


def trajectory_of(folder: Path) -> list[int]:
    """Tokens seen at each trajectory checkpoint there, in order."""
    return _numbers(folder, TRAJECTORY)


def _numbers(folder: Path, prefix: str) -> list[int]:
    names = [path.name.removeprefix(prefix) for path in folder.glob(f"{prefix}*") if (path / RECORD).exists()]
    return sorted(int(name) for name in names if name.isdigit())


def read_record(checkpoint: Path) -> CheckpointRecord:
    """Raises PretrainError when it is no whole checkpoint."""
    try:
        return CheckpointRecord.model_validate_json((checkpoint / RECORD).read_bytes())
    except (OSError, ValidationError) as error:
        raise PretrainError(f"{checkpoint} is not a whole checkpoint ({type(error).__name__})") from None


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """A checkpoint's weights, whole, float32, by LitGPT's names; needs no process group. Raises PretrainError."""
    record = read_record(checkpoint)
    for part in record.files:
        try:
            sound = _part(checkpoint, checkpoint / part.name) == part
        except OSError:
            sound = False
        if not sound:
            raise PretrainError(f"{checkpoint.name}/{part.name} is damaged; take another checkpoint")
    reader = HuggingFaceStorageReader(str(checkpoint / PARTS))
    shapes = reader.read_metadata().state_dict_metadata
    weights: dict[str, Tensor] = {
        name: torch.empty(described.size)
        for name, described in shapes.items()
        if name.startswith(_WEIGHT) and isinstance(described, TensorStorageMetadata)
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as is meant
        load_tensors(weights, storage_reader=reader, no_dist=True)
    return {name.removeprefix(_WEIGHT): weight for name, weight in weights.items()}


def _files(checkpoint: Path) -> list[Path]:
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def _part(checkpoint: Path, path: Path) -> Part:
    return Part(name=path.relative_to(checkpoint).as_posix(), bytes=path.stat().st_size, sha256=file_sha256(path))


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_states(device: torch.device, states: Mapping[str, Tensor]) -> None:
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
