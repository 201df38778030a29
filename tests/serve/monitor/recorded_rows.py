"""A simulated hospital's history as rows of the service's database."""

from __future__ import annotations

import time
import uuid
from typing import Any

from sqlalchemy import insert

from monitoring.history import History
from serve.outcomes.keys import outcome_id
from serve.store.core import Store
from serve.store.tables import Audit, Base, Outcome, Prediction
from serve.store.transaction import Transaction
from tests.monitoring.streams import VERSION

BUNDLE = "b" * 64


def rows_of(
    history: History, bundle: str = BUNDLE, version: str = VERSION, later_s: float = 0, source: str = "test"
) -> list[tuple[type[Base], list[dict[str, Any]]]]:
    """The history as tables and their rows, `later_s` later; a shown score has its audit."""
    scores, outcomes, shown = [], [], []
    for name, each in history.tasks.items():
        for i, at_s in enumerate(each.time_s.tolist()):
            at_ms, encounter, own_id = round((at_s + later_s) * 1000), f"Encounter/{name}-{i}", str(uuid.uuid4())
            payload = {
                "probabilities": each.probabilities[i].tolist(), "note_type_match": True,
                "note_type": each.task.note_types[0], "note_tokens": 300, "dropped_tokens": 0,
            }  # fmt: skip
            scores.append(
                {"id": own_id, "note_key": own_id, "source": source, "document": None, "text_sha256": "0" * 64,
                 "task": name, "task_version": 1, "model_version": version, "bundle_sha256": bundle,
                 "subject": f"Patient/{each.patient[i]}", "encounter": encounter, "last_updated_ms": at_ms,
                 "superseded": False, "retracted": False, "payload": payload}
            )  # fmt: skip
            known_ms = round((float(each.known_s[i]) + later_s) * 1000)
            outcomes.append(
                {"id": outcome_id(source, encounter, name), "source": source, "encounter": encounter, "task": name,
                 "option": int(each.label[i]), "origin": "given", "known_ms": known_ms, "first_recorded_ms": known_ms,
                 "recorded_ms": known_ms, "changes": 0}
            )  # fmt: skip
            if each.shown[i]:
                shown.append({"recorded_ms": at_ms, "action": "show", "source": source, "request_id": "r",
                              "prediction_ids": [own_id]})  # fmt: skip
    return [(Prediction, scores), (Outcome, outcomes), (Audit, shown)]


def insert_rows(transaction: Transaction, table: type[Base], rows: list[dict[str, Any]]) -> None:
    """In one transaction."""
    if rows:
        transaction.connection.execute(insert(table), rows)


def keep(transaction: Transaction, history: History) -> None:
    """The history as rows of the database."""
    for table, rows in rows_of(history):
        insert_rows(transaction, table, rows)


def keep_beside(store: Store, made: list[tuple[type[Base], list[dict[str, Any]]]]) -> None:
    """The same while a service writes too: SQLite's one lock is held for a moment at a time."""
    for table, rows in made:
        for start in range(0, len(rows), 100):
            store.write(insert_rows, table, rows[start : start + 100])
            time.sleep(0.01)
