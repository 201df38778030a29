"""What is still to be fetched, in the database: work for the store's writer, and plain data in and out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update

from fhir_adapters.outcomes.facts import FACT_TYPES
from serve.intake.settings import NOTE_RESOURCE
from serve.store.tables import Intake
from serve.store.transaction import Transaction

MAX_TRIES: Final = 8
# SQLite takes 32,766 values a statement and PostgreSQL 65,535.
_ROWS_PER_STATEMENT: Final = 500


@dataclass(frozen=True, slots=True)
class NewRow:
    """A resource to be taken in, by the event that made it known; `dead_code` for one that never can be."""

    source: str
    reference: str
    """`Type/id`; PHI."""
    event: str
    dead_code: str | None = None


@dataclass(frozen=True, slots=True)
class LeasedRow:
    """A row that this replica works on. `attempts` counts this try."""

    id: int
    lease: str
    source: str
    reference: str
    event: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a leased row. `code` is what the row keeps: an outcome or an error, never text."""

    row: LeasedRow
    status: Literal["done", "dead", "pending"]
    code: str
    wait_ms: int = 0
    """Until the next try of a pending row."""
    charged: bool = True
    """Whether the try counts: not when nothing is wrong with the resource itself."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much there is to do. `oldest_age_ms` is the age of the oldest pending row."""

    pending: int
    dead: int
    oldest_age_ms: int


def enqueue(transaction: Transaction, rows: Sequence[NewRow]) -> int:
    """Rows that are not there yet; how many were new. The same event again is no second row."""
    now = transaction.now_ms
    values = [
        {"source": each.source, "reference": each.reference, "event": each.event,
         "status": "pending" if each.dead_code is None else "dead", "attempts": 0, "created_ms": now,
         "next_attempt_ms": now, "last_error": each.dead_code,
         "done_ms": None if each.dead_code is None else now}
        for each in sorted(set(rows), key=lambda row: (row.source, row.reference, row.event))
    ]  # fmt: skip
    if not values:
        return 0
    statement = (
        transaction.insert(Intake)
        .on_conflict_do_nothing(index_elements=[Intake.source, Intake.reference, Intake.event])
        .returning(Intake.id)
    )
    return len(transaction.connection.execute(statement, values).scalars().all())


def due(transaction: Transaction) -> bool:
    """Whether a row waits for a worker. Only reads."""
    return transaction.connection.execute(select(Intake.id).where(_due(transaction)).limit(1)).first() is not None


def settle_and_lease(
    transaction: Transaction, lease: str, settled: Sequence[Settled], wanted: int, lease_ms: int
) -> list[LeasedRow]:
    """Record what became of leased rows, and lease up to `wanted` more under a new `lease`, oldest due first.

    Asked again with the same lease, because the answer was lost, it gives the same rows. A row that was leased
    MAX_TRIES times and never settled takes its worker with it each time: it is given up.
    """
    for each in settled:
        _settle(transaction, each)
    if wanted <= 0:
        return []
    own = select(*_COLUMNS).where(Intake.lease == lease, Intake.status == "pending")
    if leased := [_leased(row, lease, row.attempts) for row in transaction.connection.execute(own)]:
        return leased
    query = select(Intake).where(_due(transaction)).order_by(Intake.next_attempt_ms, Intake.id).limit(wanted)
    if transaction.skip_locked:
        query = query.with_for_update(skip_locked=True)
    for row in transaction.connection.execute(query.with_only_columns(*_COLUMNS)).all():
        if row.attempts >= MAX_TRIES:
            _end(transaction, row.id, "dead", "too-costly")
            continue
        values = {"lease": lease, "lease_until_ms": transaction.now_ms + lease_ms, "attempts": row.attempts + 1}
        transaction.connection.execute(update(Intake).where(Intake.id == row.id).values(**values))
        leased.append(_leased(row, lease, row.attempts + 1))
    return leased


def _leased(row: Any, lease: str, attempts: int) -> LeasedRow:
    return LeasedRow(row.id, lease, row.source, row.reference, row.event, attempts)


_COLUMNS: Final = (Intake.id, Intake.source, Intake.reference, Intake.event, Intake.attempts)


def _due(transaction: Transaction) -> ColumnElement[bool]:
    free = or_(Intake.lease_until_ms.is_(None), Intake.lease_until_ms < transaction.now_ms)
    return and_(Intake.status == "pending", Intake.next_attempt_ms <= transaction.now_ms, free)


