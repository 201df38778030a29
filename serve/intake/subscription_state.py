"""How far a subscription's events came: which numbers are missing, and since when nothing is known to be missing.

Events are numbered without gaps within a subscription, but notifications may overtake each other, and a subscription
that is switched on again may count from 1. Times are milliseconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fhir_adapters.subscription_status import Kind

# Intervals beyond this are one: what heals them is one search in any case.
_MAX_INTERVALS = 100


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers `first` to `last` did not arrive; known since `noted_ms`."""

    first: int
    last: int
    noted_ms: int


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """What the cursor row of a subscription holds."""

    subscription: str
    topic: str | None
    status: str
    epoch: int
    """Counts the starts of the subscription: event 1 of another start is another event."""
    last: int | None
    """Highest number that is known of."""
    gaps: tuple[Gap, ...]
    asked_ms: int | None
    """When a search was asked for in any case: an event without content, or a start after a time without events."""
    good_ms: int
    """Until then nothing was missed: a search reads from here."""
    seen_ms: int
    """Of the last notification, by this service's clock."""
    sent_ms: int | None
    """The same by the server's clock."""

    def to_json(self) -> dict[str, Any]:
        """For the cursor row."""
        return {
            "subscription": self.subscription, "topic": self.topic, "status": self.status, "epoch": self.epoch,
            "last": self.last, "gaps": [[gap.first, gap.last, gap.noted_ms] for gap in self.gaps],
            "asked_ms": self.asked_ms, "good_ms": self.good_ms, "seen_ms": self.seen_ms, "sent_ms": self.sent_ms,
        }  # fmt: skip

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> SubscriptionState:
        """The inverse of `to_json`."""
        return cls(**{**state, "gaps": tuple(Gap(*each) for each in state["gaps"])})

    @property
    def missed(self) -> int:
        """How many events are missing."""
        return sum(gap.last - gap.first + 1 for gap in self.gaps)

    def search_due(self, now_ms: int, wait_ms: int) -> bool:
        """Whether what is missing should be searched for: overtaken notifications get `wait_ms` to arrive."""
        return self.asked_ms is not None or any(now_ms - gap.noted_ms >= wait_ms for gap in self.gaps)

    def healed(self, began_ms: int) -> SubscriptionState:
        """After a search that began then found all that changed since `good_ms`."""
        gaps = tuple(gap for gap in self.gaps if gap.noted_ms > began_ms)
        asked = self.asked_ms if self.asked_ms is not None and self.asked_ms > began_ms else None
        good = self.good_ms if gaps or asked is not None else max(self.good_ms, began_ms)
        return replace(self, gaps=gaps, asked_ms=asked, good_ms=good)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a notification says about the subscription itself."""

    kind: Kind
    subscription: str
    topic: str | None
    status: str
    numbers: tuple[int, ...]
    since_start: int | None
    without_content: bool
    """Whether an event named no resource."""
    sent_ms: int | None


def observe(state: SubscriptionState | None, seen: Sighting, now_ms: int) -> SubscriptionState:
    """The state after a notification."""
    at_ms = now_ms if seen.sent_ms is None else min(now_ms, seen.sent_ms)
    if state is None:
        before = min(seen.numbers, default=1) - 1 if seen.kind != "handshake" else 0
        start = (seen.since_start or 0) if not seen.numbers else before
        state = SubscriptionState(seen.subscription, seen.topic, seen.status, 1, start, (), None, at_ms, now_ms, None)
    elif seen.kind == "handshake":
        # What happened while it was off was told to nobody.
        state = replace(state, epoch=state.epoch + 1, last=seen.since_start or 0, gaps=(), asked_ms=now_ms)
    elif _counts_anew(state, seen):
        first = min(seen.numbers, default=(seen.since_start or 0) + 1)
        state = replace(state, epoch=state.epoch + 1, last=first - 1, gaps=(), asked_ms=now_ms)
    for number in sorted({*seen.numbers, *([seen.since_start] if seen.since_start is not None else [])}):
        state = _count(state, number, arrived=number in seen.numbers, now_ms=now_ms)
    if seen.without_content and state.asked_ms is None:
        state = replace(state, asked_ms=now_ms)
    whole = not state.gaps and state.asked_ms is None
    return replace(
        state,
        topic=seen.topic or state.topic,
        status=seen.status,
        good_ms=max(state.good_ms, at_ms) if whole else state.good_ms,
        seen_ms=now_ms,
        sent_ms=state.sent_ms if seen.sent_ms is None else max(state.sent_ms or 0, seen.sent_ms),
    )


def _counts_anew(state: SubscriptionState, seen: Sighting) -> bool:
    """Whether the server's count went back, and not just a notification came late."""
    if state.last is None or seen.since_start is None or seen.since_start >= state.last:
        return False
    return seen.sent_ms is not None and state.sent_ms is not None and seen.sent_ms > state.sent_ms


def _count(state: SubscriptionState, number: int, *, arrived: bool, now_ms: int) -> SubscriptionState:
    last = number if state.last is None else state.last
    gaps = state.gaps
    if number > last:
        # Told of by the count alone, the last one is missing too.
        missing_to = number - 1 if arrived else number
        if missing_to > last:
            gaps = (*gaps, Gap(last + 1, missing_to, now_ms))
        last = number
    elif arrived:
        gaps = tuple(_without(gaps, number))
    return replace(state, last=last, gaps=_few(gaps))


def _without(gaps: Iterable[Gap], number: int) -> Iterable[Gap]:
    for gap in gaps:
        if not gap.first <= number <= gap.last:
            yield gap
            continue
        if gap.first < number:
            yield replace(gap, last=number - 1)
        if number < gap.last:
            yield replace(gap, first=number + 1)


def _few(gaps: tuple[Gap, ...]) -> tuple[Gap, ...]:
    if len(gaps) <= _MAX_INTERVALS:
        return gaps
    return (Gap(gaps[0].first, gaps[-1].last, min(gap.noted_ms for gap in gaps)),)
