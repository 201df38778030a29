"""Whether a document's scores still stand: replaced and mistaken documents, in whatever order they arrive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from sqlalchemy import func, insert, select, update

from serve.store import versions
from serve.store.records import NewNote, fate_id
from serve.store.tables import DocumentFate, Outbox, Prediction
from serve.store.transaction import Transaction

Fate = Literal["superseded", "retracted"]


def apply(transaction: Transaction, notes: Sequence[NewNote], created: Iterable[str]) -> set[str]:
    """Of notes just recorded: mark what they replace, older versions of their documents, and those of them that were
    replaced or retracted before.

    Returns the ids of predictions whose standing changed.
    """
    changed: set[str] = set()
    for note in notes:
        for document in note.replaces:
            _remember(transaction, note.source, document, note.subject, "superseded", note.note_key)
            changed |= _mark(transaction, note.source, document, note.subject, "superseded", note.note_key)
    own = set(created)
    changed |= versions.apply(transaction, notes, own)
    for note in notes:
        if note.document is not None and any(p.id in own for p in note.predictions):
            for fate, by in _fates(transaction, note):
                changed |= _mark(transaction, note.source, note.document, note.subject, fate, by)
    _announce(transaction, changed)
    return changed


def retract(transaction: Transaction, source: str, document: str, subject: str | None) -> list[str]:
    """A document was entered in error: its scores, and those that it may still get, do not stand. Returns their ids."""
    _remember(transaction, source, document, subject, "retracted", None)
    changed = _mark(transaction, source, document, subject, "retracted", None)
    _announce(transaction, changed)
    return sorted(changed)


def _remember(
    transaction: Transaction, source: str, document: str, subject: str | None, fate: Fate, by: str | None
) -> None:
    row = {"id": fate_id(source, document, subject, fate, by), "source": source, "document": document,
           "subject": subject, "fate": fate, "note_key": by, "recorded_ms": transaction.now_ms}  # fmt: skip
    transaction.connection.execute(
        transaction.insert(DocumentFate).on_conflict_do_nothing(index_elements=[DocumentFate.id]), [row]
    )


def _fates(transaction: Transaction, note: NewNote) -> list[tuple[Fate, str | None]]:
    rows = transaction.connection.execute(
        select(DocumentFate.fate, DocumentFate.note_key).where(
            DocumentFate.source == note.source,
            DocumentFate.document == note.document,
            DocumentFate.subject.is_not_distinct_from(note.subject),
        )
    )
    return [(row.fate, row.note_key) for row in rows]


def _mark(
    transaction: Transaction, source: str, document: str, subject: str | None, fate: Fate, by: str | None
) -> set[str]:
    column = Prediction.superseded if fate == "superseded" else Prediction.retracted
    conditions = [
        Prediction.source == source,
        Prediction.document == document,
        # Another patient's document with the same id (ids collide between systems) stays as it is.
        Prediction.subject.is_not_distinct_from(subject),
        column.is_(False),
    ]
    if by is not None:
        conditions.append(Prediction.note_key != by)
    statement = (
        update(Prediction)
        .where(*conditions)
        .values(
            {column: True, Prediction.revision: Prediction.revision + 1, Prediction.last_updated_ms: transaction.now_ms}
        )
        .returning(Prediction.id)
    )
    return set(transaction.connection.execute(statement).scalars())


def _announce(transaction: Transaction, changed: set[str]) -> None:
    """Write the new standing back for every prediction that was, or will be, written back.

    By the sink that it went to, whichever is configured now: what stands in the EHR is what must change.
    """
    if not changed:
        return
    known = (
        select(Outbox.prediction_id, func.max(Outbox.version), func.max(Outbox.sink))
        .where(Outbox.prediction_id.in_(sorted(changed)))
        .group_by(Outbox.prediction_id)
    )
    for prediction, version, sink in transaction.connection.execute(known).all():
        enqueue(transaction, [(prediction, version + 1)], sink)


def enqueue(transaction: Transaction, versions: Sequence[tuple[str, int]], sink: str) -> None:
    """Outbox rows, due at once, of (prediction id, version)."""
    now = transaction.now_ms
    rows = [
        {"prediction_id": prediction, "version": version, "sink": sink, "status": "pending", "attempts": 0,
         "created_ms": now, "next_attempt_ms": now}
        for prediction, version in versions
    ]  # fmt: skip
    if rows:
        transaction.connection.execute(insert(Outbox), rows)
