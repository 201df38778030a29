"""Weeks of an invented hospital as rows of the database: real notes' scores by the real model, drawn again and again.

A payer that denies more from one week on, and a longer note template: what the boards are there to show.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import delete, update

from lang1.label_rules import insurance_denial, readmission
from lang1.scorer import PackedScorer
from lang1.tasks import Horizon, TaskRegistry
from monitoring.cohorts import DAY_S, WEEK_S
from serve.outcomes.keys import outcome_id
from serve.store.core import Store
from serve.store.tables import Audit, Base, Cursor, Outcome, Prediction
from serve.store.transaction import Transaction
from tests.serve.monitor.recorded_rows import insert_rows
from training.notes import clinical_notes
from training.synth.config import SynthConfig
from training.synth.generate import generate

PATIENTS = 300
STAYS_A_DAY = 45
SOURCE = "history"
TEMPLATE_TOKENS = 1.18
MORE_DENIALS = 0.2
SHOWN = 0.25


@dataclass(frozen=True)
class ScoredNote:
    """A note of the synthetic hospital, what the model says of it, and what came of the stay (-1: no label)."""

    note_type: str
    text: str
    tokens: int
    dropped: int
    probabilities: dict[str, list[float]]
    labels: dict[str, int]


def scored_notes(bundle: Path, patients: int = PATIENTS) -> list[ScoredNote]:
    """Notes that the model was not trained on (another seed), scored as the service scores."""
    scorer = PackedScorer.load(bundle, device="cpu", dtype="auto")
    config = SynthConfig(patients=patients, seed=77, mean_words=280, contrast_rate=0.35, chunk_patients=patients)
    (table,) = generate(config)
    notes = list(clinical_notes(table))
    labels = {name: table[f"label_{name}"].to_pylist() for name in scorer.registry}
    found = []
    for start in range(0, len(notes), 16):
        part = notes[start : start + 16]
        for i, scores in enumerate(scorer.score([scorer.prepare(note) for note in part]), start):
            found.append(
                ScoredNote(
                    note_type=notes[i].note_type or "", text=notes[i].text, tokens=scores.note_tokens,
                    dropped=scores.dropped_tokens,
                    probabilities={risk.task: [float(p) for p in risk.probabilities] for risk in scores.risks},
                    labels={name: values[i] for name, values in labels.items()},
                )
            )  # fmt: skip
    return found


Rows = list[tuple[type[Base], list[dict[str, Any]]]]


def past(
    notes: Sequence[ScoredNote], registry: TaskRegistry, model: dict[str, str], weeks: int, change_week: int,
    begin_s: float,
) -> Rows:  # fmt: skip
    """`weeks` of scores and outcomes from `begin_s` on."""
    rng = np.random.default_rng(5)
    most = max(note.tokens for note in notes)
    scores: list[dict[str, Any]] = []
    outcomes: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for i in range(weeks * 7 * STAYS_A_DAY * 2):
        note = notes[int(rng.integers(len(notes)))]
        at_s = begin_s + float(rng.random()) * weeks * WEEK_S
        changed = at_s >= begin_s + change_week * WEEK_S
        longer = round(note.tokens * TEMPLATE_TOKENS) if changed else note.tokens
        tokens, dropped = min(most, longer), max(note.dropped, longer - most)
        encounter, is_shown = f"Encounter/past-{i}", rng.random() < SHOWN
        for task in registry.values():
            own_id, at_ms = str(uuid.UUID(bytes=rng.bytes(16))), round(at_s * 1000)
            payload = {
                "probabilities": note.probabilities[task.name], "note_type": note.note_type, "note_tokens": tokens,
                "note_type_match": task.trained_on(note.note_type), "dropped_tokens": dropped,
            }  # fmt: skip
            scores.append(
                {"id": own_id, "note_key": own_id, "source": SOURCE, "document": None, "text_sha256": "0" * 64,
                 "task": task.name, "task_version": task.version, "model_version": model["version"],
                 "bundle_sha256": model["bundle_sha256"], "subject": f"Patient/past-{i}", "encounter": encounter,
                 "last_updated_ms": at_ms, "superseded": False, "retracted": False, "payload": payload}
            )  # fmt: skip
            if is_shown:
                shown.append({"recorded_ms": at_ms, "action": "show", "source": SOURCE, "request_id": "r",
                              "prediction_ids": [own_id]})  # fmt: skip
            option = note.labels[task.name]
            if option < 0:
                continue
            adverse = option in task.adverse_options
            if task.label_rule == insurance_denial.__name__ and changed and not adverse and rng.random() < MORE_DENIALS:
                option, adverse = task.adverse_options[0], True
            known_ms = round((at_s + _days_until_known(task, adverse, rng) * DAY_S) * 1000)
            outcomes.append(
                {"id": outcome_id(SOURCE, encounter, task.name), "source": SOURCE, "encounter": encounter,
                 "task": task.name, "option": option, "origin": "given", "known_ms": known_ms,
                 "first_recorded_ms": known_ms, "recorded_ms": known_ms, "changes": 0}
            )  # fmt: skip
    return [(Prediction, scores), (Outcome, outcomes), (Audit, shown)]


def _days_until_known(task: Any, adverse: bool, rng: np.random.Generator) -> float:
    if task.label_rule == readmission.__name__:
        return float(rng.uniform(1, 30)) if adverse else 31.0
    if task.horizon is Horizon.CLAIM:
        # Approvals come first.
        return float(rng.uniform(20, 45) if adverse else rng.uniform(5, 25))
    return float(rng.gamma(3, 2.5) + 4 if adverse else rng.gamma(2, 1.2))


def put(store: Store, rows: Rows) -> None:
    """Into the database, a little at a time."""
    for table, each in rows:
        for start in range(0, len(each), 500):
            store.write(insert_rows, table, each[start : start + 500])


def a_week_passes(transaction: Transaction) -> None:
    """Everything of the past happened a week earlier, and the monitor has not looked yet."""
    week_ms = WEEK_S * 1000
    for table, columns in (
        (Prediction, (Prediction.last_updated_ms,)),
        (Outcome, (Outcome.known_ms, Outcome.first_recorded_ms, Outcome.recorded_ms)),
        (Audit, (Audit.recorded_ms,)),
    ):
        changed = {column.key: column - week_ms for column in columns}
        transaction.connection.execute(update(table).where(table.source == SOURCE).values(**changed))  # type: ignore[attr-defined]
    transaction.connection.execute(delete(Cursor).where(Cursor.name.like("monitor/%")))
