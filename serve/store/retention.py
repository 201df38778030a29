"""Deleting: what is too old, and what is of one patient. In small transactions, so that the service goes on meanwhile.

Everything is read from the tables' metadata: a table with a `subject` column is a patient's, and one with a foreign
key goes with the row that it points to. How old a row is, a column named here says; a table without a rule stops the
work.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Table, delete, func, select
from sqlalchemy.engine import make_url

from serve.errors import StoreUnavailableError
from serve.store import facts_tables as _facts  # noqa: F401  # its tables are patients' too
from serve.store.core import Store
from serve.store.tables import Base, Prediction
from serve.store.transaction import Transaction

ROWS_PER_TRANSACTION: Final = 500
# A writer that comes back at once would win the lock again and again from the service, which sleeps between its tries.
_PAUSE_S: Final = 0.02
_TRIES: Final = 5

AGE: Final[Mapping[str, str]] = {
    "predictions": "last_updated_ms",
    "document_fates": "recorded_ms",
    "document_versions": "recorded_ms",
    "outcomes": "recorded_ms",
    "encounters": "received_ms",
    "diagnoses": "received_ms",
    "claims": "received_ms",
    "fact_links": "received_ms",
    "intake": "created_ms",
    "used_tokens": "expires_ms",
    "retraining_requests": "created_ms",
}
"""The column, in milliseconds since 1970 UTC, by which a row of a table is too old."""
AUDIT: Final[Mapping[str, str]] = {"audit": "recorded_ms"}
"""The audit has a time limit of its own."""
KEPT: Final[Mapping[str, str]] = {"cursors": "one row a feed, written anew as it is read"}
"""Tables that nothing is deleted from, and why."""
NAMED_BY_DOCUMENT: Final[Mapping[str, str]] = {"intake": "reference"}
"""Tables without a patient whose column names a document, which may be a patient's."""


def uncovered() -> list[str]:
    """Tables that no rule here covers, sorted; a test and every deletion want none."""
    named = {*AGE, *AUDIT, *KEPT}
    return sorted(
        table.name for table in Base.metadata.tables.values() if table.name not in named and not _parents(table)
    )


def prune(store: Store, before_ms: Mapping[str, int]) -> dict[str, int]:
    """Delete the rows of each table that are older than its moment; how many of each table, rows below them not
    counted. Raises StoreUnavailableError.
    """
    _refuse_uncovered()
    return {name: _in_batches(store, prune_batch, name, moment) for name, moment in before_ms.items()}


def forget(store: Store, subject: str) -> dict[str, int]:
    """Delete every row of a patient, by the exact reference or `system|value`; how many of each table."""
    _refuse_uncovered()
    counts = {name: _in_batches(store, forget_named_batch, name, subject) for name in NAMED_BY_DOCUMENT}
    # Scores last: by them the rows are found that have the patient's encounter or document and no patient.
    for table in sorted(subject_tables(), key=lambda each: each.name == "predictions"):
        counts[table.name] = _in_batches(store, forget_batch, table.name, subject)
    return counts


def prune_batch(transaction: Transaction, name: str, before_ms: int, limit: int) -> int:
    """Delete up to `limit` rows older than the moment, and what hangs on them."""
    table = _table(name)
    return _delete_where(transaction, table, table.c[_age_column(name)] < before_ms, limit)


def forget_batch(transaction: Transaction, name: str, subject: str, limit: int) -> int:
    """Delete up to `limit` rows of the patient, and what hangs on them."""
    table = _table(name)
    return _delete_where(transaction, table, of_subject(table, subject), limit)


def forget_named_batch(transaction: Transaction, name: str, subject: str, limit: int) -> int:
    """Delete up to `limit` rows that name a scored document of the patient."""
    table = _table(name)
    documents = select(Prediction.document).where(Prediction.subject == subject, Prediction.document.is_not(None))
    return _delete_where(transaction, table, table.c[NAMED_BY_DOCUMENT[name]].in_(documents), limit)


def count_older(transaction: Transaction, name: str, before_ms: int) -> int:
    """Rows that `prune` would delete of a table."""
    table = _table(name)
    return _count(transaction, table, table.c[_age_column(name)] < before_ms)


