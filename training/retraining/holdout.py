"""A holdout: later notes whose outcomes are in, drawn by outcome and weighted back, that no challenger has seen.

All adverse outcomes of the window are taken, to a limit, and some others for each: an AUROC needs events, and the rest
adds cost. `weight_<task>` says how many notes of the window each stands for, so that calibration, Brier score and
means over classes are those of the window. notes.parquet and holdout.json; a changed file is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from lang1.bundle import Sha256, file_sha256
from lang1.tasks import Task, TaskRegistry
from training.retraining.errors import HoldoutError
from training.retraining.source import Floats, Ints, Labels
from training.synth.arrow import Table, pa, pq
from training.synth.generate import NOTES_FILE
from training.training_notes import Day

HOLDOUT_FILE = "holdout.json"
GROUP = "group_"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskSample(_Frozen):
    """One task's window, both days included, what it held and what was drawn of it."""

    first_day: Day
    last_day: Day
    events: int
    non_events: int
    class_counts: tuple[int, ...]
    """Drawn, in option order."""
    window_events: int
    window_non_events: int


class HoldoutManifest(_Frozen):
    """holdout.json: counts and hashes."""

    format_version: Literal[1] = 1
    as_of: str
    """Only what was known then is in it."""
    seed: int
    controls_per_case: float
    max_events: int
    tasks: dict[str, TaskSample]
    notes: int
    patients: int
    seen_patients: int
    """Of them with notes in the training data that were drawn with it."""
    about: dict[str, Any]
    notes_sha256: Sha256


@dataclass(frozen=True, slots=True)
class Drawn:
    """rows (n,) of a source, rising; for each task labels (n,), -1 where the pair was not drawn, and weights (n,)."""

    rows: Ints
    labels: Mapping[str, Labels]
    weights: Mapping[str, Floats]
    window_counts: Mapping[str, tuple[int, int]]
    """Events and non-events of the window."""


def draw(
    usable: Mapping[str, npt.NDArray[np.bool_]],
    labels: Mapping[str, Labels],
    order: Floats,
    registry: TaskRegistry,
    *,
    max_events: int,
    controls_per_case: float,
) -> Drawn:
    """Draw by outcome. usable: task to the notes (N,) of its window; order (N,): those with the lowest come first.

    One order for all tasks, so that a note which is drawn for one is likely drawn for the others: fewer notes to read.
    """
    chosen: dict[str, Ints] = {}
    weights: dict[str, tuple[float, float]] = {}
    counts: dict[str, tuple[int, int]] = {}
    for name, task in registry.items():
        inside = np.flatnonzero(usable[name])
        inside = inside[np.argsort(order[inside], kind="stable")]
        adverse = np.isin(labels[name][inside], task.adverse_options)
        events, others = inside[adverse], inside[~adverse]
        kept_events = events[:max_events]
        kept_others = others[: max(1, round(controls_per_case * len(kept_events)))]
        chosen[name] = np.concatenate([kept_events, kept_others])
        counts[name] = (len(events), len(others))
        weights[name] = (len(events) / max(1, len(kept_events)), len(others) / max(1, len(kept_others)))
    rows = np.unique(np.concatenate([np.zeros(0, np.int64), *chosen.values()]))
    kept_labels: dict[str, Labels] = {}
    kept_weights: dict[str, Floats] = {}
    for name, task in registry.items():
        at = np.searchsorted(rows, chosen[name])
        label = np.full(len(rows), -1, dtype=np.int8)
        label[at] = labels[name][chosen[name]]
        adverse = np.isin(label, task.adverse_options)
        kept_labels[name] = label
        kept_weights[name] = np.where(label < 0, 0.0, np.where(adverse, *weights[name]))
    return Drawn(rows, kept_labels, kept_weights, counts)


def sample_of(task: Task, labels: Labels, window: tuple[str, str], window_counts: tuple[int, int]) -> TaskSample:
    """What the manifest says of a task. labels (n,) as they were written."""
    adverse = np.isin(labels, task.adverse_options)
    return TaskSample(
        first_day=window[0], last_day=window[1], events=int(adverse.sum()),
        non_events=int(((labels >= 0) & ~adverse).sum()),
        class_counts=tuple(np.bincount(labels[labels >= 0], minlength=len(task.options)).tolist()),
        window_events=window_counts[0], window_non_events=window_counts[1],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Holdout:
    """A holdout folder, verified. `table` has note_id, patient_id, encounter_id, note_type, authored, text, seen and,
    for each task, label_<task> and weight_<task>; then group_<name>."""

    folder: Path
    manifest: HoldoutManifest
    table: Table

    @property
    def sha256(self) -> str:
        return self.manifest.notes_sha256

    @property
    def parts(self) -> dict[str, npt.NDArray[np.str_]]:
        """Subgroup column to its level of each note."""
        names = [name for name in self.table.column_names if name.startswith(GROUP)]
        return {
            name.removeprefix(GROUP): np.asarray([str(each) for each in self.table[name].to_pylist()], dtype=np.str_)
            for name in names
        }


def open_holdout(folder: Path) -> Holdout:
    """The holdout of a folder. Raises HoldoutError when it is none, or was changed after it was drawn."""
    try:
        manifest = HoldoutManifest.model_validate_json((folder / HOLDOUT_FILE).read_bytes())
        if file_sha256(folder / NOTES_FILE) != manifest.notes_sha256:
            raise HoldoutError(f"{folder / NOTES_FILE} was changed after the holdout was drawn; draw it again")
        table = pq.read_table(folder / NOTES_FILE)
    except (OSError, ValidationError, pa.ArrowException) as error:
        raise HoldoutError(
            f"{folder} is not a holdout ({type(error).__name__}); draw one with lang1 retrain holdout"
        ) from None
    needed = ["note_id", "patient_id", "note_type", "text", "seen"]
    needed += [f"{what}_{task}" for task in manifest.tasks for what in ("label", "weight")]
    if missing := [name for name in needed if name not in table.column_names]:
        raise HoldoutError(f"{folder / NOTES_FILE} lacks {missing[0]}; draw the holdout again")
    return Holdout(folder, manifest, table)
