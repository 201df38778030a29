"""Requests for a retrained model, in the database: work for the store's writer, and plain data in and out.

At most one request is open (asked for, or with a job) at any time: its `slot` is set, and unique.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import func, or_, select, update

from serve.store.tables import Cursor, RetrainingRequest
from serve.store.transaction import Transaction

Origin = Literal["alert", "person", "schedule"]
Status = Literal["requested", "running", "done", "failed", "held"]
Asked = Literal["requested", "joined", "cooling"]
STATUSES: Final[tuple[Status, ...]] = ("requested", "running", "done", "failed", "held")
MAX_REASON_CHARS: Final = 500
SCHEDULE: Final = "retraining/schedule"
_OPEN: Final = "open"


@dataclass(frozen=True, slots=True)
class NewRequest:
    """Who asks, and why. `id` is the caller's own, so that asking again because an answer was lost asks once."""

    id: str
    origin: Origin
    asked_by: str
    reason: str
    model_version: str
    bundle_sha256: str
    """Of the model that is to be replaced."""
    alerts: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of asking: a new request, the open one, or an earlier one that is too young for another."""

    id: str
    outcome: Asked


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it stands. Times are milliseconds since 1970 UTC."""

    id: str
    origin: str
    asked_by: str
    reason: str
    alerts: tuple[Mapping[str, str], ...]
    model_version: str
    bundle_sha256: str
    created_ms: int
    status: str
    attempts: int
    next_attempt_ms: int
    started_ms: int | None
    """Of the present or last try; None before the first."""
    finished_ms: int | None
    code: str | None
    """How the last try ended."""


@dataclass(frozen=True, slots=True)
class Counted:
    """For the metrics."""

    by_status: Mapping[str, int]
    last_end_ms: Mapping[str, int]
    """By status, of the requests that are closed."""


def ask(transaction: Transaction, new: NewRequest, cooldown_ms: int) -> Answer:
    """Record a request, unless one is open or an alert or the schedule asked about this model too lately."""
    if _get(transaction, new.id) is not None:
        return Answer(new.id, "requested")
    if (found := _open(transaction)) is not None:
        return Answer(found, "joined")
    if new.origin != "person" and (found := _since(transaction, new.bundle_sha256, cooldown_ms)) is not None:
        return Answer(found, "cooling")
    row = {
        "id": new.id, "origin": new.origin, "asked_by": _one_line(new.asked_by)[:64],
        "reason": _one_line(new.reason)[:MAX_REASON_CHARS],
        "alerts": [dict(each) for each in new.alerts], "model_version": new.model_version,
        "bundle_sha256": new.bundle_sha256, "created_ms": transaction.now_ms, "status": "requested", "slot": _OPEN,
        "attempts": 0, "next_attempt_ms": transaction.now_ms,
    }  # fmt: skip
    statement = (
        transaction.insert(RetrainingRequest)
        .on_conflict_do_nothing(index_elements=[RetrainingRequest.slot])
        .returning(RetrainingRequest.id)
    )
    if transaction.connection.execute(statement, [row]).scalars().all():
        return Answer(new.id, "requested")
    # Another writer was faster.
    return Answer(_open(transaction) or new.id, "joined")


def listed(transaction: Transaction, limit: int) -> list[Request]:
    """The newest requests. Only reads."""
    query = select(*_COLUMNS).order_by(RetrainingRequest.created_ms.desc(), RetrainingRequest.id).limit(limit)
    return [_request(row) for row in transaction.connection.execute(query)]


def counted(transaction: Transaction) -> Counted:
    """Counts and times for the metrics. Only reads."""
    table = RetrainingRequest
    query = select(table.status, func.count(), func.max(table.finished_ms)).group_by(table.status)
    rows = {row[0]: (row[1], row[2]) for row in transaction.connection.execute(query)}
    return Counted(
        {status: rows.get(status, (0, None))[0] for status in STATUSES},
        {status: last for status, (_, last) in rows.items() if last is not None},
    )


def lease_open(transaction: Transaction, lease: str, lease_ms: int) -> Request | None:
    """The open request, leased to `lease` for a while longer; None while there is none or another one holds it."""
    table = RetrainingRequest
    free = or_(table.lease.is_(None), table.lease == lease, table.lease_until_ms < transaction.now_ms)
    query = select(*_COLUMNS).where(table.slot == _OPEN, free)
    if transaction.skip_locked:
        query = query.with_for_update(skip_locked=True)
    row = transaction.connection.execute(query).first()
    if row is None:
        return None
    values = {"lease": lease, "lease_until_ms": transaction.now_ms + lease_ms}
    transaction.connection.execute(update(table).where(table.id == row.id).values(**values))
    return _request(row)


