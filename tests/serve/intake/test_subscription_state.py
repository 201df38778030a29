"""Which events of a subscription are missing: gaps, overtaking, repeats, a count that begins anew."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from serve.intake.subscription_state import Sighting, SubscriptionState, observe


def seen(kind: str = "event-notification", *numbers: int, since: int | None = None, empty: bool = False,
         sent_ms: int | None = None) -> Sighting:  # fmt: skip
    return Sighting(kind, "s", None, "active", numbers, since, empty, sent_ms)  # type: ignore[arg-type]


def after(*sightings: Sighting, state: SubscriptionState | None = None) -> SubscriptionState:
    """One a second, from second 1."""
    for second, each in enumerate(sightings, 1):
        state = observe(state, each, second * 1000)
    assert state is not None
    return state


def missing(state: SubscriptionState) -> list[int]:
    return [number for gap in state.gaps for number in range(gap.first, gap.last + 1)]


def test_events_in_order_leave_nothing_missing() -> None:
    state = after(seen("handshake", since=0), seen("event-notification", 1, since=1), seen("event-notification", 2, 3))
    assert (state.last, missing(state), state.search_due(10**9, 0), state.good_ms) == (3, [], False, 3000)


def test_a_missed_event_is_known_from_the_next_one_or_from_a_heartbeat() -> None:
    begun = after(seen("handshake", since=0), seen("event-notification", 1, since=1))
    by_event = observe(begun, seen("event-notification", 4, since=4), 5000)
    by_heartbeat = observe(begun, seen("heartbeat", since=3), 5000)
    assert missing(by_event) == missing(by_heartbeat) == [2, 3]
    assert by_event.good_ms == 2000
    assert not by_event.search_due(5999, 1000)
    assert by_event.search_due(6000, 1000)


def test_an_event_that_was_overtaken_fills_its_gap() -> None:
    state = after(seen("handshake", since=0), seen("event-notification", 3, since=3), seen("event-notification", 1))
    assert missing(state) == [2]
    state = observe(state, seen("event-notification", 2), 4000)
    assert (missing(state), state.good_ms) == ([], 4000)


def test_repeats_change_nothing() -> None:
    state = after(seen("handshake", since=0), seen("event-notification", 1, 2), seen("event-notification", 1, since=2))
    assert (state.last, missing(state), state.epoch) == (2, [], 1)


def test_a_search_heals_what_was_missing_before_it_began() -> None:
    state = after(seen("handshake", since=0), seen("event-notification", 3, since=3))
    state = observe(state, seen("event-notification", 6, since=6), 9000)
    half = state.healed(5000)
    assert (missing(half), half.good_ms) == ([4, 5], 1000)
    whole = state.healed(9500)
    assert (missing(whole), whole.good_ms) == ([], 9500)


def test_an_event_without_content_asks_for_a_search_at_once() -> None:
    state = after(seen("handshake", since=0), seen("event-notification", 1, since=1, empty=True))
    assert state.search_due(2000, 10**9)
    assert not state.healed(2001).search_due(10**9, 0)


def test_a_second_handshake_is_another_start_and_asks_for_what_happened_in_between() -> None:
    state = after(seen("handshake", since=0), seen("event-notification", 1, 2, since=2), seen("handshake", since=0))
    assert (state.epoch, state.last, state.good_ms) == (2, 0, 2000)
    assert state.search_due(3000, 10**9)


def test_a_count_that_went_back_is_another_start_and_a_late_notification_is_not() -> None:
    begun = after(seen("handshake", since=0, sent_ms=10), seen("event-notification", 1, 2, 3, since=3, sent_ms=30))
    late = observe(begun, seen("heartbeat", since=1, sent_ms=20), 9000)
    assert (late.epoch, late.last) == (1, 3)
    anew = observe(begun, seen("event-notification", 1, since=1, sent_ms=40), 9000)
    assert (anew.epoch, anew.last, missing(anew)) == (2, 1, [])
    assert anew.search_due(9000, 10**9)


def test_the_first_that_is_heard_of_a_subscription_may_be_any_event() -> None:
    assert missing(after(seen("event-notification", 7, since=7))) == []
    assert missing(after(seen("heartbeat", since=7), seen("event-notification", 9, since=9))) == [8]


@settings(max_examples=150, deadline=None)
@given(st.permutations(range(1, 25)), st.sets(st.integers(1, 24), max_size=8))
def test_whatever_the_order_what_is_missing_is_what_never_arrived(order: list[int], lost: set[int]) -> None:
    state = after(seen("handshake", since=0), *(seen("event-notification", n) for n in order if n not in lost),
                  seen("heartbeat", since=24))  # fmt: skip
    assert missing(state) == sorted(lost)
    assert state.missed == len(lost)
    assert SubscriptionState.from_json(state.to_json()) == state


def test_very_many_gaps_become_one() -> None:
    state = after(seen("handshake", since=0), *(seen("event-notification", n) for n in range(2, 1000, 2)))
    assert len(state.gaps) <= 100
    assert replace(state, gaps=()).missed == 0
    assert state.gaps[0].first == 1
