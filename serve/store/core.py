"""The store: one transaction a commit, first commit wins. Every database error is StoreUnavailableError."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Row, and_, func, insert, or_, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from serve.store import standing
from serve.store.engine import coded_errors, make_engine
from serve.store.migrate import migrate
from serve.store.records import (
    AuditEntry,
    CommittedNote,
    NewFeedback,
    NewNote,
    NewPrediction,
    RecordedFeedback,
    SearchPage,
    SearchQuery,
    StoredPrediction,
)
from serve.store.tables import Audit, CardFeedback, Prediction
from serve.store.transaction import Transaction

T = TypeVar("T")
P = ParamSpec("P")

_COLUMNS = (
    Prediction.id,
    Prediction.task,
    Prediction.model_version,
    Prediction.bundle_sha256,
    Prediction.payload,
    Prediction.last_updated_ms,
    Prediction.superseded,
    Prediction.retracted,
    Prediction.revision,
)
# SQLite takes 32,766 values a statement and PostgreSQL 65,535.
_ROWS_PER_STATEMENT = 500
_DEADLOCK_STATES = frozenset({"40P01", "40001"})
_DEADLOCK_TRIES = 3


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class Store:
    """One database. Thread-safe: each call takes a connection of its own. `sink` None makes no outbox rows."""

    def __init__(
        self, url: str, *, read_only: bool = False, sink: str | None = None, clock_ms: Callable[[], int] = now_ms
    ) -> None:
        with coded_errors():
            self._engine: Engine = make_engine(url, read_only=read_only)
        self._sink = sink
        self._clock_ms = clock_ms

    def migrate(self, revision: str = "head") -> None:
        """Bring the schema to a revision."""
        with coded_errors():
            migrate(self._engine, revision)

    def close(self) -> None:
        self._engine.dispose()

    def ping(self) -> None:
        """Raise StoreUnavailableError unless the database answers and has its tables."""
        with coded_errors(), self._engine.connect() as connection:
            connection.execute(select(Prediction.id).limit(1)).first()

    def writable(self) -> None:
        """Raise StoreUnavailableError unless a write transaction can begin."""
        with coded_errors(), self._engine.begin() as connection:
            connection.execute(text("SELECT 1"))

    def find(self, ids: Iterable[str]) -> dict[str, StoredPrediction]:
        """The predictions of these ids that are there."""
        with coded_errors(), self._engine.connect() as connection:
            return _find(connection, ids)

    def get_assessment(self, prediction_id: str) -> StoredPrediction | None:
        """One prediction of a patient's note; None for an unknown id, or a score that has no patient."""
        conditions = (Prediction.id == prediction_id, Prediction.subject.is_not(None))
        with coded_errors(), self._engine.connect() as connection:
            row = connection.execute(select(*_COLUMNS).where(*conditions)).first()
        return None if row is None else _stored(row)

    def commit(self, notes: Sequence[NewNote], audit: Sequence[AuditEntry] = ()) -> list[CommittedNote]:
        """Record notes, outbox rows and audit in one transaction; results in the order of `notes`.

        A prediction that is already there stays as it is and is returned: first commit wins.
        """
        return self.write(self._commit, notes, audit)

    def write(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work(transaction, …)` in one write transaction. Raises StoreUnavailableError, and what `work` raises."""
        with coded_errors():
            for left in reversed(range(_DEADLOCK_TRIES)):
                try:
                    with self._engine.begin() as connection:
                        return work(self._transaction(connection), *args, **kwargs)
                except DBAPIError as error:
                    if not left or getattr(error.orig, "sqlstate", None) not in _DEADLOCK_STATES:
                        raise
        raise AssertionError("unreachable: the last try returns or raises")

    def read(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work(transaction, …)`, which only reads. Raises StoreUnavailableError."""
        with coded_errors(), self._engine.connect() as connection:
            return work(self._transaction(connection), *args, **kwargs)

    def _transaction(self, connection: Connection) -> Transaction:
        return Transaction(connection, self._clock_ms(), self._dialect.insert)

    def _commit(
        self, transaction: Transaction, notes: Sequence[NewNote], audit: Sequence[AuditEntry]
    ) -> list[CommittedNote]:
        connection, now = transaction.connection, transaction.now_ms
        by_id = {p.id: (note, p) for note in notes for p in note.predictions}
        known_notes = self._known_notes(connection, notes)
        created = self._insert(connection, by_id, now)
        # Changes of standing come after the rows that they change, which may be of this very transaction.
        if created and self._sink is not None:
            written = [each for each in sorted(created) if _is_written_back(*by_id[each])]
            standing.enqueue(transaction, [(each, 1) for each in written], self._sink)
        changed = standing.apply(transaction, notes, created)
        if audit:
            connection.execute(
                insert(Audit),
                [
                    {"recorded_ms": now, "action": entry.action, "source": entry.source, "request_id": entry.request_id,
                     "client_address": entry.client_address, "prediction_ids": list(entry.prediction_ids)}
                    for entry in audit
                ],
            )  # fmt: skip
        # What was just written is known; only what was there before is read, or what changed its standing.
        fresh = created - changed
        stored = {each: _as_stored(*by_id[each], now) for each in fresh}
        stored |= _find(connection, (by_id.keys() - fresh).union(*(note.known for note in notes)))
        results = []
        for note in notes:
            # Two notes of one transaction may be the same document: only one of them made its rows.
            own = frozenset(p.id for p in note.predictions if p.id in created)
            created -= own
            key = (note.note_key, note.bundle_sha256)
            recorded = tuple(stored[each] for each in (*note.known, *(p.id for p in note.predictions)))
            results.append(CommittedNote(recorded, own, bool(own) and key not in known_notes))
            known_notes.add(key)
        return results

    def record_feedback(self, entries: Sequence[NewFeedback]) -> RecordedFeedback:
        """Record feedback in one transaction: all of it, or none when an entry has no prediction. Again: no change."""
        now = self._clock_ms()
        wanted = sorted({entry.prediction_id for entry in entries})
        with coded_errors(), self._engine.begin() as connection:
            known = select(Prediction.id, Prediction.task).where(Prediction.id.in_(wanted))
            task_of = {row.id: row.task for row in connection.execute(known)}
            tasks = tuple(task_of.get(entry.prediction_id) for entry in entries)
            if None in tasks:
                return RecordedFeedback(tasks, frozenset())
            rows = {entry.id: {**asdict(entry), "recorded_ms": now} for entry in entries}
            statement = (
                self._dialect.insert(CardFeedback)
                .on_conflict_do_nothing(index_elements=[CardFeedback.id])
                .returning(CardFeedback.id)
            )
            created = connection.execute(statement, [rows[each] for each in sorted(rows)]).scalars()
            return RecordedFeedback(tasks, frozenset(created))

    @property
    def _dialect(self) -> Any:
        return postgresql if self._engine.dialect.name == "postgresql" else sqlite

    def _known_notes(self, connection: Connection, notes: Sequence[NewNote]) -> set[tuple[str, str]]:
        keys = [note.note_key for note in notes]
        if not keys:
            return set()
        rows = connection.execute(
            select(Prediction.note_key, Prediction.bundle_sha256).where(Prediction.note_key.in_(keys)).distinct()
        )
        return {(row[0], row[1]) for row in rows}

    def _insert(self, connection: Connection, by_id: dict[str, tuple[NewNote, NewPrediction]], now: int) -> set[str]:
        """Insert what is new; the ids that were. In id order, so that two writers cannot wait for each other."""
        rows = [_row(*by_id[each], now) for each in sorted(by_id)]
        if not rows:
            return set()
        # Rows apart from the statement, so that its compiled form is kept; SQLAlchemy sends them in pages.
        statement = (
            self._dialect.insert(Prediction)
            .on_conflict_do_nothing(index_elements=[Prediction.id])
            .returning(Prediction.id)
        )
        return set(connection.execute(statement, rows).scalars())

    def search(self, query: SearchQuery) -> SearchPage:
        """One page of predictions, newest first, stable under inserts (keyset paging)."""
        conditions: list[ColumnElement[bool]] = [
            column.in_(wanted)
            for column, wanted in (
                (Prediction.id, query.ids),
                (Prediction.subject, query.subjects),
                (Prediction.encounter, query.encounters),
                (Prediction.identifier, query.identifiers),
                (Prediction.task, query.tasks),
            )
            if wanted
        ]
        if query.assessments_only:
            conditions.append(Prediction.subject.is_not(None))
        updated = Prediction.last_updated_ms
        conditions += [updated >= low for low, _ in query.updated if low is not None]
        conditions += [updated < high for _, high in query.updated if high is not None]
        conditions += [or_(updated < low, updated >= high) for low, high in query.not_updated]
        total = select(func.count()).select_from(Prediction).where(*conditions)
        if query.after:
            at, last_id = query.after
            conditions.append(or_(updated < at, and_(updated == at, Prediction.id < last_id)))
        statement = (
            select(*_COLUMNS).where(*conditions).order_by(updated.desc(), Prediction.id.desc()).limit(query.count + 1)
        )
        with coded_errors(), self._engine.connect() as connection:
            matches = connection.execute(total).scalar_one()
            rows = [_stored(row) for row in connection.execute(statement)]
        page = rows[: query.count]
        more = len(rows) > query.count and page
        return SearchPage(tuple(page), matches, (page[-1].last_updated_ms, page[-1].id) if more else None)


def _find(connection: Connection, ids: Iterable[str]) -> dict[str, StoredPrediction]:
    wanted = list(ids)
    found: dict[str, StoredPrediction] = {}
    for start in range(0, len(wanted), _ROWS_PER_STATEMENT):
        statement = select(*_COLUMNS).where(Prediction.id.in_(wanted[start : start + _ROWS_PER_STATEMENT]))
        found.update((row.id, _stored(row)) for row in connection.execute(statement))
    return found


def _is_written_back(note: NewNote, prediction: NewPrediction) -> bool:
    # Without a patient there is no record to write to.
    return note.subject is not None and prediction.written_back


def _row(note: NewNote, prediction: NewPrediction, now: int) -> dict[str, Any]:
    return {
        "id": prediction.id,
        "note_key": note.note_key,
        "source": note.source,
        "document": note.document,
        "text_sha256": note.text_sha256,
        "task": prediction.task,
        "task_version": prediction.task_version,
        "model_version": note.model_version,
        "bundle_sha256": note.bundle_sha256,
        "subject": note.subject,
        "encounter": note.encounter,
        "identifier": prediction.identifier,
        "last_updated_ms": now,
        "superseded": False,
        "retracted": False,
        "payload": prediction.payload,
    }


def _stored(row: Row[Any]) -> StoredPrediction:
    return StoredPrediction(
        row.id, row.task, row.model_version, row.bundle_sha256, row.payload, row.last_updated_ms, row.superseded,
        row.retracted, row.revision,
    )  # fmt: skip


def _as_stored(note: NewNote, prediction: NewPrediction, now: int) -> StoredPrediction:
    """What `_find` would read back of a row that was just inserted."""
    return StoredPrediction(
        prediction.id, prediction.task, note.model_version, note.bundle_sha256, prediction.payload, now, False
    )
