"""Reading the audit table: a row is one request, and one event of it is one score that was given, or one patient that
was searched.

A row holds ids only, so an event knows its patient for as long as the score is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, insert, or_, select

from serve.store.tables import Audit, Prediction
from serve.store.transaction import Transaction

# SQLite takes 32,766 values a statement and PostgreSQL 65,535.
_IDS_PER_STATEMENT = 500
_ROWS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """All given conditions hold. Times are milliseconds since 1970 UTC; `after` is the last event shown."""

    subjects: tuple[str, ...] = ()
    recorded: tuple[tuple[int | None, int | None], ...] = ()
    """Half-open ranges [from, to)."""
    not_recorded: tuple[tuple[int, int], ...] = ()
    count: int = 50
    after: tuple[int, int, int] | None = None
    """(recorded_ms, row, position)."""


@dataclass(frozen=True, slots=True)
class AuditedAccess:
    """One event. Row and position name it for good: nothing that is deleted later moves it."""

    row: int
    position: int
    recorded_ms: int
    action: str
    source: str
    request_id: str
    prediction: str | None
    """None for a search, and for what is of no score."""
    subject: str | None
    client_address: str | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """One page, newest first. `after` continues it; None at the end."""

    events: tuple[AuditedAccess, ...] = ()
    after: tuple[int, int, int] | None = None


def audit_page(transaction: Transaction, query: AuditQuery) -> AuditPage:
    """The events that meet the query."""
    found: list[AuditedAccess] = []
    row_id, last_position = query.after[1:] if query.after else (-1, -1)
    # The row of the last event may hold more of them; later chunks begin after the row before.
    begin, inclusive = query.after[:2] if query.after else None, True
    while rows := _rows(transaction, query, begin, inclusive=inclusive):
        subjects = _subjects(transaction, [each for row in rows for each in row.prediction_ids])
        for row in rows:
            for event in _events(row, subjects):
                shown = event.row == row_id and event.position <= last_position
                if not shown and (not query.subjects or event.subject in query.subjects):
                    found.append(event)
        if len(found) > query.count:
            page = tuple(found[: query.count])
            return AuditPage(page, (page[-1].recorded_ms, page[-1].row, page[-1].position) if page else None)
        begin, inclusive = (rows[-1].recorded_ms, rows[-1].id), False
    return AuditPage(tuple(found))


def audit_event(transaction: Transaction, row_id: int, position: int) -> AuditedAccess | None:
    """One event; None when there is none of this name."""
    row = transaction.connection.execute(select(*_COLUMNS).where(Audit.id == row_id)).first()
    if row is None:
        return None
    subjects = _subjects(transaction, row.prediction_ids)
    return next((event for event in _events(row, subjects) if event.position == position), None)


def record_access(
    transaction: Transaction,
    action: str,
    source: str,
    request_id: str,
    prediction_ids: Sequence[str] = (),
    client_address: str | None = None,
) -> None:
    """An audit row of what is neither score nor read of a score: the audit's own reading, deletion, merging."""
    row: dict[str, Any] = {
        "recorded_ms": transaction.now_ms,
        "action": action,
        "source": source,
        "request_id": request_id,
        "prediction_ids": list(prediction_ids),
        "client_address": client_address,
    }
    transaction.connection.execute(insert(Audit), [row])


_COLUMNS = (
    Audit.id, Audit.recorded_ms, Audit.action, Audit.source, Audit.request_id, Audit.prediction_ids,
    Audit.client_address,
)  # fmt: skip


def _rows(
    transaction: Transaction, query: AuditQuery, begin: tuple[int, int] | None, *, inclusive: bool
) -> Sequence[Row[Any]]:
    """The next rows, newest first, from (recorded_ms, id) on."""
    at = Audit.recorded_ms
    conditions: list[ColumnElement[bool]] = []
    conditions += [at >= low for low, _ in query.recorded if low is not None]
    conditions += [at < high for _, high in query.recorded if high is not None]
    conditions += [or_(at < low, at >= high) for low, high in query.not_recorded]
    if begin is not None:
        in_same_ms = Audit.id <= begin[1] if inclusive else Audit.id < begin[1]
        conditions.append(or_(at < begin[0], and_(at == begin[0], in_same_ms)))
    if query.subjects:
        conditions.append(_of_subjects(transaction, query.subjects))
    statement = select(*_COLUMNS).where(*conditions).order_by(at.desc(), Audit.id.desc()).limit(_ROWS_AT_ONCE)
    rows: Sequence[Row[Any]] = list(transaction.connection.execute(statement))
    return rows


def _of_subjects(transaction: Transaction, subjects: tuple[str, ...]) -> ColumnElement[bool]:
    expand = func.json_array_elements_text if transaction.connection.dialect.name == "postgresql" else func.json_each
    ids = expand(Audit.prediction_ids).table_valued("value")
    of_patient = select(Prediction.id).where(Prediction.subject.in_(subjects))
    return select(ids.c.value).where(ids.c.value.in_(of_patient)).correlate(Audit).exists()


def _subjects(transaction: Transaction, ids: Sequence[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    wanted = sorted(set(ids))
    for start in range(0, len(wanted), _IDS_PER_STATEMENT):
        part = wanted[start : start + _IDS_PER_STATEMENT]
        rows = transaction.connection.execute(select(Prediction.id, Prediction.subject).where(Prediction.id.in_(part)))
        found.update((row.id, row.subject) for row in rows)
    return found


def _events(row: Any, subjects: dict[str, str | None]) -> Iterator[AuditedAccess]:
    seen: set[str | None] = set()
    for position, prediction in enumerate(row.prediction_ids or [None]):
        subject = subjects.get(prediction) if prediction is not None else None
        of_search = row.action == "search"
        if of_search and subject in seen:
            continue
        seen.add(subject)
        yield AuditedAccess(
            row.id, position, row.recorded_ms, row.action, row.source, row.request_id,
            None if of_search else prediction, subject, row.client_address,
        )  # fmt: skip
