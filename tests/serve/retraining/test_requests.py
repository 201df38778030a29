"""Requests in the database: one open at a time, one a model and cool-down, a lease that one holder has."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from serve.retraining.requests import (
    NewRequest,
    Request,
    ask,
    begin_schedule,
    begin_try,
    counted,
    end_try,
    has_open,
    lease_open,
    listed,
    schedule_since,
    uncharge,
)
from serve.store.core import Store
from tests.serve.retraining.parts import BUNDLE, DAY_MS, new

COOLDOWN = 14 * DAY_MS


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(open_store: Callable[..., Store], clock: Clock) -> Store:
    return open_store(clock_ms=clock)


def leased(store: Store, lease: str = "a", lease_ms: int = 60_000) -> Request:
    found = store.write(lease_open, lease, lease_ms)
    assert found is not None
    return found


def close(store: Store, status: str = "done") -> None:
    store.write(end_try, leased(store), "a", status, status)


def test_repeated_alerts_join_the_open_request_and_then_wait_for_the_cooldown(store: Store, clock: Clock) -> None:
    first = store.write(ask, new("r1"), COOLDOWN)
    assert (first.id, first.outcome) == ("r1", "requested")
    assert store.write(ask, new("r2"), COOLDOWN).outcome == "joined"
    assert store.write(ask, new("r2", "person"), COOLDOWN).id == "r1"
    close(store)
    clock.ms += COOLDOWN - 1
    answer = store.write(ask, new("r3"), COOLDOWN)
    assert (answer.id, answer.outcome) == ("r1", "cooling")
    assert store.write(ask, new("r3", "schedule"), COOLDOWN).outcome == "cooling"
    clock.ms += 1
    assert store.write(ask, new("r4"), COOLDOWN).outcome == "requested"
    assert [each.id for each in store.read(listed, 10)] == ["r4", "r1"]


def test_another_model_and_a_person_need_no_cooldown(store: Store, clock: Clock) -> None:
    store.write(ask, new("r1"), COOLDOWN)
    close(store, "failed")
    assert store.write(ask, new("r2"), COOLDOWN).outcome == "cooling"
    assert store.write(ask, new("r3", bundle="c" * 64), COOLDOWN).outcome == "requested"
    close(store)
    assert store.write(ask, new("r4", "person"), COOLDOWN).outcome == "requested"


def test_asking_again_because_an_answer_was_lost_asks_once(store: Store) -> None:
    for _ in range(2):
        assert store.write(ask, new("r1"), COOLDOWN).outcome == "requested"
    assert len(store.read(listed, 10)) == 1


def test_words_are_one_printable_line(store: Store) -> None:
    asked = NewRequest("r1", "person", "a\x1bb\n", "  two\r\nlines\x00 ", "1.0.0", BUNDLE)
    store.write(ask, asked, 0)
    (row,) = store.read(listed, 1)
    assert (row.asked_by, row.reason) == ("a b", "two lines")


def test_many_at_once_make_one_request(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda i: store.write(ask, new(f"r{i}", "person"), 0), range(16)))
    assert sorted(each.outcome for each in answers) == ["joined"] * 15 + ["requested"]
    assert len({each.id for each in answers}) == 1


def test_a_lease_is_one_holders_until_it_is_late(store: Store, clock: Clock) -> None:
    assert not store.read(has_open)
    store.write(ask, new("r1"), COOLDOWN)
    assert store.read(has_open)
    leased(store, "a", 60_000)
    assert store.write(lease_open, "b", 60_000) is None
    clock.ms += 59_000
    leased(store, "a", 60_000)
    clock.ms += 59_000
    assert store.write(lease_open, "b", 60_000) is None
    clock.ms += 1_001
    mine = leased(store, "b")
    # The late one can neither begin nor end anything.
    assert store.write(begin_try, mine, "a") is None
    store.write(end_try, mine, "a", "done", "done")
    assert store.read(listed, 1)[0].status == "requested"
    assert store.write(begin_try, mine, "b") is not None


def test_a_try_is_counted_once_and_a_stopped_one_not_at_all(store: Store) -> None:
    store.write(ask, new("r1"), COOLDOWN)
    request = leased(store)
    first = store.write(begin_try, request, "a")
    again = store.write(begin_try, request, "a")
    assert first == again
    assert first is not None
    assert (first.attempts, first.status) == (1, "running")
    for _ in range(2):
        store.write(uncharge, first, "a")
    (row,) = store.read(listed, 1)
    assert (row.attempts, row.status, row.code) == (0, "requested", "let-go")
    assert store.write(begin_try, row, "a") is not None


def test_counts_and_ends(store: Store, clock: Clock) -> None:
    store.write(ask, new("r1"), 0)
    assert store.read(counted).by_status == {"requested": 1, "running": 0, "done": 0, "failed": 0, "held": 0}
    close(store, "failed")
    clock.ms += 5
    store.write(ask, new("r2"), 0)
    close(store, "held")
    found = store.read(counted)
    assert found.by_status["failed"] == found.by_status["held"] == 1
    assert found.last_end_ms["held"] - found.last_end_ms["failed"] == 5


def test_the_schedule_counts_from_its_begin_and_then_from_the_last_request(store: Store, clock: Clock) -> None:
    assert store.read(schedule_since) is None
    began = clock.ms
    store.write(begin_schedule)
    clock.ms += DAY_MS
    store.write(begin_schedule)
    assert store.read(schedule_since) == began
    store.write(ask, new("r1", bundle=BUNDLE), 0)
    assert store.read(schedule_since) == clock.ms
