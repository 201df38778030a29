"""Notifications of the Subscriptions R4 Backport guide (1.1): a Bundle that tells what changed.

The first entry is the status: Parameters in R4, a SubscriptionStatus in R4B and R5; both are read. Each further entry
is a changed resource, or (payload `id-only`) its URL alone; with payload `empty` there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from fhir_adapters.r4 import check_resource_type
from fhir_adapters.references import is_storable, text_of
from fhir_adapters.subscription_status import (
    STATUS_PATH,
    Kind,
    SubscriptionStatus,
    check_count,
    read_instant,
    read_status,
    wrong,
)

BUNDLE_TYPES: Final = ("history", "subscription-notification")
_LITERAL: Final = re.compile(r"(?:^|/)([A-Z][A-Za-z]{1,63}/[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?$")


@dataclass(frozen=True, slots=True)
class Change:
    """A resource that an event names. `reference` is as the server wrote it; it is PHI and never goes into a log."""

    reference: str
    deleted: bool = False
    resource: dict[str, Any] | None = None
    """The whole resource, with payload `full-resource`."""

    @property
    def literal(self) -> str | None:
        """`Type/id`, whatever stands before it; None for a reference that names no resource of a FHIR server."""
        found = _LITERAL.search(self.reference)
        return found[1] if found else None


@dataclass(frozen=True, slots=True)
class NotificationEvent:
    """One event. Numbers count up from 1 within a subscription; without changes the payload was `empty`."""

    number: int
    timestamp: str | None
    """FHIR instant, as sent."""
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Notification:
    """A checked notification."""

    kind: Kind
    subscription: str
    """The Subscription's reference, as sent."""
    topic: str | None
    """Canonical URL."""
    status: str
    events_since_start: int | None
    """How many events there were since the subscription began, those of this notification counted."""
    events: tuple[NotificationEvent, ...]
    others: tuple[Change, ...] = ()
    """Resources of the Bundle that no event names."""
    sent: str | None = None
    """FHIR instant of the Bundle: the server's own clock."""

    @property
    def changes(self) -> tuple[Change, ...]:
        """Everything that changed, in the order of the events."""
        return tuple(change for event in self.events for change in event.changes) + self.others


def parse_notification(bundle: dict[str, Any]) -> Notification:
    """Check a notification Bundle. The resources in it are not looked into.

    Raises FhirInputError: 422 invalid (no Bundle, another first entry, a part twice or of a wrong type), required
    (no entry, no type, subscription or event number), code-invalid (an unknown type or status), value (a number or an
    instant that is none), 413 too-long over MAX_EVENTS events or entries.
    """
    check_resource_type(bundle, "Bundle")
    if bundle.get("type") not in BUNDLE_TYPES:
        raise wrong("Bundle.type", f"is not {' or '.join(BUNDLE_TYPES)}; send a subscription notification", "invalid")
    entries = bundle.get("entry")
    if not isinstance(entries, list) or not entries:
        raise wrong("Bundle.entry", "is missing or empty; send the subscription's status as first entry", "required")
    check_count(len(entries), "Bundle.entry")
    first = entries[0].get("resource") if isinstance(entries[0], dict) else None
    if not isinstance(first, dict):
        raise wrong(STATUS_PATH, "is missing; send the subscription's status as first entry", "invalid")
    return _notification(read_status(first), _Entries(entries[1:]), read_instant(bundle, "timestamp", "Bundle"))


def _notification(status: SubscriptionStatus, entries: _Entries, sent: str | None) -> Notification:
    events = tuple(
        NotificationEvent(each.number, each.timestamp, tuple(
            change for reference in each.references for change in entries.of(reference)
        ))
        for each in status.events
    )  # fmt: skip
    return Notification(
        kind=cast(Kind, status.kind),
        subscription=status.subscription,
        topic=status.topic,
        status=status.status,
        events_since_start=status.events_since_start,
        events=events,
        others=tuple(entries.unnamed({reference for each in status.events for reference in each.references})),
        sent=sent,
    )


class _Entries:
    """The changed resources of a Bundle, by the resource that they are of."""

    def __init__(self, entries: list[Any]) -> None:
        self._of: dict[str, list[Change]] = {}
        for index, entry in enumerate(entries, 1):
            where = f"Bundle.entry[{index}]"
            if not isinstance(entry, dict):
                raise wrong(where, "is not an object; correct the notification", "invalid")
            if (change := _change(entry, where)) is not None:
                self._of.setdefault(_key(change.reference), []).append(change)

    def of(self, reference: str) -> list[Change]:
        """What the Bundle says of a reference: whole resources, a deletion, or the reference alone."""
        found = self._of.get(_key(reference), [])
        whole = [each for each in found if each.resource is not None]
        # Of several entries the last tells how it stands now; every version is kept, since each may be scored.
        if found and found[-1].deleted:
            return [found[-1]]
        return whole or [Change(reference)]

    def unnamed(self, named: set[str]) -> Iterator[Change]:
        known = {_key(each) for each in named}
        for key, changes in self._of.items():
            if key not in known:
                yield from self.of(changes[-1].reference)


def _change(entry: Mapping[str, Any], where: str) -> Change | None:
    resource, request = entry.get("resource"), entry.get("request")
    if resource is not None and not isinstance(resource, dict):
        raise wrong(f"{where}.resource", "is not an object; correct the notification", "invalid")
    reference = text_of(entry, "fullUrl")
    if reference is None and resource is not None:
        # Without an id there is no such reference, and yet a note that may be scored.
        reference = f"{text_of(resource, 'resourceType')}/{text_of(resource, 'id') or ''}"
    if reference is None and (url := text_of(request, "url")) and _LITERAL.search(url):
        reference = url
    if reference is None:
        return None
    if not is_storable(reference):
        raise wrong(f"{where}.fullUrl", "is too long or holds a control character; correct it", "value")
    deleted = resource is None and isinstance(request, dict) and request.get("method") == "DELETE"
    return Change(reference, deleted, resource)


def _key(reference: str) -> str:
    found = _LITERAL.search(reference)
    return found[1] if found else reference
