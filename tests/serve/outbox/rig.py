"""A store with scored notes, a writer without Ray, and the test EHR between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sqlalchemy import select

from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.wire import Timeouts
from fhir_adapters.document_note import DocumentIdentity
from lang1.tasks import BUILT_IN, Task
from serve.fhir_notes import record_to_payload
from serve.outbox.options import Counters, WriterOptions
from serve.outbox.writer import Writer
from serve.store.core import Store
from serve.store.records import NewNote, NewPrediction, note_key, prediction_id
from serve.store.tables import Audit, Outbox
from serve.store.transaction import Transaction
from tests.fhir_adapters.samples import DEMO_MODEL, OCCURRENCE, note_of, scores

TASKS = list(BUILT_IN)
FAST = WriterOptions(
    retry_base_s=0.01, retry_max_s=0.05, probe_s=0.02, lease_s=1.0, poll_s=0.01, drain_s=5.0, concurrency=4
)


def identity(document: str, subject: str = "Patient/1") -> DocumentIdentity:
    return replace(note_of().identity, document_id=document, subject=subject, version_id=None)


def scored(
    document: str,
    *,
    tasks: int = 2,
    replaces: tuple[str, ...] = (),
    subject: str = "Patient/1",
    first_task: int = 0,
    text: str = "0" * 64,
) -> NewNote:
    """A scored note with `tasks` scores, as the pipeline makes it."""
    from fhir_adapters.assessment_record import scores_to_records

    key = note_key("test", f"DocumentReference/{document}", text)
    names = TASKS[first_task : first_task + tasks]
    ids = {name: prediction_id(key, name, 1, DEMO_MODEL.bundle_sha256) for name in TASKS}
    records = scores_to_records(scores(), identity(document, subject), ids, occurrence=OCCURRENCE, source=key)
    predictions = tuple(
        NewPrediction(each.assessment_id, each.task, 1, 0.5, record_to_payload(each), each.identifier)
        for each in records
        if each.task in names
    )
    return NewNote(
        note_key=key, source="test", document=f"DocumentReference/{document}", text_sha256=text, subject=subject,
        encounter="Encounter/1", model_version="1", bundle_sha256=DEMO_MODEL.bundle_sha256, predictions=predictions,
        replaces=replaces,
    )  # fmt: skip


class LocalStore:
    """The store's writer without Ray."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def run(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.to_thread(self.store.write, work, *args)


async def tasks_of(bundle_sha256: str) -> Mapping[str, Task]:
    return BUILT_IN


@lru_cache(maxsize=64)
def client_of(url: str, *, total_s: float = 2.0) -> FhirClient:
    return FhirClient(url, timeouts=Timeouts(connect_s=1.0, read_s=total_s, total_s=total_s), max_attempts=1)


class Rig:
    """`write_until` runs a writer until a condition on the store holds."""

    def __init__(self, store: Store, url: str, options: WriterOptions = FAST) -> None:
        self.store = store
        # A reader of its own, as in the service: reads of a writing connection take SQLite's write lock.
        self.reader = Store(store._engine.url.render_as_string(hide_password=False), read_only=True)
        self.url = url
        self.options = options
        self.ends: list[tuple[str, str]] = []

    def writer(self, *, client: FhirClient | None = None, store: Any = None, **options: Any) -> Writer:
        return Writer(
            store or LocalStore(self.store),
            self.reader,
            client or client_of(self.url),
            tasks_of,
            replace(self.options, **options),
            counters=Counters(ended=lambda sink, code: self.ends.append((sink, code))),
        )

    def write_until(self, condition: Callable[[], bool], *, limit_s: float = 20.0, **options: Any) -> None:
        """Raises AssertionError past the limit."""

        async def go() -> None:
            stop = asyncio.Event()
            running = asyncio.create_task(self.writer(**options).run(stop))
            try:
                async with asyncio.timeout(limit_s):
                    while not await asyncio.to_thread(condition):
                        assert not running.done(), "the writer ended"
                        await asyncio.sleep(0.01)  # polls with a limit
            finally:
                stop.set()
                with suppress(asyncio.CancelledError):
                    await running

        asyncio.run(go())

    def write_all(self, **options: Any) -> None:
        self.write_until(lambda: not self.statuses().count("pending"), **options)

    def rows(self) -> list[Any]:
        return self.reader.read(_rows)

    def statuses(self) -> list[str]:
        return [row.status for row in self.rows()]

    def audits(self) -> list[Any]:
        return self.reader.read(_audits)


def _rows(transaction: Transaction) -> list[Any]:
    return list(transaction.connection.execute(select(*Outbox.__table__.columns).order_by(Outbox.id)))


def _audits(transaction: Transaction) -> list[Any]:
    return list(transaction.connection.execute(select(*Audit.__table__.columns).where(Audit.action == "write-back")))
