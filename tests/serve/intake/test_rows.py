"""Rows of what is to be fetched: leases, tries, an end for every row, on both databases."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from serve.intake.rows import (
    MAX_TRIES,
    LeasedRow,
    NewRow,
    Settled,
    backlog,
    due,
    enqueue,
    has_old,
    listed,
    prune,
    release_all,
    replay,
    settle_and_lease,
)
from serve.store.core import Store
from tests.serve.intake.conftest import Clock

LEASE_MS = 60_000


def row(number: int, event: str = "v:1", dead_code: str | None = None) -> NewRow:
    return NewRow("ehr", f"DocumentReference/{number}", event, dead_code)


def lease(store: Store, wanted: int, *settled: Settled, name: str | None = None) -> list[LeasedRow]:
    return store.write(settle_and_lease, name or str(uuid.uuid4()), settled, wanted, LEASE_MS)


def test_the_same_event_again_is_no_second_row(store: Store) -> None:
    assert store.write(enqueue, [row(1), row(1), row(2)]) == 2
    assert store.write(enqueue, [row(1), row(1, "v:2")]) == 1
    assert store.read(backlog).pending == 3


def test_a_row_is_leased_once_until_its_lease_ends(store: Store, clock: Clock) -> None:
    store.write(enqueue, [row(1)])
    assert store.read(due)
    (first,) = lease(store, 5)
    assert first.attempts == 1
    assert lease(store, 5) == []
    assert not store.read(due)
    clock.ms += LEASE_MS
    (second,) = lease(store, 5)
    assert (second.id, second.attempts) == (first.id, 2)
    lease(store, 0, Settled(first, "done", "scored"))  # too late: the row is another's
    assert store.read(backlog).pending == 1
    lease(store, 0, Settled(second, "done", "scored"))
    assert store.read(backlog).pending == 0


def test_the_same_lease_again_gives_the_same_rows(store: Store) -> None:
    store.write(enqueue, [row(i) for i in range(6)])
    name = str(uuid.uuid4())
    first = lease(store, 3, name=name)
    assert lease(store, 3, name=name) == first
    assert len(lease(store, 6)) == 3


def test_tries_wait_count_or_do_not_count(store: Store, clock: Clock) -> None:
    store.write(enqueue, [row(1)])
    (leased,) = lease(store, 1)
    assert lease(store, 1, Settled(leased, "pending", "unavailable", wait_ms=5000)) == []
    clock.ms += 5000
    (leased,) = lease(store, 1)
    assert leased.attempts == 2
    lease(store, 0, Settled(leased, "pending", "throttled", wait_ms=1, charged=False))
    clock.ms += 10
    (leased,) = lease(store, 1)
    assert leased.attempts == 2


def test_a_row_that_ends_its_worker_each_time_is_given_up(store: Store, clock: Clock) -> None:
    store.write(enqueue, [row(1), row(2)])
    for _ in range(MAX_TRIES):
        for leased in lease(store, 2):
            if leased.reference.endswith("/2"):
                lease(store, 0, Settled(leased, "done", "scored"))
        clock.ms += LEASE_MS + 1
    assert lease(store, 2) == []
    total, shown = store.read(listed, ("dead",), (), 10)
    assert (total, shown[0].code, shown[0].resource_type) == (1, "too-costly", "DocumentReference")


def test_a_new_replica_frees_what_an_earlier_one_held(store: Store) -> None:
    store.write(enqueue, [row(i) for i in range(3)])
    lease(store, 3)
    assert store.write(release_all) == 3
    assert len(lease(store, 3)) == 3


def test_many_workers_share_the_rows_and_none_twice(
    open_store: Callable[..., Store], store: Store, turn: AbstractContextManager[object]
) -> None:
    store.write(enqueue, [row(i) for i in range(200)])
    taken: Counter[int] = Counter()
    lock = threading.Lock()

    def work(worker: Store) -> None:
        done: list[Settled] = []
        while True:
            with turn:
                rows = lease(worker, 7, *done)
            if not rows:
                return
            with lock:
                taken.update(each.id for each in rows)
            done = [Settled(each, "done", "scored") for each in rows]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [open_store() for _ in range(4)]))
    assert len(taken) == 200
    assert set(taken.values()) == {1}
    assert store.read(backlog).pending == 0


def test_dead_rows_are_listed_and_put_back_with_all_their_tries(store: Store, clock: Clock) -> None:
    store.write(enqueue, [row(1, dead_code="not-found"), row(2, dead_code="security"), row(3)])
    store.write(enqueue, [NewRow("ehr", "Xanthippe/1", "e", "security")])
    counted = store.read(backlog)
    assert (counted.pending, counted.dead) == (1, 3)
    total, shown = store.read(listed, ("dead",), ("security",), 1)
    assert (total, len(shown)) == (2, 1)
    assert {each.resource_type for each in store.read(listed, ("dead",), (), 9)[1]} == {"DocumentReference", "other"}
    assert store.write(replay, (), ("not-found",)) == 1
    assert store.write(replay, (shown[0].id,), ()) == 1
    assert store.write(replay, (), ()) == 1
    assert len(lease(store, 9)) == 4


def test_done_rows_are_forgotten_in_time_and_no_others(store: Store, clock: Clock) -> None:
    store.write(enqueue, [row(1), row(2), row(3, dead_code="not-found")])
    (first, _) = lease(store, 2)
    lease(store, 0, Settled(first, "done", "scored"))
    assert not store.read(has_old, 1000)
    clock.ms += 2000
    assert store.read(has_old, 1000)
    assert store.write(prune, 1000) == 1
    counted = store.read(backlog)
    assert (counted.pending, counted.dead) == (1, 1)
    assert counted.oldest_age_ms >= 2000
