"""Notifications of the Subscriptions R4 Backport guide (1.1): a Bundle that tells what changed.

The first entry is the status: Parameters in R4, a SubscriptionStatus in R4B and R5; both are read. Each further entry
is a changed resource, or (payload `id-only`) its URL alone; with payload `empty` there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

from fhir_adapters.errors import FhirInputError
from fhir_adapters.r4 import check_resource_type
from fhir_adapters.references import is_storable, objects, parse_instant, text_of

Kind = Literal["handshake", "heartbeat", "event-notification", "query-status", "query-event"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
STATUS_CODES: Final = ("requested", "active", "error", "off", "entered-in-error")
BUNDLE_TYPES: Final = ("history", "subscription-notification")
MAX_EVENTS: Final = 10_000
_MAX_NUMBER: Final = 2**63 - 1
_LITERAL: Final = re.compile(r"(?:^|/)([A-Z][A-Za-z]{1,63}/[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?$")
# The backport writes 64-bit integers as strings, since R4 has none; servers also send the integer types that R4 has.
_NUMBER_ELEMENTS: Final = ("valueString", "valueUnsignedInt", "valueInteger", "valuePositiveInt", "valueInteger64")


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
        raise _wrong("Bundle.type", f"is not {' or '.join(BUNDLE_TYPES)}; send a subscription notification", "invalid")
    entries = bundle.get("entry")
    if not isinstance(entries, list) or not entries:
        raise _wrong("Bundle.entry", "is missing or empty; send the subscription's status as first entry", "required")
    _check_count(len(entries), "Bundle.entry")
    status = entries[0].get("resource") if isinstance(entries[0], dict) else None
    kind = status.get("resourceType") if isinstance(status, dict) else None
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if not isinstance(status, dict) or reader is None:
        raise _wrong(f"{_STATUS}.resourceType", f"is not {' or '.join(_READERS)}; send the subscription's status first",
                     "invalid")  # fmt: skip
    return _notification(reader(status), _Entries(entries[1:]), _instant(bundle, "timestamp", "Bundle"))


_STATUS: Final = "Bundle.entry[0].resource"


@dataclass(frozen=True, slots=True)
class _Event:
    number: int
    timestamp: str | None
    references: tuple[str, ...]
    """Focus first, then additional context."""


@dataclass(frozen=True, slots=True)
class _Status:
    kind: object
    subscription: object
    topic: object
    status: object
    events_since_start: int | None
    events: tuple[_Event, ...]


def _notification(status: _Status, entries: _Entries, sent: str | None) -> Notification:
    kind = _code(status.kind, KINDS, "type")
    subscription, topic = _name(status.subscription, "subscription"), _name(status.topic, "topic")
    if subscription is None:
        raise _wrong(f"{_STATUS}", "names no subscription; send its reference", "required")
    events = tuple(
        NotificationEvent(each.number, each.timestamp, tuple(
            change for reference in each.references for change in entries.of(reference)
        ))
        for each in status.events
    )  # fmt: skip
    return Notification(
        kind=cast(Kind, kind),
        subscription=subscription,
        topic=topic,
        status=_code(status.status, STATUS_CODES, "status"),
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
                raise _wrong(where, "is not an object; correct the notification", "invalid")
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
        raise _wrong(f"{where}.resource", "is not an object; correct the notification", "invalid")
    reference = text_of(entry, "fullUrl")
    if reference is None and resource is not None:
        # Without an id there is no such reference, and yet a note that may be scored.
        reference = f"{text_of(resource, 'resourceType')}/{text_of(resource, 'id') or ''}"
    if reference is None and (url := text_of(request, "url")) and _LITERAL.search(url):
        reference = url
    if reference is None:
        return None
    if not is_storable(reference):
        raise _wrong(f"{where}.fullUrl", "is too long or holds a control character; correct it", "value")
    deleted = resource is None and isinstance(request, dict) and request.get("method") == "DELETE"
    return Change(reference, deleted, resource)


def _key(reference: str) -> str:
    found = _LITERAL.search(reference)
    return found[1] if found else reference


def _of_parameters(resource: Mapping[str, Any]) -> _Status:
    parts = _parts(resource.get("parameter"), f"{_STATUS}.parameter", repeats={"notification-event"})
    return _Status(
        kind=_value(parts, "type", "valueCode"),
        subscription=text_of(_value(parts, "subscription", "valueReference"), "reference"),
        topic=_value(parts, "topic", "valueCanonical", "valueUri"),
        status=_value(parts, "status", "valueCode"),
        events_since_start=_number(_value(parts, "events-since-subscription-start", *_NUMBER_ELEMENTS), _STATUS),
        events=tuple(_event_of_parameters(each) for each in _counted(parts.get("notification-event", []))),
    )


def _event_of_parameters(event: Mapping[str, Any]) -> _Event:
    where = f"{_STATUS}.parameter.where(name='notification-event').part"
    parts = _parts(event.get("part"), where, repeats={"additional-context"})
    focus = [_value(parts, "focus", "valueReference")]
    context = [each.get("valueReference") for each in parts.get("additional-context", [])]
    return _event(
        _value(parts, "event-number", *_NUMBER_ELEMENTS),
        _value(parts, "timestamp", "valueInstant", "valueDateTime"),
        [*focus, *context],
        where,
    )


def _of_status(resource: Mapping[str, Any]) -> _Status:
    return _Status(
        kind=resource.get("type"),
        subscription=text_of(resource.get("subscription"), "reference"),
        topic=resource.get("topic"),
        status=resource.get("status"),
        events_since_start=_number(resource.get("eventsSinceSubscriptionStart"), _STATUS),
        events=tuple(
            _event(
                event.get("eventNumber"),
                event.get("timestamp"),
                [event.get("focus"), *objects(event.get("additionalContext"))],
                f"{_STATUS}.notificationEvent",
            )
            for event in _counted(objects(resource.get("notificationEvent")))
        ),
    )


_READERS: Final = {"Parameters": _of_parameters, "SubscriptionStatus": _of_status}


def _event(number: object, timestamp: object, references: list[Any], where: str) -> _Event:
    counted = _number(number, where)
    if counted is None:
        raise _wrong(where, "has an event without a number; send event-number", "required")
    names = [name for each in references if (name := text_of(each, "reference"))]
    if not all(map(is_storable, names)):
        raise _wrong(where, "has a reference that is too long or holds a control character; correct it", "value")
    return _Event(counted, _instant({"timestamp": timestamp}, "timestamp", where), tuple(dict.fromkeys(names)))


def _parts(value: object, where: str, *, repeats: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Parameters by name. Names that we do not know are passed over: later versions of the guide add some."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for each in objects(value):
        name = text_of(each, "name")
        if name is not None:
            parts.setdefault(name, []).append(each)
    known = {"type", "subscription", "topic", "status", "events-since-subscription-start", "focus", "event-number",
             "timestamp"}  # fmt: skip
    if any(len(found) > 1 and name in known - repeats for name, found in parts.items()):
        raise _wrong(where, "has a parameter twice; send each once", "invalid")
    return parts


def _value(parts: Mapping[str, list[dict[str, Any]]], name: str, *elements: str) -> Any:
    part = parts.get(name, [{}])[0]
    return next((part[each] for each in elements if each in part), None)


def _counted(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    _check_count(len(events), _STATUS)
    return events


def _check_count(count: int, where: str) -> None:
    if count > MAX_EVENTS:
        raise FhirInputError(
            f"the notification has {count} events, over the cap of {MAX_EVENTS}; lower the subscription's max-count",
            code="too-long",
            status=413,
            expression=where,
        )


def _number(value: object, where: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_NUMBER:
        raise _wrong(where, "has an event number that is no whole number of 64 bits; correct it", "value")
    return value


def _instant(element: Mapping[str, Any], name: str, where: str) -> str | None:
    value = element.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or parse_instant(value) is None:
        raise _wrong(f"{where}.{name}", "is not an instant with time and zone; correct it", "value")
    return value


def _name(value: object, name: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value or not is_storable(value):
        raise _wrong(_STATUS, f"has a {name} that is no reference; correct it", "value")
    return value


def _code(value: object, allowed: tuple[str, ...], name: str) -> str:
    if value is None:
        raise _wrong(_STATUS, f"has no {name}; send {', '.join(allowed)}", "required")
    if not isinstance(value, str) or value not in allowed:
        raise _wrong(_STATUS, f"has a {name} that is not one of {', '.join(allowed)}; send one of them", "code-invalid")
    return value


def _wrong(where: str, complaint: str, code: str) -> FhirInputError:
    return FhirInputError(f"{where} {complaint}", code=code, expression=where)
