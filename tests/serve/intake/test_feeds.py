"""What a notification changes in the database: rows, retractions and the cursor, all or nothing, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest

from serve.errors import StoreUnavailableError
from serve.intake.feeds import (
    Arrival,
    NamedResource,
    enqueue_found,
    heal,
    read_cursor,
    record_notification,
    subscriptions,
)
from serve.intake.rows import NewRow, backlog
from serve.intake.subscription_state import Sighting
from serve.store.core import Store
from tests.serve.intake.conftest import Clock


def arrival(kind: str, *numbers: int, since: int | None = None, subscription: str = "s") -> Arrival:
    named = tuple(NamedResource(f"DocumentReference/{number}", f"{number}:") for number in numbers)
    seen = Sighting(kind, subscription, "t", "active", numbers, since, False, None)  # type: ignore[arg-type]
    return Arrival("ehr", "r", seen, named)


def test_the_same_event_is_one_row_and_after_another_start_another(store: Store) -> None:
    store.write(record_notification, arrival("handshake", since=0))
    assert store.write(record_notification, arrival("event-notification", 1, since=1)).queued == 1
    assert store.write(record_notification, arrival("event-notification", 1, since=1)).queued == 0
    assert store.write(record_notification, arrival("event-notification", 1, since=1, subscription="other")).queued == 1
    store.write(record_notification, arrival("handshake", since=0))
    assert store.write(record_notification, arrival("event-notification", 1, since=1)).queued == 1
    assert len(store.read(subscriptions)) == 2


def test_a_notification_that_cannot_be_recorded_whole_changes_nothing(store: Store) -> None:
    store.write(record_notification, arrival("handshake", since=0))
    named = (NamedResource("DocumentReference/1", "1:"), NamedResource("DocumentReference/\ud800", "1:"))
    bad = replace(arrival("event-notification", 1, since=1), named=named)
    with pytest.raises(StoreUnavailableError):
        store.write(record_notification, bad)
    assert store.read(backlog).pending == 0
    assert store.read(subscriptions)[0][1].last == 0


def test_ingress_replicas_that_write_at_once_lose_no_event(
    open_store: Callable[..., Store], store: Store, turn: AbstractContextManager[object]
) -> None:
    store.write(record_notification, arrival("handshake", since=0))
    barrier = threading.Barrier(4)

    def tell(place: int) -> None:
        writer = open_store()
        barrier.wait()
        for number in range(place + 1, 41, 4):
            with turn:
                writer.write(record_notification, arrival("event-notification", number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tell, range(4)))
    ((_, state),) = store.read(subscriptions)
    assert (state.last, state.gaps) == (40, ())
    assert store.read(backlog).pending == 40


def test_a_gap_is_missed_until_a_search_that_began_after_it_was_known(store: Store, clock: Clock) -> None:
    store.write(record_notification, arrival("handshake", since=0))
    before = clock.ms
    assert store.write(record_notification, arrival("event-notification", 3, since=3)).missing == 2
    ((name, _),) = store.read(subscriptions)
    store.write(heal, name, before)
    assert store.read(subscriptions)[0][1].missed == 2
    store.write(heal, name, clock.ms)
    assert store.read(subscriptions)[0][1].missed == 0


def test_what_a_search_found_and_how_far_it_came_are_kept_together(store: Store) -> None:
    rows = [NewRow("ehr", "DocumentReference/1", "v:1")]
    assert store.read(read_cursor, "poll:x") is None
    assert store.write(enqueue_found, rows, "poll:x", {"since_ms": 5}) == 1
    assert store.write(enqueue_found, rows, "poll:x", {"since_ms": 6}) == 0
    assert store.read(read_cursor, "poll:x") == {"since_ms": 6}
    assert store.read(subscriptions) == []
