"""Taking back the scores of a document that was entered in error or deleted, with its audit row."""

from __future__ import annotations

from sqlalchemy import insert, select

from serve.store import standing
from serve.store.tables import Audit, Prediction
from serve.store.transaction import Transaction


def take_back(transaction: Transaction, source: str, document: str, subject: str | None, request_id: str) -> int:
    """The document's scores do not stand, nor those that it may still get. How many scores changed.

    `subject` None: the document no longer says whose it was, so it is taken back for whomever it was scored.
    """
    retracted: list[str] = []
    for whose in [subject] if subject is not None else _subjects(transaction, source, document):
        retracted += standing.retract(transaction, source, document, whose)
    if retracted:
        row = {"recorded_ms": transaction.now_ms, "action": "retract", "source": source, "request_id": request_id,
               "prediction_ids": retracted}  # fmt: skip
        transaction.connection.execute(insert(Audit), [row])
    return len(retracted)


def _subjects(transaction: Transaction, source: str, document: str) -> list[str | None]:
    wanted = (Prediction.source == source, Prediction.document == document)
    return list(transaction.connection.execute(select(Prediction.subject).where(*wanted).distinct()).scalars())
