"""Recorded predictions and their outcomes, joined by encounter and task: what a replay reads.

Predictions, a row a note and task: `time` (ISO 8601 with offset), `encounter` (may be empty), `patient`, `task`,
`note_type` (LOINC), `model_version`, `probabilities` (a JSON list, or a list column), `note_tokens`, `truncated`,
`shown` (true or false); optional `note` (which rows are of one note), `unknown_rate`, and columns named as subgroups.
Outcomes, a row an encounter and task, once it is final: `encounter`, `task`, `value` (option code or index, or
"excluded" where the task asks nothing of this encounter), `known_at`; optional `discharged_at`.

Errors name file, column and row (the first data row is 1), never a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lang1.tasks import Task, TaskRegistry
from monitoring.errors import MonitorInputError
from monitoring.reference import NoteSample, adverse_probability
from monitoring.tables import Bools, Codes, Floats, Table, read_table

NO_LABEL = -1
EXCLUDED = -2
EXCLUDED_VALUE = "excluded"
PREDICTION_COLUMNS = (
    "time", "encounter", "patient", "task", "note_type", "model_version", "probabilities", "note_tokens", "truncated",
    "shown",
)  # fmt: skip
OUTCOME_COLUMNS = ("encounter", "task", "value", "known_at")


@dataclass(frozen=True)
class TaskHistory:
    """One task's n predictions on notes that it is trained on, by time, with outcomes. Times: seconds since 1970."""

    task: Task
    time_s: Floats
    probabilities: Floats
    """(n, K)"""
    patient: Codes
    shown: Bools
    labelable: Bools
    """The first prediction of an encounter. Others would repeat its label, and with it the evidence."""
    label: Codes
    """Option index; NO_LABEL or EXCLUDED."""
    known_s: Floats
    """When the outcome became final; inf for an open one."""
    discharged_s: Floats
    """From the outcomes where they say it, else the time of the prediction."""
    subgroups: Mapping[str, npt.NDArray[np.str_]]

    @cached_property
    def adverse(self) -> Floats:
        """(n,) predicted probability of the adverse outcome."""
        return adverse_probability(self.task, self.probabilities)

    @cached_property
    def happened(self) -> Bools:
        """(n,) whether the adverse outcome came, where there is a label."""
        return np.isin(self.label, self.task.adverse_options)

    def between(self, start_s: float, end_s: float) -> slice:
        """Rows with start_s <= time < end_s."""
        low, high = np.searchsorted(self.time_s, (start_s, end_s), side="left")
        return slice(int(low), int(high))


@dataclass(frozen=True, slots=True)
class History:
    """Everything recorded of one model version. `notes` by `note_time_s`, which rises."""

    model_version: str
    tasks: Mapping[str, TaskHistory]
    note_time_s: Floats
    notes: NoteSample
    unmatched_outcomes: int = 0
    """Outcomes of encounters and tasks that were never predicted."""

    @property
    def start_s(self) -> float:
        return float(self.note_time_s[0])

    @property
    def end_s(self) -> float:
        """The last thing recorded: a prediction or an outcome."""
        known = [float(each.known_s[np.isfinite(each.known_s)].max(initial=-np.inf)) for each in self.tasks.values()]
        return max(float(self.note_time_s[-1]), *known)

    def notes_between(self, start_s: float, end_s: float) -> NoteSample:
        """Notes with start_s <= time < end_s."""
        low, high = np.searchsorted(self.note_time_s, (start_s, end_s), side="left")
        rate = self.notes.unknown_rate
        return NoteSample(
            self.notes.note_tokens[low:high],
            self.notes.truncated[low:high],
            self.notes.note_type[low:high],
            None if rate is None else rate[low:high],
        )


def read_history(
    predictions: Path,
    outcomes: Path,
    registry: TaskRegistry,
    *,
    model_version: str | None = None,
    subgroups: Sequence[str] = (),
) -> History:
    """Read and join. Files are Parquet by their name's end, else CSV with a header.

    `model_version` chooses among several; needed only then. Raises MonitorInputError.
    """
    rows = read_table(predictions, (*PREDICTION_COLUMNS, *subgroups))
    labels = read_table(outcomes, OUTCOME_COLUMNS)
    return join_history(rows, labels, registry, model_version=model_version, subgroups=subgroups)


def join_history(
    rows: Table,
    labels: Table,
    registry: TaskRegistry,
    *,
    model_version: str | None = None,
    subgroups: Sequence[str] = (),
) -> History:
    """The history of a table of predictions and one of outcomes, as in `read_history`. Raises MonitorInputError."""
    if not rows.count:
        raise MonitorInputError(f"{rows.name}: no rows; give recorded predictions")
    versions = np.array(rows.texts("model_version"))
    known_versions = np.unique(versions)
    if model_version is None and len(known_versions) > 1:
        raise MonitorInputError(
            f"{rows.name}: column model_version holds {len(known_versions)} versions; choose one "
            "(--model-version): every version has monitors of its own"
        )
    chosen = str(known_versions[0]) if model_version is None else model_version
    kept = np.flatnonzero(versions == chosen)
    if not len(kept):
        raise MonitorInputError(f"{rows.name}: column model_version: no row of the chosen version")
    return _joined(rows, labels, registry, chosen, kept, subgroups)


