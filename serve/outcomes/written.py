"""Writing rows whose id is deterministic, and outcomes with when they changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select

from serve.outcomes.graph import chunks
from serve.store.tables import Outcome
from serve.store.transaction import Transaction

RULE = "rule"
GIVEN = "given"


@dataclass(frozen=True, slots=True)
class WrittenLabel:
    """A label that was written: the option's index, or the code of the reason why there is none."""

    task: str
    option: int | None
    reason: str | None


def upsert(transaction: Transaction, model: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace those with the same id."""
    if not rows:
        return
    statement = transaction.insert(model)
    names = [column.name for column in model.__table__.columns if column.name != "id"]
    transaction.connection.execute(
        statement.on_conflict_do_update(
            index_elements=[model.id], set_={name: statement.excluded[name] for name in names}
        ),
        list(rows),
    )


def outcomes_by_id(transaction: Transaction, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The outcomes of these ids that are there, as dictionaries of columns."""
    found: dict[str, dict[str, Any]] = {}
    for part in chunks(sorted(set(ids))):
        rows = transaction.connection.execute(select(Outcome.__table__).where(Outcome.id.in_(part)))
        found.update((row.id, dict(row._mapping)) for row in rows)
    return found


def delete_outcomes(transaction: Transaction, ids: Iterable[str]) -> None:
    """Delete the outcomes of these ids."""
    for part in chunks(sorted(set(ids))):
        transaction.connection.execute(delete(Outcome).where(Outcome.id.in_(part)))


def with_history(old: Mapping[str, Any] | None, new: dict[str, Any], now_ms: int) -> dict[str, Any] | None:
    """`new` with when it was recorded, from the row before it; None when nothing differs."""
    if old is None:
        return new | {"first_recorded_ms": now_ms, "recorded_ms": now_ms, "changes": 0}
    if all(old[name] == value for name, value in new.items()):
        return None
    same = (old["option"], old["reason"], old["origin"]) == (new["option"], new["reason"], new["origin"])
    taken_back = old["option"] is not None and old["option"] != new["option"]
    return new | {
        "first_recorded_ms": old["first_recorded_ms"],
        "recorded_ms": old["recorded_ms"] if same else now_ms,
        "changes": old["changes"] + taken_back,
    }
