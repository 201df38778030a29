"""A row of a patient in every table, made from the tables' own columns: a table that is added is filled too."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Boolean, Connection, String, Table, insert, select

from serve.store import facts_tables  # noqa: F401
from serve.store.tables import Base

PATIENT_KEPT = "Patient/kept-4711"
PATIENT = "Patient/gone-0815"
TABLES = tuple(Base.metadata.sorted_tables)


def fill(connection: Connection, subject: str, at_ms: int, mark: str) -> None:
    """One row a table: of `subject` where a table has that column, with `mark` in every text."""
    ids: dict[str, Any] = {}
    for table in TABLES:
        row = {column.name: _value(table, column, ids, subject, at_ms, mark) for column in table.columns}
        if table.name == "predictions":
            row["payload"] = {"subject": subject, "subject_identifier": None, "encounter": f"Encounter/{mark}",
                              "assessment_id": row["id"]}  # fmt: skip
        row = {name: value for name, value in row.items() if value is not None}
        result = connection.execute(insert(table).values(**row))
        assert result.inserted_primary_key is not None
        ids[table.name] = result.inserted_primary_key[0]


def _value(table: Table, column: Any, ids: dict[str, Any], subject: str, at_ms: int, mark: str) -> Any:
    if column.foreign_keys:
        (key,) = column.foreign_keys
        return ids[key.column.table.name]
    if column.name == "subject":
        return subject
    if isinstance(column.type, JSON):
        return {"mark": mark} if table.name == "cursors" else []
    if isinstance(column.type, String):
        text = f"{mark}-{column.name}"
        return text[: column.type.length]
    if isinstance(column.type, Boolean):
        return False
    if column.primary_key:
        return None
    return at_ms if column.name.endswith("_ms") else 1


def rows_with(connection: Connection, word: str) -> dict[str, int]:
    """How many rows of each table have the word in any column."""
    found = {}
    for table in TABLES:
        hits = sum(any(word in str(value) for value in row) for row in connection.execute(select(table)))
        if hits:
            found[table.name] = hits
    return found
