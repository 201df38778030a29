"""Whether a database is whole: its schema is the newest, its files are sound, its rows agree with themselves."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, text

from serve.store.migrate import MIGRATIONS
from serve.store.retention import AGE, AUDIT
from serve.store.tables import Base, Intake, Outbox, Prediction
from serve.store.transaction import Transaction

_ROWS_AT_ONCE = 500


def newest_revision() -> str:
    """The schema's revision that this code is for."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    assert head is not None  # the package holds its migrations
    return head


def schema_revision(transaction: Transaction) -> str | None:
    """The database's revision; None for one without a schema."""
    from alembic.runtime.migration import MigrationContext

    revision: str | None = MigrationContext.configure(transaction.connection).get_current_revision()
    return revision


def table_sizes(transaction: Transaction) -> list[tuple[str, int, int | None]]:
    """Of each table: its name, its rows, and the oldest row's milliseconds since 1970 UTC where rows have an age."""
    sizes = []
    for table in Base.metadata.sorted_tables:
        column = AGE.get(table.name) or AUDIT.get(table.name)
        oldest: Any = func.min(table.c[column]) if column else text("NULL")
        row = transaction.connection.execute(select(func.count(), oldest).select_from(table)).one()
        sizes.append((table.name, int(row[0]), row[1]))
    return sizes


def problems(transaction: Transaction) -> list[str]:
    """What is wrong, one line each, without identifiers of patients; nothing for a sound database."""
    found = []
    if transaction.connection.dialect.name == "sqlite":
        found += _of_files(transaction)
    dead = _dead(transaction)
    found += [f"{name}: {count} dead rows wait for an operator" for name, count in dead.items() if count]
    if broken := _contradictions(transaction):
        found.append(f"predictions: {broken} rows whose payload and columns name another patient or another id")
    return found


def _of_files(transaction: Transaction) -> list[str]:
    found = []
    verdict = transaction.connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
    if verdict != "ok":
        found.append("the database file is damaged (PRAGMA integrity_check); restore the last backup")
    orphans = len(transaction.connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall())
    if orphans:
        found.append(f"{orphans} rows point to rows that are not there (PRAGMA foreign_key_check)")
    return found


def _dead(transaction: Transaction) -> dict[str, int]:
    return {
        table.__tablename__: transaction.connection.execute(
            select(func.count()).select_from(table).where(table.status == "dead")
        ).scalar_one()
        for table in (Outbox, Intake)
    }


def _contradictions(transaction: Transaction) -> int:
    """Rows whose payload belongs to another row: an answer is made of the payload, a search goes by the columns."""
    columns = (Prediction.id, Prediction.subject, Prediction.payload)
    wrong, last = 0, ""
    while rows := transaction.connection.execute(
        select(*columns).where(Prediction.id > last).order_by(Prediction.id).limit(_ROWS_AT_ONCE)
    ).all():
        for row in rows:
            payload = row.payload
            named = payload.get("subject") or payload.get("subject_identifier")
            wrong += payload.get("assessment_id", row.id) != row.id or ("subject" in payload and named != row.subject)
        last = rows[-1].id
    return wrong
