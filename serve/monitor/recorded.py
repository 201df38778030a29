"""The database's scores and outcomes as the history that the monitor reads."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from lang1.tasks import TaskRegistry
from monitoring.history import OUTCOME_COLUMNS, PREDICTION_COLUMNS, History, join_history
from monitoring.tables import Table
from serve.outcomes.joined import LabelledPrediction


def recorded_history(rows: Iterable[LabelledPrediction], registry: TaskRegistry, bundle_sha256: str) -> History | None:
    """The history of one bundle's scores; None where there is none on a note type that its task is trained on.

    An outcome counts from when this service recorded it, which is when the monitor could first have read it.
    """
    scores: dict[str, list[Any]] = {name: [] for name in PREDICTION_COLUMNS}
    labels: dict[str, list[Any]] = {name: [] for name in (*OUTCOME_COLUMNS, "discharged_at")}
    told: set[tuple[str, str]] = set()
    for row in rows:
        if row.bundle_sha256 != bundle_sha256 or row.task not in registry:
            continue
        # What the task asks nothing of stands for the scores, and not for the encounter's label.
        encounter = "" if row.excluded and row.option is None else row.encounter
        values = (
            _time(row.time_ms), encounter, row.subject or "", row.task, row.note_type or "", row.model_version,
            list(row.probabilities), row.note_tokens, row.dropped_tokens > 0, row.shown_ms is not None,
        )  # fmt: skip
        for name, value in zip(PREDICTION_COLUMNS, values, strict=True):
            scores[name].append(value)
        if row.option is not None and (row.encounter, row.task) not in told:
            told.add((row.encounter, row.task))
            labels["encounter"].append(row.encounter)
            labels["task"].append(row.task)
            labels["value"].append(str(row.option))
            labels["known_at"].append(_time(max(row.known_ms or 0, row.recorded_ms or 0)))
            labels["discharged_at"].append(None if row.discharged_ms is None else _time(row.discharged_ms))
    if not any(
        registry[task].trained_on(loinc) for task, loinc in zip(scores["task"], scores["note_type"], strict=True)
    ):
        return None
    return join_history(
        Table("scores", scores, PREDICTION_COLUMNS), Table("outcomes", labels, OUTCOME_COLUMNS), registry
    )


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
