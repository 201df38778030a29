"""The store, against SQLite and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, inspect, text

from serve.errors import StoreUnavailableError
from serve.store.actor import GroupCommit
from serve.store.core import Store
from serve.store.records import AuditEntry, NewPrediction, SearchQuery
from serve.store.tables import Base
from tests.serve.store_notes import note


def rows(url: str, table: str) -> int:
    engine: Engine = create_engine(url)
    with engine.connect() as connection:
        count = int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608
    engine.dispose()
    return count


def test_migrations_make_what_the_tables_say_and_run_twice(empty_url: str) -> None:
    url, store = empty_url, Store(empty_url)
    for _ in range(2):
        store.migrate()
    engine = create_engine(url)
    found = inspect(engine)
    for table in Base.metadata.sorted_tables:
        assert {c["name"] for c in found.get_columns(table.name)} == set(table.columns.keys())
        assert {i["name"] for i in found.get_indexes(table.name) if not i["unique"]} == {i.name for i in table.indexes}
    engine.dispose()


def test_first_commit_wins(store: Store) -> None:
    (first,) = store.commit([note()])
    other = tuple(NewPrediction(p.id, p.task, 1, 0.9, {"p": ["other"]}) for p in note().predictions)
    changed = note(predictions=other)
    (second,) = store.commit([changed])
    assert second.predictions == first.predictions
    assert (first.first, len(first.created)) == (True, 2)
    assert (second.first, len(second.created)) == (False, 0)


def test_what_a_commit_answers_is_what_is_read_back(store: Store) -> None:
    (made,) = store.commit([note(tasks=3)])
    assert store.find(p.id for p in made.predictions) == {p.id: p for p in made.predictions}


def test_a_score_without_a_patient_is_no_assessment(store: Store) -> None:
    (plain,) = store.commit([note(subject=None)])
    (patients,) = store.commit([note("DocumentReference/2")])
    assert store.get_assessment(plain.predictions[0].id) is None
    assert store.get_assessment(patients.predictions[0].id) == patients.predictions[0]


def test_a_counter_that_fails_neither_loses_an_answer_nor_stops_the_writer(store: Store) -> None:
    def broken(*_: object) -> None:
        raise OSError("no room for metrics")

    async def check() -> None:
        group = GroupCommit(store, broken)
        for document in ("DocumentReference/1", "DocumentReference/2"):
            assert (await asyncio.wait_for(group.commit([note(document)], []), 10)).problem is None

    asyncio.run(check())


def test_the_same_note_twice_in_one_transaction_counts_once(store: Store) -> None:
    first, second = store.commit([note(), note()])
    assert first.predictions == second.predictions
    assert (first.first, second.first) == (True, False)


def test_more_tasks_of_a_known_note_do_not_count_it_again(store: Store) -> None:
    store.commit([note(tasks=1)])
    (more,) = store.commit([note(tasks=3)])
    assert len(more.created) == 2
    assert not more.first


def test_concurrent_writers_of_the_same_notes_agree(open_store: Callable[..., Store], store: Store) -> None:
    writers = [open_store() for _ in range(4)]
    barrier = threading.Barrier(4)

    def write(writer: Store) -> object:
        barrier.wait()
        notes = [note(f"DocumentReference/{i}") for i in range(20)]
        results = writer.commit(notes if writer is not writers[0] else notes[::-1])
        return sum(len(result.created) for result in results)

    with ThreadPoolExecutor(4) as pool:
        created = list(pool.map(write, writers))
    assert sum(created) == 40  # type: ignore[arg-type]


def test_nothing_is_written_when_the_transaction_fails(store: Store, url: str) -> None:
    bad = note("DocumentReference/bad", subject=None, model_version=None)
    with pytest.raises(StoreUnavailableError) as caught:
        store.commit([note(), bad], [AuditEntry("score", "test", "r", ())])
    assert "Integrity" in str(caught.value) or "NotNull" in str(caught.value)
    assert rows(url, "predictions") == rows(url, "audit") == 0


def test_outbox_rows_are_made_with_the_score_and_only_for_a_sink(
    open_store: Callable[..., Store], store: Store, url: str
) -> None:
    store.commit([note()])
    assert rows(url, "outbox") == 0
    sinking = open_store(sink="risk-assessment")
    sinking.commit([note("DocumentReference/2")])
    sinking.commit([note("DocumentReference/2")])
    assert rows(url, "outbox") == 2


def test_a_replaced_document_is_superseded_for_its_patient_alone(store: Store) -> None:
    (old,) = store.commit([note()])
    (same_id_other_patient,) = store.commit([note(note_key="k", subject="Patient/2", predictions=(
        NewPrediction("p2", "task0", 1, 0.5, {}),))])  # fmt: skip
    store.commit([note("DocumentReference/2", replaces=("DocumentReference/1",))])
    now = store.get_assessment(old.predictions[0].id)
    assert now is not None
    assert now.superseded
    assert now.last_updated_ms > old.predictions[0].last_updated_ms
    other = store.get_assessment(same_id_other_patient.predictions[0].id)
    assert other is not None
    assert not other.superseded


def test_search_pages_without_gaps_or_repeats_under_inserts(store: Store) -> None:
    for i in range(7):
        store.commit([note(f"DocumentReference/{i}")])
    seen: list[str] = []
    page = store.search(SearchQuery(count=4))
    while True:
        assert page.total >= 14
        seen += [each.id for each in page.predictions]
        store.commit([note(f"DocumentReference/new-{len(seen)}")])
        if page.after is None:
            break
        page = store.search(SearchQuery(count=4, after=page.after))
    assert len(seen) == len(set(seen)) == 14


def test_a_reader_cannot_write(open_store: Callable[..., Store], store: Store) -> None:
    reader = open_store(read_only=True)
    store.commit([note()])
    assert len(reader.search(SearchQuery()).predictions) == 2
    with pytest.raises(StoreUnavailableError):
        reader.commit([note("DocumentReference/9")])


def test_text_the_database_cannot_hold_is_a_coded_error_without_it(store: Store) -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        store.commit([note(subject="Patient/\ud800secret")])
    assert "secret" not in str(caught.value)


def test_a_locked_sqlite_is_store_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    store = Store(f"sqlite:///{path}")
    store.migrate()
    assert path.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="OperationalError") as caught:
            store.commit([note()])
        reader = Store(f"sqlite:///{path}", read_only=True)
        assert reader.find(["x"]) == {}
        reader.close()
    assert (caught.value.problem.status, caught.value.problem.code) == (503, "no-store")
    assert store.commit([note()])[0].first
    store.close()


def test_a_database_that_is_away_is_store_unavailable() -> None:
    with pytest.raises(StoreUnavailableError):
        Store("postgresql+psycopg://nobody@127.0.0.1:9/none").ping()