def _settle(transaction: Transaction, settled: Settled) -> None:
    own = (Intake.id == settled.row.id, Intake.lease == settled.row.lease, Intake.status == "pending")
    values: dict[str, object] = {"lease": None, "lease_until_ms": None, "last_error": settled.code[:64]}
    if settled.status == "pending":
        values["next_attempt_ms"] = transaction.now_ms + settled.wait_ms
        if not settled.charged:
            values["attempts"] = settled.row.attempts - 1
    else:
        values |= {"status": settled.status, "done_ms": transaction.now_ms}
    transaction.connection.execute(update(Intake).where(*own).values(**values))


def _end(transaction: Transaction, row_id: int, status: str, code: str) -> None:
    values = {"status": status, "last_error": code, "done_ms": transaction.now_ms, "lease": None,
              "lease_until_ms": None}  # fmt: skip
    transaction.connection.execute(update(Intake).where(Intake.id == row_id).values(**values))


def release_all(transaction: Transaction) -> int:
    """Free every lease: at the start of the one replica, whatever an earlier one held. How many there were.

    Should that one still be at work, a resource is fetched twice and scored once.
    """
    held = (Intake.status == "pending", Intake.lease.is_not(None))
    return transaction.connection.execute(update(Intake).where(*held).values(lease=None, lease_until_ms=None)).rowcount


def backlog(transaction: Transaction) -> Backlog:
    """Counts for the metrics. Only reads."""
    query = select(Intake.status, func.count(), func.min(Intake.created_ms)).group_by(Intake.status)
    counted = query.where(Intake.status.in_(("pending", "dead")))
    rows = {row[0]: (row[1], row[2]) for row in transaction.connection.execute(counted)}
    pending, oldest = rows.get("pending", (0, transaction.now_ms))
    return Backlog(pending, rows.get("dead", (0, 0))[0], max(0, transaction.now_ms - oldest))


def has_old(transaction: Transaction, keep_ms: int) -> bool:
    """Whether there is anything to prune, by the oldest row that is done: to look at all would cost. Only reads."""
    first = select(Intake.done_ms).where(Intake.status == "done").order_by(Intake.id).limit(1)
    done_ms = transaction.connection.execute(first).scalar_one_or_none()
    return done_ms is not None and done_ms < transaction.now_ms - keep_ms


def prune(transaction: Transaction, keep_ms: int) -> int:
    """Forget rows that were done so long ago; how many. Dead ones stay until they are replayed."""
    old = select(Intake.id).where(Intake.status == "done", Intake.done_ms < transaction.now_ms - keep_ms)
    ids = transaction.connection.execute(old.order_by(Intake.id).limit(_ROWS_PER_STATEMENT)).scalars().all()
    if ids:
        transaction.connection.execute(delete(Intake).where(Intake.id.in_(ids)))
    return len(ids)


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row for an operator. `reference` is PHI: shown only where it is asked for."""

    id: int
    source: str
    resource_type: str
    reference: str
    status: str
    attempts: int
    code: str | None
    age_ms: int


def listed(
    transaction: Transaction, statuses: Sequence[str], codes: Sequence[str], limit: int
) -> tuple[int, list[ShownRow]]:
    """How many rows there are of these statuses (and codes, if any are given), and the oldest of them. Only reads."""
    conditions = [Intake.status.in_(statuses)] + ([Intake.last_error.in_(codes)] if codes else [])
    total = transaction.connection.execute(select(func.count()).select_from(Intake).where(*conditions)).scalar_one()
    columns = (*_COLUMNS, Intake.status, Intake.last_error, Intake.created_ms)
    query = select(*columns).where(*conditions).order_by(Intake.created_ms, Intake.id).limit(limit)
    return total, [
        ShownRow(row.id, row.source, _type_of(row.reference), row.reference, row.status, row.attempts,
                 row.last_error, max(0, transaction.now_ms - row.created_ms))
        for row in transaction.connection.execute(query)
    ]  # fmt: skip


def _type_of(reference: str) -> str:
    # What is no reference of a FHIR server may begin with anything.
    found = reference.partition("/")[0]
    return found if found in (NOTE_RESOURCE, *FACT_TYPES) else "other"


def replay(transaction: Transaction, ids: Sequence[int], codes: Sequence[str]) -> int:
    """Dead rows back to pending with all their tries: those of `ids`, or of `codes`, or every one. How many."""
    conditions = [Intake.status == "dead"]
    if ids:
        conditions.append(Intake.id.in_(ids))
    if codes:
        conditions.append(Intake.last_error.in_(codes))
    values = {"status": "pending", "attempts": 0, "next_attempt_ms": transaction.now_ms, "done_ms": None,
              "lease": None, "lease_until_ms": None}  # fmt: skip
    return transaction.connection.execute(update(Intake).where(*conditions).values(**values)).rowcount