def count_of_subject(transaction: Transaction, name: str, subject: str) -> int:
    """Rows of a table that are of the patient."""
    table = _table(name)
    return _count(transaction, table, of_subject(table, subject))


def subject_tables() -> list[Table]:
    """The tables whose rows name a patient."""
    return [table for table in Base.metadata.sorted_tables if "subject" in table.c]


def of_subject(table: Table, subject: str) -> ColumnElement[bool]:
    """The rows of a patient: by name, or without one by an encounter in which the patient was scored."""
    by_name: ColumnElement[bool] = table.c.subject == subject
    if "encounter" not in table.c or table is Prediction.__table__:
        return by_name
    encounters = select(Prediction.encounter).where(Prediction.subject == subject, Prediction.encounter.is_not(None))
    return by_name | (table.c.subject.is_(None) & table.c.encounter.in_(encounters))


def truncate_log(database_url: str) -> bool:
    """Empty SQLite's write-ahead log, which still holds what was deleted; False while a reader keeps it from that.

    True at once for another database, which has no such file.
    """
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return True
    connection = sqlite3.connect(url.database, timeout=5)
    try:
        busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        connection.close()
    return busy == 0


def run_in_batches(work: Callable[[int], int]) -> int:
    """Call `work(limit)` until it finds fewer rows than the limit; how many it found in all.

    Raises StoreUnavailableError when the database stays locked or away.
    """
    total = tries = 0
    while True:
        try:
            found = work(ROWS_PER_TRANSACTION)
        except StoreUnavailableError:
            # SQLite lets its writers wait without a queue, and a busy service may be faster every time.
            tries += 1
            if tries == _TRIES:
                raise
            continue
        tries = 0
        total += found
        if found < ROWS_PER_TRANSACTION:
            return total
        time.sleep(_PAUSE_S)


def overwrite_deleted(transaction: Transaction) -> None:
    """Have SQLite write zeros over what this connection deletes; by default the bytes stay in the file."""
    if transaction.connection.dialect.name == "sqlite":
        transaction.connection.exec_driver_sql("PRAGMA secure_delete=ON")


def primary_key(table: Table) -> Column[Any]:
    """The one column of a table's key."""
    (key,) = table.primary_key.columns
    return key


def _in_batches(store: Store, work: Callable[[Transaction, str, Any, int], int], name: str, given: Any) -> int:
    return run_in_batches(lambda limit: store.write(work, name, given, limit))


def _refuse_uncovered() -> None:
    if missing := uncovered():
        raise NotImplementedError(f"no rule for deleting from {', '.join(missing)}; name them in serve.store.retention")


def _table(name: str) -> Table:
    return Base.metadata.tables[name]


def _age_column(name: str) -> str:
    return AUDIT[name] if name in AUDIT else AGE[name]


def _parents(table: Table) -> set[str]:
    return {key.column.table.name for key in table.foreign_keys}


def _children(table: Table) -> Iterator[tuple[Table, Column[Any]]]:
    for other in Base.metadata.sorted_tables:
        for key in other.foreign_keys:
            if key.column.table is table:
                yield other, key.parent


def _delete_where(transaction: Transaction, table: Table, condition: ColumnElement[bool], limit: int) -> int:
    overwrite_deleted(transaction)
    key = primary_key(table)
    chosen = select(key).where(condition).order_by(key).limit(limit)
    if transaction.skip_locked:
        # In key order and locked, as the service's own writers do it: neither waits for the other for ever.
        chosen = chosen.with_for_update()
    ids = list(transaction.connection.execute(chosen).scalars())
    _delete(transaction, table, ids)
    return len(ids)


def _delete(transaction: Transaction, table: Table, ids: list[Any]) -> None:
    if not ids:
        return
    for child, column in _children(table):
        below = transaction.connection.execute(select(primary_key(child)).where(column.in_(ids))).scalars()
        _delete(transaction, child, list(below))
    for start in range(0, len(ids), ROWS_PER_TRANSACTION):
        part = ids[start : start + ROWS_PER_TRANSACTION]
        transaction.connection.execute(delete(table).where(primary_key(table).in_(part)))


def _count(transaction: Transaction, table: Table, condition: ColumnElement[bool]) -> int:
    return int(transaction.connection.execute(select(func.count()).select_from(table).where(condition)).scalar_one())
