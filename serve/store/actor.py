"""The store deployment: concurrent commits share one transaction (group commit); notes are counted at the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from lang1.note_types import NOTE_TYPES
from serve.errors import ServiceError, StoreUnavailableError, internal
from serve.logs import get_logger
from serve.metrics_folder import use_metrics_folder
from serve.outcome import Outcome
from serve.store.core import Store
from serve.store.records import AuditEntry, CommittedNote, NewFeedback, NewNote, RecordedFeedback
from serve.store.transaction import Transaction

MAX_NOTES_PER_TRANSACTION = 256
T = TypeVar("T")
P = ParamSpec("P")

_Waiting = tuple[tuple[NewNote, ...], tuple[AuditEntry, ...], asyncio.Future[Outcome[list[CommittedNote]]]]


class GroupCommit:
    """Commits wait only for the transaction under way; all that wait then share the next one, and its fsync."""

    def __init__(self, store: Store, on_commit: Callable[[NewNote, CommittedNote], None]) -> None:
        self._store = store
        self._on_commit = on_commit
        self._waiting: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    async def commit(self, notes: Sequence[NewNote], audit: Sequence[AuditEntry]) -> Outcome[list[CommittedNote]]:
        """Recorded notes, or a problem. A caller that goes away leaves the whole commit or none of it."""
        future: asyncio.Future[Outcome[list[CommittedNote]]] = asyncio.get_running_loop().create_future()
        self._waiting.append((tuple(notes), tuple(audit), future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await future

    async def run(self, work: Callable[[], T]) -> T:
        """Other writing, in turn with the commits: SQLite has one writer."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _write(self) -> None:
        while self._waiting:
            group = self._take()
            outcomes = await asyncio.get_running_loop().run_in_executor(self._thread, self._commit_group, group)
            for (_, _, future), outcome in zip(group, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)

    def _take(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        taken = 0
        while self._waiting and (not group or taken + len(self._waiting[0][0]) <= MAX_NOTES_PER_TRANSACTION):
            group.append(self._waiting.pop(0))
            taken += len(group[-1][0])
        return group

    def _commit_group(self, group: list[_Waiting]) -> list[Outcome[list[CommittedNote]]]:
        together = self._commit_one(
            [n for notes, _, _ in group for n in notes], [a for _, audit, _ in group for a in audit]
        )
        if together.problem is not None:
            if len(group) == 1:
                return [together]
            if _worth_splitting(together):
                # One entry that the database will not take must not fail the others.
                return [self._commit_one(list(notes), list(audit)) for notes, audit, _ in group]
            return [together] * len(group)
        committed = iter(together.unwrap())
        return [Outcome([next(committed) for _ in notes]) for notes, _, _ in group]

    def _commit_one(self, notes: list[NewNote], audit: list[AuditEntry]) -> Outcome[list[CommittedNote]]:
        try:
            committed = self._store.commit(notes, audit)
        except ServiceError as error:
            return Outcome(problem=error.problem)
        except Exception as error:
            get_logger().error("commit failed: %s", type(error).__name__)
            return Outcome(problem=internal())
        try:
            for note, result in zip(notes, committed, strict=True):
                self._on_commit(note, result)
        except Exception as error:
            # The record stands: a counter that fails must not turn it into an error, or leave its caller waiting.
            get_logger().error("counting a commit failed: %s", type(error).__name__)
        return Outcome(committed)


def _worth_splitting(outcome: Outcome[list[CommittedNote]]) -> bool:
    # A locked or absent database would fail every part after its own wait.
    assert outcome.problem is not None
    return not any(word in outcome.problem.message for word in ("OperationalError", "PoolTimeout"))


class StoreReplica:
    """Ray Serve deployment around one Store. SQLite: one replica is the only writer."""

    def __init__(self, database_url: str, sink: str | None) -> None:
        use_metrics_folder()
        self._store = Store(database_url, sink=sink)
        try:
            self._store.migrate()
        except StoreUnavailableError as error:
            raise RuntimeError(f"the database cannot be opened: {error}") from None
        self._group = GroupCommit(self._store, count_note)

    async def commit(self, notes: tuple[NewNote, ...], audit: tuple[AuditEntry, ...]) -> Outcome[list[CommittedNote]]:
        """Record notes and audit rows; what the store then holds, or a problem. Never raises."""
        return await self._group.commit(notes, audit)

    async def record_feedback(self, entries: tuple[NewFeedback, ...]) -> Outcome[RecordedFeedback]:
        """Record what people did with cards, once each. Never raises."""
        try:
            recorded = await self._group.run(lambda: self._store.record_feedback(entries))
        except ServiceError as error:
            return Outcome(problem=error.problem)
        except Exception as error:
            get_logger().error("recording feedback failed: %s", type(error).__name__)
            return Outcome(problem=internal())
        count_feedback(entries, recorded)
        return Outcome(recorded)

    async def run(self, work: Callable[Concatenate[Transaction, P], T], args: tuple[Any, ...]) -> Outcome[T]:
        """`work(transaction, *args)` in a write transaction of its own, in turn with the commits. Never raises."""
        try:
            return Outcome(await self._group.run(lambda: self._store.write(cast("Callable[..., T]", work), *args)))
        except ServiceError as error:
            return Outcome(problem=error.problem)
        except Exception as error:
            get_logger().error("%s failed: %s", work.__name__, type(error).__name__)
            return Outcome(problem=internal())

    async def ready(self) -> Outcome[bool]:
        """True when the database can be read."""
        try:
            await asyncio.to_thread(self._store.ping)
        except ServiceError as error:
            return Outcome(problem=error.problem)
        return Outcome(True)


def count_note(note: NewNote, committed: CommittedNote) -> None:
    """Feed the metrics from one committed note: new ones once, known ones apart."""
    from monitoring import metrics

    loinc = metrics.note_type_label(note.note_type, NOTE_TYPES)
    if committed.first:
        metrics.notes_scored_total.labels(loinc, note.model_version).inc()
        metrics.note_tokens.labels(loinc).observe(note.note_tokens)
        if note.dropped_tokens:
            metrics.notes_truncated_total.labels(loinc, note.model_version).inc()
    elif not committed.created:
        metrics.notes_resent_total.labels(loinc, note.model_version).inc()
    for prediction in note.predictions:
        if prediction.id in committed.created:
            metrics.score.labels(prediction.task, note.model_version).observe(prediction.adverse_probability)


def count_feedback(entries: Sequence[NewFeedback], recorded: RecordedFeedback) -> None:
    """Feed the metrics from feedback that was new."""
    from monitoring import metrics

    for entry, task in zip(entries, recorded.tasks, strict=True):
        if entry.id in recorded.created and task is not None:
            metrics.card_feedback_total.labels(task, entry.outcome).inc()