def _joined(
    rows: Table, labels: Table, registry: TaskRegistry, version: str, kept: Codes, subgroups: Sequence[str]
) -> History:
    time_s = rows.times("time")
    kept = kept[np.argsort(time_s[kept], kind="stable")]
    task_of = rows.tasks(registry)
    probabilities = rows.probabilities(registry, task_of)
    encounters, patients = rows.texts("encounter", empty=True), rows.texts("patient", empty=True)
    patient = np.unique(np.array(patients), return_inverse=True)[1]
    types, shown = np.array(rows.texts("note_type", empty=True)), rows.bools("shown")
    tokens, truncated = rows.numbers("note_tokens"), rows.bools("truncated")
    unknown = rows.numbers("unknown_rate", high=1.0) if "unknown_rate" in rows.columns else None
    levels = {name: np.array(rows.texts(name, empty=True)) for name in subgroups}
    found, discharged = _outcomes(labels, registry)
    seen: set[tuple[str, str]] = set()
    tasks: dict[str, TaskHistory] = {}
    for task in registry.values():
        trained = np.array([task.trained_on(loinc) for loinc in types[kept].tolist()], dtype=np.bool_)
        mine = kept[(task_of[kept] == list(registry).index(task.name)) & trained]
        if not len(mine):
            continue
        names = [encounters[i] for i in mine.tolist()]
        first, met = np.zeros(len(mine), dtype=np.bool_), set()
        for position, name in enumerate(names):
            if name and name not in met:
                met.add(name)
                first[position] = True
        seen.update((task.name, name) for name in met)
        matched = [found.get((task.name, name), (NO_LABEL, np.inf)) for name in names]
        tasks[task.name] = TaskHistory(
            task=task,
            time_s=time_s[mine],
            probabilities=np.array([probabilities[i] for i in mine.tolist()], dtype=np.float64),
            patient=patient[mine],
            shown=shown[mine],
            labelable=first,
            label=np.array([label for label, _ in matched], dtype=np.intp),
            known_s=np.array([known for _, known in matched], dtype=np.float64),
            discharged_s=np.array(
                [discharged.get(name, own) for name, own in zip(names, time_s[mine].tolist(), strict=True)]
            ),
            subgroups={name: column[mine] for name, column in levels.items()},
        )
    if not tasks:
        raise MonitorInputError(
            f"{rows.name}: column note_type: no prediction is of a note type that its task is trained on"
        )
    one = kept[_first_of_note(rows, kept, time_s, encounters, types)]
    notes = NoteSample(
        tokens[one], truncated[one], types[one].astype(np.str_), None if unknown is None else unknown[one]
    )
    return History(version, tasks, time_s[one], notes, len(found.keys() - seen))


def _first_of_note(
    rows: Table, kept: Codes, time_s: Floats, encounters: Sequence[str], types: npt.NDArray[np.str_]
) -> Bools:
    """(len(kept),) one row a note. Without a `note` column: same time, encounter, patient and type are one note."""
    notes = rows.texts("note") if "note" in rows.columns else None
    patients = rows.texts("patient", empty=True)
    met: set[object] = set()
    first = np.zeros(len(kept), dtype=np.bool_)
    for position, i in enumerate(kept.tolist()):
        key = notes[i] if notes is not None else (time_s[i], encounters[i], patients[i], types[i])
        first[position] = key not in met
        met.add(key)
    return first


def _outcomes(
    labels: Table, registry: TaskRegistry
) -> tuple[dict[tuple[str, str], tuple[int, float]], dict[str, float]]:
    """(task, encounter) to (option, known_s), and encounter to discharged_s."""
    names, encounters, values = list(registry), labels.texts("encounter"), labels.texts("value")
    task_of, known_s = labels.tasks(registry), labels.times("known_at")
    found: dict[tuple[str, str], tuple[int, float]] = {}
    for i, encounter in enumerate(encounters):
        task = registry[names[task_of[i]]]
        key = (task.name, encounter)
        if key in found:
            labels.refuse("encounter", i, "has an outcome of this task already; send each outcome once, when final")
        found[key] = (_option(task, values[i]), float(known_s[i]))
        if found[key][0] == NO_LABEL:
            labels.refuse("value", i, f"must be an option's code or index, or {EXCLUDED_VALUE}")
    discharged: dict[str, float] = {}
    if "discharged_at" in labels.columns:
        at_s = labels.times("discharged_at", empty=True)
        discharged = {name: float(at) for name, at in zip(encounters, at_s, strict=True) if np.isfinite(at)}
    return found, discharged


def _option(task: Task, value: str) -> int:
    if value == EXCLUDED_VALUE:
        return EXCLUDED
    codes = [option.code for option in task.options]
    if value in codes:
        return codes.index(value)
    return int(value) if value.isdecimal() and int(value) < len(codes) else NO_LABEL
