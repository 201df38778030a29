"""When what is known: outcomes.parquet, a row a stay and task once it is final, and events.parquet, everything else.

outcomes.parquet is what `lang1 monitor replay --outcomes` reads (`monitoring.history`): encounter, task, value,
known_at, discharged_at. events.parquet: encounter, patient, kind, at. Times that lie after the last simulated day are
written too, because the outcomes of its last stays come then.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lang1.tasks import BUILT_IN, Task
from training.synth.arrow import Table, pa
from training.synth.course import DAY_S, NEVER, Course, Seconds
from training.synth.patients import Encounters

EXCLUDED = "excluded"
"""The value of a task that asks nothing of a stay: readmission of who died."""
UTC_SECONDS = pa.timestamp("s", tz="UTC")
OUTCOME_SCHEMA = pa.schema(
    [("encounter", pa.string()), ("task", pa.string()), ("value", pa.string()), ("known_at", UTC_SECONDS),
     ("discharged_at", UTC_SECONDS)]
)  # fmt: skip
EVENT_SCHEMA = pa.schema(
    [("encounter", pa.string()), ("patient", pa.string()), ("kind", pa.string()), ("at", UTC_SECONDS)]
)
EVENT_KINDS = (
    "admission", "discharge", "death", "readmission", "coding", "claim_submitted", "claim_approved", "claim_denied",
    "claim_appealed", "claim_upheld", "claim_overturned",
)  # fmt: skip


def outcome_table(labels: dict[str, npt.NDArray[np.int8]], course: Course, encounters: list[str]) -> Table:
    """The final outcomes of N stays, by the time that they are known. `labels`: rule to option index, -1 for none."""
    parts: list[dict[str, Any]] = []
    for task in BUILT_IN.values():
        option = labels[task.label_rule]
        codes = np.array([*(each.code for each in task.options), EXCLUDED])
        parts.append({"value": codes[option], "task": np.full(len(option), task.name),
                      "known_at": known_times(task, option, course), "encounter": np.array(encounters)})  # fmt: skip
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    columns["discharged_at"] = np.tile(course.discharged, len(parts))
    return _table(columns, OUTCOME_SCHEMA, "known_at")


def known_times(task: Task, option: npt.NDArray[np.int8], course: Course) -> Seconds:
    """(N,) when the outcome of each stay became final."""
    if task.label_rule == "readmission":
        # That nobody came back is known when the last day on which they could is over.
        over = (course.discharged // DAY_S + (task.horizon_days or 0) + 1) * DAY_S
        return np.where(option < 0, course.discharged, np.where(option == 1, course.returned, over))
    if task.label_rule == "insurance_denial":
        return course.settled
    if task.label_rule == "charlson_comorbidity_index":
        return course.coded
    return course.discharged


def event_table(stays: Encounters, course: Course, encounters: list[str], patients: list[str]) -> Table:
    """Everything that happens to N stays, by time."""
    denied = stays.denied == 1
    happened: dict[str, Seconds] = {
        "admission": course.admitted,
        "discharge": np.where(stays.died, NEVER, course.discharged),
        "death": np.where(stays.died, course.discharged, NEVER),
        "readmission": course.returned,
        "coding": course.coded,
        "claim_submitted": course.submitted,
        "claim_approved": np.where(denied, NEVER, course.answered),
        "claim_denied": np.where(denied, course.answered, NEVER),
        "claim_appealed": course.appealed,
        "claim_upheld": np.where(denied & ~course.overturned, course.settled, NEVER),
        "claim_overturned": np.where(course.overturned, course.settled, NEVER),
    }
    rows = {kind: np.flatnonzero(happened[kind] != NEVER) for kind in EVENT_KINDS}
    columns = {
        "encounter": np.concatenate([np.array(encounters)[rows[kind]] for kind in EVENT_KINDS]),
        "patient": np.concatenate([np.array(patients)[rows[kind]] for kind in EVENT_KINDS]),
        "kind": np.repeat(EVENT_KINDS, [len(rows[kind]) for kind in EVENT_KINDS]),
        "at": np.concatenate([happened[kind][rows[kind]] for kind in EVENT_KINDS]),
    }
    return _table(columns, EVENT_SCHEMA, "at")


def _table(columns: dict[str, Any], schema: Any, time: str) -> Table:
    order = np.lexsort((columns["encounter"], columns[time]))
    return pa.table(
        {field.name: pa.array(columns[field.name][order]).cast(field.type) for field in schema}, schema=schema
    )
