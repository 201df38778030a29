"""Merging: the rows of a patient whom the EHR merged into another.

Scores keep their ids. The same note sent again under the old name finds them, and answers for the surviving patient.
Sent under the new name it is scored anew, and where the document has an id of its own that score supersedes the old.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Row, Table, delete, select, update

from serve.store.audit import record_access
from serve.store.core import Store
from serve.store.records import VersionOrder, document_version_id, fate_id
from serve.store.retention import overwrite_deleted, primary_key, run_in_batches, subject_tables
from serve.store.tables import Base, Prediction
from serve.store.transaction import Transaction

REKEYED: Final[Mapping[str, Callable[[Row[Any], str], str]]] = {
    "document_fates": lambda row, subject: fate_id(row.source, row.document, subject, row.fate, row.note_key),
    "document_versions": lambda row, subject: document_version_id(row.source, row.document, subject),
}
"""Tables whose key is made from the patient among others: the key of a row under another name."""


def merge(store: Store, old: str, new: str, source: str, request_id: str) -> dict[str, int]:
    """Give every row of patient `old` to `new`, with an audit row of the scores; how many rows of each table.

    Names are exact references or `system|value`. Again: no change. Raises StoreUnavailableError.
    """

    def of(table: str) -> int:
        return run_in_batches(lambda limit: store.write(merge_batch, table, old, new, source, request_id, limit))

    return {table.name: of(table.name) for table in subject_tables()}


def merge_batch(
    transaction: Transaction, name: str, old: str, new: str, source: str, request_id: str, limit: int
) -> int:
    """Up to `limit` rows of one table, in one transaction."""
    table = Base.metadata.tables[name]
    overwrite_deleted(transaction)
    key = primary_key(table)
    chosen = select(table).where(table.c.subject == old).order_by(key).limit(limit)
    if transaction.skip_locked:
        chosen = chosen.with_for_update()
    rows = list(transaction.connection.execute(chosen))
    if name == Prediction.__tablename__ and rows:
        for row in rows:
            _move_score(transaction, row, new)
        record_access(transaction, "merge", source, request_id, [row.id for row in rows])
    elif name in REKEYED:
        for row in rows:
            _move_key(transaction, table, row, new)
    elif rows:
        ids = [getattr(row, key.name) for row in rows]
        transaction.connection.execute(update(table).where(key.in_(ids)).values(subject=new))
    return len(rows)


def _move_score(transaction: Transaction, row: Row[Any], new: str) -> None:
    payload = dict(row.payload)
    if "subject" in payload:
        literal = "|" not in new
        payload |= {"subject": new if literal else None, "subject_identifier": None if literal else new}
    values = {
        "subject": new,
        "payload": payload,
        # Its RiskAssessment reads otherwise now: clients that ask by _lastUpdated or ETag must see that.
        "revision": row.revision + 1,
        "last_updated_ms": transaction.now_ms,
    }
    transaction.connection.execute(update(Prediction).where(Prediction.id == row.id).values(**values))


def _move_key(transaction: Transaction, table: Table, row: Row[Any], new: str) -> None:
    moved = REKEYED[table.name](row, new)
    there = transaction.connection.execute(select(table).where(table.c.id == moved)).first()
    if there is not None:
        # The surviving patient has such a row: of two versions the newer stands, and two equal fates are one.
        loser = row.id if table.name not in _VERSIONED or not _is_newer(row, there) else there.id
        transaction.connection.execute(delete(table).where(table.c.id == loser))
        if loser == row.id:
            return
    transaction.connection.execute(update(table).where(table.c.id == row.id).values(id=moved, subject=new))


_VERSIONED: Final = frozenset({"document_versions"})


def _is_newer(row: Row[Any], other: Row[Any]) -> bool:
    own = VersionOrder(row.updated_ms, row.number)
    return bool(own.is_newer_than(VersionOrder(other.updated_ms, other.number)))
