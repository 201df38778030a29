"""Versions of one document: the scores of its newest text stand, in whatever order the versions arrive.

Versions are compared by meta.lastUpdated, then by a numeric meta.versionId. Where neither tells, a text that was not
seen before is taken as the newer one.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update

from serve.store.records import NewNote, VersionOrder, document_version_id
from serve.store.tables import DocumentFate, DocumentVersion, Prediction
from serve.store.transaction import Transaction


def apply(transaction: Transaction, notes: Sequence[NewNote], created: set[str]) -> set[str]:
    """Mark the scores of older versions of these notes' documents. Returns the ids whose standing changed."""
    named = [(_id(note), note) for note in notes if note.version is not None and note.document is not None]
    newest = _newest(transaction, named)
    changed: set[str] = set()
    for row_id, note in named:
        key, order = newest[row_id]
        if key is None:
            newest[row_id] = (note.note_key, _order(note))
            continue
        newer = _order(note).is_newer_than(order)
        if key == note.note_key:
            if newer:
                _keep(transaction, row_id, note)
                newest[row_id] = (key, _order(note))
            continue
        is_new = any(prediction.id in created for prediction in note.predictions)
        if newer or (newer is None and is_new):
            _keep(transaction, row_id, note)
            newest[row_id] = (note.note_key, _order(note))
            changed |= _supersede(transaction, note, keep=note.note_key)
            changed |= _reinstate(transaction, note)
        else:
            changed |= _supersede(transaction, note, keep=key)
    return changed


def _id(note: NewNote) -> str:
    assert note.document is not None
    return document_version_id(note.source, note.document, note.subject)


def _order(note: NewNote) -> VersionOrder:
    assert note.version is not None
    return note.version


def _newest(
    transaction: Transaction, named: Sequence[tuple[str, NewNote]]
) -> dict[str, tuple[str | None, VersionOrder]]:
    """The newest version recorded of each document; a key of None for one that was not there, and now is."""
    first = dict(reversed(named))  # of several notes of a document the first one makes the row
    if not first:
        return {}
    # In id order, so that two writers cannot wait for each other.
    rows = [{**_values(first[each], transaction), "id": each, "source": first[each].source,
             "document": first[each].document, "subject": first[each].subject} for each in sorted(first)]  # fmt: skip
    statement = (
        transaction.insert(DocumentVersion)
        .on_conflict_do_nothing(index_elements=[DocumentVersion.id])
        .returning(DocumentVersion.id)
    )
    made = set(transaction.connection.execute(statement, rows).scalars())
    found: dict[str, tuple[str | None, VersionOrder]] = {each: (None, VersionOrder()) for each in made}
    if known := sorted(first.keys() - made):
        columns = (DocumentVersion.id, DocumentVersion.note_key, DocumentVersion.updated_ms, DocumentVersion.number)
        query = select(*columns).where(DocumentVersion.id.in_(known)).order_by(DocumentVersion.id).with_for_update()
        for row in transaction.connection.execute(query):
            found[row.id] = (row.note_key, VersionOrder(row.updated_ms, row.number))
    return found


def _values(note: NewNote, transaction: Transaction) -> dict[str, object]:
    order = _order(note)
    return {"note_key": note.note_key, "updated_ms": order.updated_ms, "number": order.number,
            "recorded_ms": transaction.now_ms}  # fmt: skip


def _keep(transaction: Transaction, row_id: str, note: NewNote) -> None:
    statement = update(DocumentVersion).where(DocumentVersion.id == row_id).values(**_values(note, transaction))
    transaction.connection.execute(statement)


def _supersede(transaction: Transaction, note: NewNote, keep: str) -> set[str]:
    """Scores of the document's other versions than `keep`. Another patient's with the same id stay as they are."""
    conditions = (
        Prediction.source == note.source,
        Prediction.document == note.document,
        Prediction.subject.is_not_distinct_from(note.subject),
        Prediction.note_key != keep,
        Prediction.superseded.is_(False),
    )
    return _set(transaction, conditions, superseded=True)


def _reinstate(transaction: Transaction, note: NewNote) -> set[str]:
    """A version that brings an earlier text back: its scores stand again, unless another document replaced it."""
    replaced = select(DocumentFate.id).where(
        DocumentFate.source == note.source,
        DocumentFate.document == note.document,
        DocumentFate.subject.is_not_distinct_from(note.subject),
        DocumentFate.fate == "superseded",
    )
    if transaction.connection.execute(replaced.limit(1)).first() is not None:
        return set()
    conditions = (Prediction.note_key == note.note_key, Prediction.superseded.is_(True))
    return _set(transaction, conditions, superseded=False)


def _set(transaction: Transaction, conditions: Sequence[object], *, superseded: bool) -> set[str]:
    statement = (
        update(Prediction)
        .where(*conditions)  # type: ignore[arg-type]
        .values(
            superseded=superseded, revision=Prediction.revision + 1, last_updated_ms=transaction.now_ms
        )
        .returning(Prediction.id)
    )  # fmt: skip
    return set(transaction.connection.execute(statement).scalars())
