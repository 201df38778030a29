"""A simulated hospital's recorded predictions and outcomes, with a known day on which something changes.

Predictions are the true probabilities until a change; labels come as they do: readmissions early and their absence
late, short stays first, approved claims before denied ones.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lang1.tasks import BUILT_IN, Horizon, Task
from monitoring.history import History, TaskHistory
from monitoring.reference import NoteSample

Floats = npt.NDArray[np.float64]
DAY_S = 86_400.0
START = datetime(2020, 1, 6, tzinfo=UTC)
"""A Monday."""
START_S = START.timestamp()
VERSION = "1.0.0"
MEAN_LOGIT = -2.0
SD_LOGIT = 1.1


def sigmoid(z: npt.ArrayLike) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.asarray(z, dtype=np.float64))))


def by_rule(rule: str) -> Task:
    return next(task for task in BUILT_IN.values() if task.label_rule == rule)


READMISSION, DENIAL, STAY = by_rule("readmission"), by_rule("insurance_denial"), by_rule("length_of_stay")
MORTALITY = by_rule("in_hospital_mortality")


@dataclass(frozen=True)
class Hospital:
    """`score_shift`: task to (day, SD of the logit that predictions move by). `outcome`: task to (day, function from
    the predicted adverse logit to the true one)."""

    seed: int
    days: int
    per_day: int = 150
    tasks: tuple[Task, ...] = tuple(BUILT_IN.values())
    score_shift: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    outcome: Mapping[str, tuple[int, Callable[[Floats], Floats]]] = field(default_factory=dict)
    shown: float = 0.0
    """Share of encounters whose scores are shown."""


def simulate(hospital: Hospital) -> History:
    rng = np.random.default_rng(hospital.seed)
    n = hospital.days * hospital.per_day
    admitted_s = START_S + np.sort(rng.random(n)) * hospital.days * DAY_S
    stay_days = np.exp(rng.normal(1.2, 0.7, n))
    discharged_s = admitted_s + stay_days * DAY_S
    patient = rng.integers(0, max(1, n * 2 // 3), n)
    shown = rng.random(n) < hospital.shown
    tasks = {
        task.name: _task_history(rng, hospital, task, admitted_s, discharged_s, patient, shown)
        for task in hospital.tasks
    }
    time_s = np.concatenate((admitted_s, discharged_s))
    order = np.argsort(time_s, kind="stable")
    kind = np.repeat([STAY.note_types[0], READMISSION.note_types[0]], n)
    tokens = np.minimum(511, np.exp(rng.normal(5.9, 0.4, 2 * n)).astype(np.intp)).astype(np.float64)
    inside = order[time_s[order] < START_S + hospital.days * DAY_S]
    notes = NoteSample(tokens[inside], tokens[inside] >= 511, kind[inside], rng.beta(1, 60, 2 * n)[inside])
    return History(VERSION, tasks, time_s[inside], notes)


def _task_history(
    rng: np.random.Generator,
    hospital: Hospital,
    task: Task,
    admitted_s: Floats,
    discharged_s: Floats,
    patient: npt.NDArray[np.intp],
    shown: npt.NDArray[np.bool_],
) -> TaskHistory:
    n, options = len(admitted_s), len(task.options)
    time_s = discharged_s if task.horizon is Horizon.AFTER_DISCHARGE else admitted_s
    order = np.argsort(time_s, kind="stable")
    order = order[time_s[order] < START_S + hospital.days * DAY_S]
    time_s, admitted_s, discharged_s = time_s[order], admitted_s[order], discharged_s[order]
    patient, shown, n = patient[order], shown[order], len(order)
    day = (time_s - START_S) / DAY_S
    adverse = np.isin(np.arange(options), task.adverse_options)
    logit = rng.normal(MEAN_LOGIT, SD_LOGIT, n)
    from_day, by = hospital.score_shift.get(task.name, (hospital.days, 0.0))
    logit += np.where(day >= from_day, by * SD_LOGIT, 0.0)
    inner = rng.dirichlet(np.ones((~adverse).sum()) * 3, n), rng.dirichlet(np.ones(adverse.sum()) * 3, n)
    risk = sigmoid(logit)
    probabilities = np.empty((n, options))
    probabilities[:, ~adverse], probabilities[:, adverse] = (1 - risk)[:, None] * inner[0], risk[:, None] * inner[1]
    change_day, change = hospital.outcome.get(task.name, (hospital.days, lambda z: z))
    true = sigmoid(np.where(day >= change_day, change(logit), logit))
    happened = rng.random(n) < true
    label = np.where(
        happened,
        np.flatnonzero(adverse)[(rng.random(n)[:, None] > np.cumsum(inner[1], axis=1)[:, :-1]).sum(axis=1)],
        np.flatnonzero(~adverse)[(rng.random(n)[:, None] > np.cumsum(inner[0], axis=1)[:, :-1]).sum(axis=1)],
    )
    if task.horizon is Horizon.AFTER_DISCHARGE:
        known_s = discharged_s + np.where(happened, rng.uniform(1, 30, n), 31) * DAY_S
    elif task.horizon is Horizon.CLAIM:
        # Approvals come first, denials late.
        known_s = discharged_s + np.where(happened, rng.gamma(6, 10, n), rng.gamma(4, 5, n)) * DAY_S
    else:
        # Adverse stays are the long ones.
        known_s = admitted_s + np.where(happened, rng.gamma(6, 2.5, n) + 5, rng.gamma(2, 1.5, n)) * DAY_S
    return TaskHistory(
        task=task,
        time_s=time_s,
        probabilities=probabilities,
        patient=patient,
        shown=shown,
        labelable=np.ones(n, dtype=np.bool_),
        label=label.astype(np.intp),
        known_s=known_s,
        discharged_s=discharged_s,
        subgroups={},
    )


def write_files(history: History, folder: Path) -> tuple[Path, Path]:
    """The history as predictions.csv and outcomes.csv. Encounters are numbered by task: they need not be shared."""
    predictions, outcomes = folder / "predictions.csv", folder / "outcomes.csv"
    with predictions.open("w", newline="") as file, outcomes.open("w", newline="") as labels:
        rows, out = csv.writer(file), csv.writer(labels)
        rows.writerow(
            ["time", "encounter", "patient", "task", "note_type", "model_version", "probabilities", "note_tokens",
             "truncated", "shown"]
        )  # fmt: skip
        out.writerow(["encounter", "task", "value", "known_at"])
        for name, each in history.tasks.items():
            for i in range(len(each.time_s)):
                encounter = f"{name}-{i}"
                rounded = [round(float(p), 6) for p in each.probabilities[i]]
                rows.writerow(
                    [iso(each.time_s[i]), encounter, int(each.patient[i]), name, each.task.note_types[0], VERSION,
                     json.dumps(rounded), 300, "false", str(bool(each.shown[i])).lower()]
                )  # fmt: skip
                out.writerow([encounter, name, each.task.options[each.label[i]].code, iso(each.known_s[i])])
    return predictions, outcomes


def iso(time_s: float) -> str:
    return datetime.fromtimestamp(float(time_s), UTC).isoformat()
