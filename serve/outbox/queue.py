"""The outbox as a queue of keys: a key is one resource of the EHR, and one writer holds it at a time.

Each function is work for the store's writer (`serve.store.transaction`). A call comes twice when the store dies between
commit and answer: the second one changes nothing, but `lease` takes more, and what nobody works on is free again later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Row, Select, and_, case, exists, insert, or_, select, text, update
from sqlalchemy.orm import aliased

from fhir_adapters.sinks.every_sink import SINKS
from serve.outbox.work import After, Content, Leased
from serve.store.tables import Audit, Outbox, Prediction
from serve.store.transaction import Transaction

WRITER_LOST = "writer-lost"
_PER_NOTE = tuple(sorted(sink.name for sink in SINKS.values() if sink.per_note))
_KEY = case(
    (Outbox.sink.in_(_PER_NOTE), Prediction.note_key + "/" + Prediction.bundle_sha256), else_=Outbox.prediction_id
).label("key")
# A report has a row a task, and each is found by itself.
_ROWS_PER_KEY = 8


def has_due(transaction: Transaction) -> bool:
    """Whether anything can be leased now. Only reads."""
    return transaction.connection.execute(_due(transaction).limit(1)).first() is not None


def lease(
    transaction: Transaction, token: str, limit: int, lease_ms: int, max_tries: int, under_way: Sequence[str] = ()
) -> list[Leased]:
    """Take up to `limit` keys that are due, oldest first, for `lease_ms` milliseconds.

    Not those that the caller has `under_way`: it may have failed to extend their leases, and is still at work on them.
    A key waits for its earliest version. Rows whose last writer was lost count a try; past `max_tries` they are dead.
    """
    free = _free_rows(transaction, limit, frozenset(under_way))
    held = _take(transaction, free, token, lease_ms, max_tries) if free else []
    by_key: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in held:
        by_key[row.key].append(row)
    return [_leased(token, key, rows) for key, rows in by_key.items()]


def extend(transaction: Transaction, leased: Sequence[Leased], lease_ms: int) -> list[int]:
    """Hold what is still held for `lease_ms` from now. Returns the rows that are; the others were lost."""
    tokens, rows = [each.token for each in leased], [row for each in leased for row in each.rows]
    statement = (
        update(Outbox)
        .where(Outbox.id.in_(rows), Outbox.lease.in_(tokens), Outbox.status == "pending")
        .values(lease_until_ms=transaction.now_ms + lease_ms)
        .returning(Outbox.id)
    )
    return sorted(transaction.connection.execute(statement).scalars())


def load(transaction: Transaction, leased: Leased) -> Content:
    """What the resource of a leased key is made of. Only reads."""
    columns = (Outbox.prediction_id, Outbox.reference, Prediction.note_key)
    statement = select(*columns).join(Prediction, Prediction.id == Outbox.prediction_id).order_by(Outbox.id)
    rows = transaction.connection.execute(statement.where(_of_keys([leased.key]))).all()
    references = [row.reference for row in rows if row.reference is not None]
    return Content(
        tuple(dict.fromkeys(row.prediction_id for row in rows)),
        rows[0].note_key,
        references[-1] if references else None,
    )


def finish(
    transaction: Transaction, leased: Leased, written: Sequence[str], reference: str | None, source: str
) -> bool:
    """The resource is as wanted: these rows are done, and dead ones that it covers. False for a lease that was lost.

    `written` are the predictions that the resource holds. The audit entry is part of the transaction.
    """
    values = {"status": "done", "reference": reference, "done_ms": transaction.now_ms, "last_error": None}
    done = transaction.connection.execute(
        update(Outbox).where(*_held(leased)).values(**values).returning(Outbox.prediction_id)
    ).all()
    if not done:
        again = select(Outbox.id).where(Outbox.id.in_(leased.rows), Outbox.lease == leased.token).limit(1)
        return transaction.connection.execute(again).first() is not None
    transaction.connection.execute(
        update(Outbox)
        .where(Outbox.prediction_id.in_(written), Outbox.sink == leased.sink, Outbox.status == "dead")
        .values(**values)
    )
    entry = {"recorded_ms": transaction.now_ms, "action": "write-back", "source": source,
             "request_id": leased.token, "prediction_ids": list(written)}  # fmt: skip
    transaction.connection.execute(insert(Audit), [entry])
    return True


def fail(
    transaction: Transaction, leased: Leased, error: str, after: After, delay_ms: int, max_tries: int
) -> list[str]:
    """Give the key back. Returns the new status of each row; nothing for a lease that was lost."""
    tries = Outbox.attempts + (0 if after is After.WAIT else 1)
    if after is After.DEAD:
        status: Any = "dead"
    else:
        status = case((tries >= max_tries, "dead"), else_="pending") if after is After.TRY_AGAIN else "pending"
    statement = (
        update(Outbox)
        .where(*_held(leased))
        .values(
            status=status,
            attempts=tries,
            last_error=error[:64],
            next_attempt_ms=transaction.now_ms + delay_ms,
            lease=None,
            lease_until_ms=None,
        )
        .returning(Outbox.status)
    )
    return list(transaction.connection.execute(statement).scalars())


def _due(transaction: Transaction) -> Select[Any]:
    """Ids and keys of free rows, each the earliest version of its prediction that is not done, oldest first."""
    earlier = aliased(Outbox)
    return (
        select(Outbox.id, _KEY)
        .join(Prediction, Prediction.id == Outbox.prediction_id)
        .where(
            Outbox.status == "pending",
            Outbox.next_attempt_ms <= transaction.now_ms,
            _is_free(transaction.now_ms),
            ~exists().where(
                earlier.prediction_id == Outbox.prediction_id,
                earlier.status == "pending",
                earlier.version < Outbox.version,
            ),
        )
        .order_by(Outbox.next_attempt_ms, Outbox.id)
    )


def _free_rows(transaction: Transaction, limit: int, under_way: frozenset[str]) -> list[Row[Any]]:
    """All pending rows of up to `limit` keys that nobody holds, theirs until the commit."""
    due = transaction.connection.execute(_due(transaction).limit((limit + len(under_way)) * _ROWS_PER_KEY))
    keys = [key for key in dict.fromkeys(row.key for row in due) if key not in under_way]
    if transaction.skip_locked:
        # Row locks alone would let two writers take two rows of one report. This lock is of the key, and what was
        # leased before it was had is seen by the next statement.
        mine = (key for key in keys if _lock(transaction, key))
        keys = list(islice(mine, limit))
    keys = keys[:limit]
    if not keys:
        return []
    rows = _rows(transaction, keys)
    # Rows that another transaction has in hand: its writer gives the key back this very moment.
    in_hand = {row.id for row in rows} - {row.id for row in _rows(transaction, keys, lock=True)}
    now_ms = transaction.now_ms
    held = [row for row in rows if row.lease is not None and (row.lease_until_ms or 0) > now_ms]
    busy = {row.key for row in held} | {row.key for row in rows if row.id in in_hand}
    return [row for row in rows if row.key not in busy]


def _lock(transaction: Transaction, key: str) -> bool:
    statement = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, 5111370302))")
    return bool(transaction.connection.execute(statement, {"key": key}).scalar_one())


def _take(
    transaction: Transaction, rows: Sequence[Row[Any]], token: str, lease_ms: int, max_tries: int
) -> list[Row[Any]]:
    """Lease these rows; those that are pending still."""
    ids = [row.id for row in rows]
    # A lease that ran out is a try whose end nobody knows.
    if lost := [row.id for row in rows if row.lease is not None]:
        tries = Outbox.attempts + 1
        transaction.connection.execute(
            update(Outbox)
            .where(Outbox.id.in_(lost))
            .values(
                attempts=tries, last_error=WRITER_LOST, status=case((tries >= max_tries, "dead"), else_="pending"),
                lease=None, lease_until_ms=None,
            )
        )  # fmt: skip
    transaction.connection.execute(
        update(Outbox)
        .where(Outbox.id.in_(ids), Outbox.status == "pending")
        .values(lease=token, lease_until_ms=transaction.now_ms + lease_ms)
    )
    return _rows(transaction, list(dict.fromkeys(row.key for row in rows)), Outbox.id.in_(ids))


def _rows(transaction: Transaction, keys: Sequence[str], *conditions: Any, lock: bool = False) -> list[Row[Any]]:
    columns = (Outbox.id, Outbox.prediction_id, Outbox.sink, Outbox.attempts, Outbox.last_error, Outbox.lease,
               Outbox.lease_until_ms, _KEY)  # fmt: skip
    statement = (
        select(*columns)
        .join(Prediction, Prediction.id == Outbox.prediction_id)
        .where(_of_keys(keys), Outbox.status == "pending", *conditions)
        .order_by(Outbox.id)
    )
    if lock and transaction.skip_locked:
        statement = statement.with_for_update(of=Outbox, skip_locked=True)
    return list(transaction.connection.execute(statement))


def _of_keys(keys: Iterable[str]) -> Any:
    """The rows of these keys, by columns that have an index."""
    notes = [key for key in keys if "/" in key]
    alone = [key for key in keys if "/" not in key]
    conditions = []
    if alone:
        conditions.append(and_(Outbox.prediction_id.in_(alone), Outbox.sink.not_in(_PER_NOTE)))
    if notes:
        note_keys = [key.partition("/")[0] for key in notes]
        conditions.append(and_(Prediction.note_key.in_(note_keys), Outbox.sink.in_(_PER_NOTE), _KEY.element.in_(notes)))
    return or_(*conditions)


def _held(leased: Leased) -> tuple[Any, ...]:
    return (Outbox.lease == leased.token, Outbox.status == "pending", Outbox.id.in_(leased.rows))


def _is_free(now_ms: int) -> Any:
    return or_(Outbox.lease.is_(None), Outbox.lease_until_ms <= now_ms)


def _leased(token: str, key: str, rows: Sequence[Row[Any]]) -> Leased:
    return Leased(
        token=token,
        key=key,
        sink=rows[0].sink,
        rows=tuple(row.id for row in rows),
        predictions=tuple(dict.fromkeys(row.prediction_id for row in rows)),
        attempts=max(row.attempts for row in rows),
        unsure=any(row.last_error is not None for row in rows),
    )
