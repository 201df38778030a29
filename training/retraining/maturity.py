"""Which labels may be read as of a day: those of whole weeks of notes whose outcomes are in, as monitoring has it.

Labels become known in an order that depends on what they are (a return on its day, its absence after a month), so a
label counts when its week's cohort is mature, and not when it is there (`monitoring.cohorts`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lang1.tasks import Task
from monitoring.cohorts import WEEK_S, maturity, week_start_s
from training.retraining.source import NoteRows


@dataclass(frozen=True, slots=True)
class MatureLabels:
    """usable (N,): notes whose label may be read. until_s: end of the last mature week, None without one."""

    usable: npt.NDArray[np.bool_]
    until_s: float | None
    waiting: int
    """Notes of the task written by then whose week is not mature, or whose own outcome is open."""


def mature_labels(task: Task, rows: NoteRows, as_of_s: float) -> MatureLabels:
    """The labels of `task` that may be read at `as_of_s`. Notes written later are not looked at."""
    known_s = rows.known_s[task.name]
    asked = np.flatnonzero(~np.isnan(known_s) & (rows.authored_s < as_of_s))
    usable = np.zeros(len(rows), dtype=np.bool_)
    if not len(asked):
        return MatureLabels(usable, None, 0)
    authored_s = rows.authored_s[asked]
    asked = asked[np.argsort(authored_s, kind="stable")]
    first_s = week_start_s(float(rows.authored_s[asked[0]]))
    week = ((rows.authored_s[asked] - first_s) // WEEK_S).astype(np.int64)
    bounds = np.flatnonzero(np.concatenate(([True], week[1:] != week[:-1], [True])))
    until_s: float | None = None
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        members = asked[start:stop]
        end_s = first_s + (float(week[start]) + 1) * WEEK_S
        left_s = rows.discharged_s[members]
        left_s = np.where(np.isnan(left_s), rows.authored_s[members], left_s)
        if maturity(task, end_s, left_s, known_s[members]).published_s <= as_of_s:
            usable[members] = True
            until_s = end_s
    usable &= (rows.labels[task.name] >= 0) & (known_s <= as_of_s)
    return MatureLabels(usable, until_s, len(asked) - int(usable.sum()))
