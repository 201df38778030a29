"""Leases on SQLite and a real PostgreSQL: one writer a key, in order, fenced."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest
from sqlalchemy import text

from serve.errors import StoreUnavailableError
from serve.outbox import letters, queue
from serve.outbox.work import After, Leased
from serve.store import standing
from serve.store.core import Store
from tests.serve.outbox.rig import Rig, scored

LEASE_MS = 1000


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(open_outbox: Callable[..., Store], url: str, clock: Clock) -> Store:
    return open_outbox(url, clock_ms=clock)


def take(store: Store, limit: int = 100, *, tries: int = 8, lease_ms: int = LEASE_MS) -> list[Leased]:
    return store.write(queue.lease, str(uuid.uuid4()), limit, lease_ms, tries)


def finish(store: Store, leased: Leased, reference: str = "RiskAssessment/1") -> bool:
    return store.write(queue.finish, leased, leased.predictions, reference, "outbox")


def fail(store: Store, leased: Leased, after: After = After.TRY_AGAIN, delay_ms: int = 0) -> list[str]:
    return store.write(queue.fail, leased, "unavailable/500/exception", after, delay_ms, 8)


def test_a_key_is_held_until_it_is_given_back_or_its_lease_runs_out(store: Store, clock: Clock) -> None:
    store.commit([scored("a", tasks=2)])
    held = take(store)
    assert len({each.key for each in held}) == 2
    assert not any(each.unsure for each in held)
    assert take(store) == []
    assert not store.read(queue.has_due)
    clock.ms += LEASE_MS
    assert store.read(queue.has_due)
    again = take(store)
    assert {each.key for each in again} == {each.key for each in held}
    # Nobody knows how the lost writer's try ended.
    assert all((each.unsure, each.attempts) == (True, 1) for each in again)


def test_a_writer_that_lost_its_lease_can_end_nothing(store: Store, clock: Clock) -> None:
    store.commit([scored("a", tasks=1)])
    (old,) = take(store)
    clock.ms += LEASE_MS
    (new,) = take(store)
    rig = Rig(store, "")
    assert not finish(store, old)
    assert fail(store, old) == []
    assert store.write(queue.extend, [old], LEASE_MS) == []
    assert rig.statuses() == ["pending"]
    assert not rig.audits()
    assert finish(store, new)
    assert rig.statuses() == ["done"]


def test_a_writer_does_not_take_what_it_is_still_at_work_on(store: Store, clock: Clock) -> None:
    store.commit([scored("a", tasks=1)])
    (held,) = take(store)
    clock.ms += LEASE_MS
    assert store.write(queue.lease, "again", 9, LEASE_MS, 8, (held.key,)) == []
    assert finish(store, held)


def test_a_lease_can_be_extended(store: Store, clock: Clock) -> None:
    store.commit([scored("a", tasks=1)])
    (held,) = take(store)
    clock.ms += LEASE_MS - 1
    assert store.write(queue.extend, [held], LEASE_MS) == list(held.rows)
    clock.ms += LEASE_MS - 1
    assert take(store) == []
    assert finish(store, held)


def test_an_end_is_recorded_once_with_its_audit_however_often_it_is_told(store: Store) -> None:
    store.commit([scored("a", tasks=1)])
    (held,) = take(store)
    assert finish(store, held)
    assert finish(store, held)
    rig = Rig(store, "")
    (row,), (audit,) = rig.rows(), rig.audits()
    assert (row.status, row.reference, row.last_error) == ("done", "RiskAssessment/1", None)
    assert row.done_ms is not None
    assert (audit.source, audit.request_id, audit.prediction_ids) == ("outbox", held.token, [row.prediction_id])


def test_a_later_version_waits_for_the_earlier_one(store: Store, clock: Clock) -> None:
    store.commit([scored("a", tasks=1)])
    (first,) = take(store)
    store.write(standing.retract, "test", "DocumentReference/a", "Patient/1")
    assert take(store) == [], "the key is held"
    fail(store, first, delay_ms=500)
    assert take(store) == [], "the earlier version is not due"
    clock.ms += 500
    (both,) = take(store)
    assert len(both.rows) == 2
    assert finish(store, both)
    assert Rig(store, "").statuses() == ["done", "done"]


def test_a_version_that_came_during_a_write_stays_for_the_next_one(store: Store) -> None:
    store.commit([scored("a", tasks=1)])
    (first,) = take(store)
    store.write(standing.retract, "test", "DocumentReference/a", "Patient/1")
    assert finish(store, first)
    assert Rig(store, "").statuses() == ["done", "pending"]
    (second,) = take(store)
    assert store.read(queue.load, second).reference == "RiskAssessment/1"


def test_a_report_is_one_key_for_all_scores_of_a_note_and_model(open_outbox: Callable[..., Store], url: str) -> None:
    store = open_outbox(url, "document-report")
    store.commit([scored("a", tasks=3), scored("b", tasks=2)])
    first, second = take(store)
    assert sorted((len(first.rows), len(second.rows))) == [2, 3]
    store.commit([scored("a", tasks=5)])
    assert take(store) == [], "more scores of a note whose report is being written"
    longer = max(first, second, key=lambda each: len(each.rows))
    content = store.read(queue.load, longer)
    assert len(content.predictions) == 5, "what is written is what the store holds now"
    assert store.write(queue.finish, longer, content.predictions, "DocumentReference/9", "outbox")
    (rest,) = take(store)
    assert (len(rest.rows), store.read(queue.load, rest).reference) == (2, "DocumentReference/9")


def test_tries_are_counted_until_the_letter_is_dead(store: Store) -> None:
    store.commit([scored("a", tasks=1)])
    for left in reversed(range(8)):
        (held,) = take(store)
        assert fail(store, held) == (["pending"] if left else ["dead"])
    assert take(store) == []
    assert store.read(letters.backlog).dead == 1


def test_waiting_uses_no_try_and_a_refusal_is_dead_at_once(store: Store, clock: Clock) -> None:
    store.commit([scored("a", tasks=1)])
    for _ in range(20):
        (held,) = take(store)
        assert fail(store, held, After.WAIT, delay_ms=10) == ["pending"]
        clock.ms += 10
    (held,) = take(store)
    assert held.attempts == 0
    assert fail(store, held, After.DEAD) == ["dead"]


def test_a_row_whose_writers_die_of_it_ends_as_a_dead_letter(store: Store, clock: Clock) -> None:
    store.commit([scored("a", tasks=1)])
    for _ in range(3):
        take(store, tries=3)
        clock.ms += LEASE_MS
    assert take(store, tries=3) == []
    (row,) = Rig(store, "").rows()
    assert (row.status, row.last_error, row.lease) == ("dead", queue.WRITER_LOST, None)


def test_dead_letters_are_replayed_with_all_tries_and_looked_for_first(store: Store) -> None:
    store.commit([scored("a", tasks=2)])
    for held in take(store):
        fail(store, held, After.DEAD)
    first, second = (each.id for each in store.read(letters.letters, ["dead"], 10))
    assert store.write(letters.replay, [first, 999]) == [first]
    (held,) = take(store)
    assert (held.rows, held.attempts, held.unsure) == ((first,), 0, True)
    assert store.write(letters.replay, None) == [second]


def test_a_write_that_succeeds_covers_dead_letters_of_its_resource(store: Store) -> None:
    store.commit([scored("a", tasks=1)])
    (held,) = take(store)
    fail(store, held, After.DEAD)
    store.write(standing.retract, "test", "DocumentReference/a", "Patient/1")
    (later,) = take(store)
    assert len(later.rows) == 1
    assert finish(store, later)
    assert Rig(store, "").statuses() == ["done", "done"]


def test_a_change_of_standing_goes_where_the_score_went(open_outbox: Callable[..., Store], url: str) -> None:
    open_outbox(url, "risk-assessment").commit([scored("a", tasks=1)])
    other = open_outbox(url, "observation")
    other.commit([scored("b", tasks=1, replaces=("DocumentReference/a",))])
    none = open_outbox(url, None)
    none.write(standing.retract, "test", "DocumentReference/a", "Patient/1")
    assert [(row.sink, row.version) for row in Rig(none, "").rows()] == [
        ("risk-assessment", 1), ("observation", 1), ("risk-assessment", 2), ("risk-assessment", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("sink", ["risk-assessment", "document-report"])
def test_two_writers_never_hold_one_key(open_outbox: Callable[..., Store], url: str, sink: str) -> None:
    store = open_outbox(url, sink)
    store.commit([scored(f"n{i}", tasks=3) for i in range(20)])
    barrier = threading.Barrier(4)

    def grab(_: int) -> list[str]:
        own, taken = open_outbox(url, sink), []
        barrier.wait()
        while own.read(queue.has_due):
            # SQLite lets others wait for two seconds: a busy machine needs more.
            with suppress(StoreUnavailableError):
                taken += [each.key for each in take(own, 3, lease_ms=600_000)]
        return taken

    with ThreadPoolExecutor(4) as pool:
        keys = [key for taken in pool.map(grab, range(4)) for key in taken]
    assert len(keys) == len(set(keys)) == (60 if sink == "risk-assessment" else 20)


def test_rows_of_one_report_that_two_writers_find_are_held_by_one(
    open_outbox: Callable[..., Store], postgres_url: str, url: str
) -> None:
    if url.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time")
    store = open_outbox(url, "document-report")
    store.commit([scored("a", tasks=1)])
    store.commit([scored("a", tasks=2)])
    other = open_outbox(url, "document-report")
    with store._engine.begin() as connection:
        transaction = store._transaction(connection)
        (held,) = queue.lease(transaction, "first", 1, LEASE_MS, 8)
        assert len(held.rows) == 2
        # A row that was committed late has the lower id here; the key is what must not be taken twice.
        late = replace(scored("a", tasks=1, first_task=2))
        other.commit([late])
        assert take(other) == []
    assert take(other) == [], "the key is held after the commit as well"


def test_pauses_are_kept_for_every_process(store: Store) -> None:
    assert store.read(letters.pause) is None
    store.write(letters.set_pause, "unavailable/503")
    assert store.read(letters.pause) == "unavailable/503"
    store.write(letters.set_pause, None)
    assert store.read(letters.pause) is None


def test_the_backlog_tells_the_oldest(store: Store, clock: Clock) -> None:
    empty = store.read(letters.backlog)
    assert (empty.pending, empty.dead, empty.oldest_ms) == (0, 0, None)
    store.commit([scored("a", tasks=2)])
    first_ms = clock.ms
    clock.ms += 50
    store.commit([scored("b", tasks=1)])
    now = store.read(letters.backlog)
    assert (now.pending, now.dead, now.oldest_ms) == (3, 0, first_ms)


def test_a_lease_reads_no_row_that_is_done(sqlite_url: str, open_outbox: Callable[..., Store]) -> None:
    store = open_outbox(sqlite_url)
    from sqlalchemy.dialects import sqlite

    with store._engine.connect() as connection:
        statement = queue._due(store._transaction(connection)).limit(8)
        shown = str(statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
        plan = " ".join(row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {shown}")))
    assert "ix_outbox_due" in plan
    assert "TEMP B-TREE" not in plan