def begin_try(transaction: Transaction, request: Request, lease: str) -> Request | None:
    """Count a try before it is begun, so that a crash in between costs a try and never starts two jobs.

    None when the lease is lost.
    """
    table, own = RetrainingRequest, _own(request, lease)
    values = {"status": "running", "attempts": request.attempts + 1, "started_ms": transaction.now_ms}
    transaction.connection.execute(update(table).where(*own, table.attempts == request.attempts).values(**values))
    # Read, not counted: asked again because an answer was lost, the row is as it should be already.
    row = transaction.connection.execute(select(*_COLUMNS).where(*own, table.attempts == request.attempts + 1)).first()
    return None if row is None else _request(row)


def end_try(
    transaction: Transaction, request: Request, lease: str, status: Status, code: str, wait_ms: int = 0
) -> None:
    """Record how a try ended: with `requested` another one follows after `wait_ms`, else the request is closed."""
    values: dict[str, Any] = {"status": status, "code": code[:64]}
    if status == "requested":
        values["next_attempt_ms"] = transaction.now_ms + wait_ms
    else:
        values |= {"finished_ms": transaction.now_ms, "slot": None, "lease": None, "lease_until_ms": None}
    transaction.connection.execute(update(RetrainingRequest).where(*_own(request, lease)).values(**values))


def uncharge(transaction: Transaction, request: Request, lease: str) -> None:
    """Let a try that the service ended itself not count; the next one may begin at once."""
    values = {"status": "requested", "attempts": request.attempts - 1, "code": "let-go",
              "next_attempt_ms": transaction.now_ms}  # fmt: skip
    own = (*_own(request, lease), RetrainingRequest.attempts == request.attempts)
    transaction.connection.execute(update(RetrainingRequest).where(*own).values(**values))


def has_open(transaction: Transaction) -> bool:
    """Whether there is anything to do. Only reads."""
    return _open(transaction) is not None


def schedule_since(transaction: Transaction) -> int | None:
    """From when the schedule counts: the last request, else when it was begun; None before that. Only reads."""
    last: int | None = transaction.connection.execute(select(func.max(RetrainingRequest.created_ms))).scalar()
    if last is None:
        last = transaction.connection.execute(select(Cursor.updated_ms).where(Cursor.name == SCHEDULE)).scalar()
    return last


def begin_schedule(transaction: Transaction) -> None:
    """Let the schedule count from now, where it does not count yet."""
    transaction.connection.execute(
        transaction.insert(Cursor).on_conflict_do_nothing(index_elements=[Cursor.name]),
        [{"name": SCHEDULE, "state": {}, "updated_ms": transaction.now_ms}],
    )


_COLUMNS: Final = tuple(getattr(RetrainingRequest, name) for name in Request.__dataclass_fields__)


def _request(row: Any) -> Request:
    values = {name: getattr(row, name) for name in Request.__dataclass_fields__}
    return Request(**values | {"alerts": tuple(values["alerts"])})


def _one_line(words: str) -> str:
    # They become words of a command and of logs.
    return " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())


def _get(transaction: Transaction, request_id: str) -> str | None:
    query = select(RetrainingRequest.id).where(RetrainingRequest.id == request_id)
    return transaction.connection.execute(query).scalar_one_or_none()


def _open(transaction: Transaction) -> str | None:
    query = select(RetrainingRequest.id).where(RetrainingRequest.slot == _OPEN)
    return transaction.connection.execute(query).scalar_one_or_none()


def _since(transaction: Transaction, bundle_sha256: str, cooldown_ms: int) -> str | None:
    table = RetrainingRequest
    of_model = (table.bundle_sha256 == bundle_sha256, table.created_ms > transaction.now_ms - cooldown_ms)
    query = select(table.id).where(*of_model).order_by(table.created_ms.desc()).limit(1)
    return transaction.connection.execute(query).scalar_one_or_none()


def _own(request: Request, lease: str) -> Sequence[Any]:
    table = RetrainingRequest
    return (table.id == request.id, table.lease == lease, table.slot == _OPEN)
