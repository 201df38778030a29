"""The outbox for people: what waits, what is dead, replaying it, and whether the write-back pauses.

Each function is work on the store (`serve.store.transaction`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select, update

from serve.outbox.work import Backlog, Letter
from serve.store.tables import Cursor, Outbox, Prediction
from serve.store.transaction import Transaction

_PAUSE: Final = "outbox-pause"


def backlog(transaction: Transaction) -> Backlog:
    """How much is not done. Only reads."""
    statement = (
        select(Outbox.status, func.count(), func.min(Outbox.created_ms))
        .where(Outbox.status.in_(("pending", "dead")))
        .group_by(Outbox.status)
    )
    counts = {status: (count, oldest) for status, count, oldest in transaction.connection.execute(statement).all()}
    pending, oldest_ms = counts.get("pending", (0, None))
    return Backlog(pending, counts.get("dead", (0, None))[0], oldest_ms)


def letters(transaction: Transaction, statuses: Sequence[str], limit: int) -> list[Letter]:
    """Rows with one of these statuses, oldest first. Only reads."""
    statement = (
        select(*Outbox.__table__.columns, Prediction.task)
        .join(Prediction, Prediction.id == Outbox.prediction_id)
        .where(Outbox.status.in_(list(statuses)))
        .order_by(Outbox.id)
        .limit(limit)
    )
    return [
        Letter(
            id=row.id, prediction=row.prediction_id, task=row.task, sink=row.sink, version=row.version,
            status=row.status, attempts=row.attempts, error=row.last_error, created_ms=row.created_ms,
            next_attempt_ms=row.next_attempt_ms,
        )
        for row in transaction.connection.execute(statement)
    ]  # fmt: skip


def replay(transaction: Transaction, ids: Sequence[int] | None) -> list[int]:
    """Make dead letters due now with all their tries; of these ids, or all for None. Returns those that were dead.

    Their last error stays: a writer then looks for the resource before it writes one.
    """
    conditions = [Outbox.status == "dead"] if ids is None else [Outbox.status == "dead", Outbox.id.in_(list(ids))]
    statement = (
        update(Outbox)
        .where(*conditions)
        .values(status="pending", attempts=0, next_attempt_ms=transaction.now_ms, lease=None, lease_until_ms=None)
        .returning(Outbox.id)
    )
    return sorted(transaction.connection.execute(statement).scalars())


def set_pause(transaction: Transaction, code: str | None) -> None:
    """Keep for every process why the write-back pauses; None when it goes on."""
    values = {"state": {"code": code}, "updated_ms": transaction.now_ms}
    statement = transaction.insert(Cursor).values(name=_PAUSE, **values)
    transaction.connection.execute(statement.on_conflict_do_update(index_elements=[Cursor.name], set_=values))


def pause(transaction: Transaction) -> str | None:
    """Why the write-back pauses; None when it does not. Only reads: one row by its key."""
    state = transaction.connection.execute(select(Cursor.state).where(Cursor.name == _PAUSE)).scalar()
    code = (state or {}).get("code")
    return code if isinstance(code, str) else None


def is_delayed(transaction: Transaction, predictions: Sequence[str]) -> bool:
    """Whether these are not in the EHR and will not be at once: the write-back pauses, or a write of theirs failed."""
    waiting = select(Outbox.last_error).where(Outbox.prediction_id.in_(list(predictions)), Outbox.status != "done")
    errors = transaction.connection.execute(waiting).scalars().all()
    return any(error is not None for error in errors) or (bool(errors) and pause(transaction) is not None)
