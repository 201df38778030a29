"""The status of a subscription at the head of its notifications: Parameters in R4, SubscriptionStatus in R4B and R5."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from fhir_adapters.errors import FhirInputError
from fhir_adapters.references import is_storable, objects, parse_instant, text_of

Kind = Literal["handshake", "heartbeat", "event-notification", "query-status", "query-event"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
STATUS_CODES: Final = ("requested", "active", "error", "off", "entered-in-error")
MAX_EVENTS: Final = 10_000
STATUS_PATH: Final = "Bundle.entry[0].resource"
_MAX_NUMBER: Final = 2**63 - 1
# The backport writes 64-bit integers as strings, since R4 has none; servers also send the integer types that R4 has.
_NUMBER_ELEMENTS: Final = ("valueString", "valueUnsignedInt", "valueInteger", "valuePositiveInt", "valueInteger64")


@dataclass(frozen=True, slots=True)
class EventStatus:
    """An event as the status tells it."""

    number: int
    timestamp: str | None
    references: tuple[str, ...]
    """Focus first, then additional context."""


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """What the status says, checked. `events` without what the Bundle brings of them."""

    kind: str
    subscription: str
    topic: str | None
    status: str
    events_since_start: int | None
    events: tuple[EventStatus, ...]


def read_status(resource: Mapping[str, Any]) -> SubscriptionStatus:
    """Check the first resource of a notification. Raises FhirInputError, 422 or 413; see `parse_notification`."""
    kind = resource.get("resourceType")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        message = f"is not {' or '.join(_READERS)}; send the subscription's status first"
        raise wrong(f"{STATUS_PATH}.resourceType", message, "invalid")
    return reader(resource)


def _of_parameters(resource: Mapping[str, Any]) -> SubscriptionStatus:
    parts = _parts(resource.get("parameter"), f"{STATUS_PATH}.parameter", repeats={"notification-event"})
    return _checked(
        kind=_value(parts, "type", "valueCode"),
        subscription=text_of(_value(parts, "subscription", "valueReference"), "reference"),
        topic=_value(parts, "topic", "valueCanonical", "valueUri"),
        status=_value(parts, "status", "valueCode"),
        events_since_start=_number(_value(parts, "events-since-subscription-start", *_NUMBER_ELEMENTS), STATUS_PATH),
        events=tuple(_event_of_parameters(each) for each in _counted(parts.get("notification-event", []))),
    )


def _checked(
    kind: object, subscription: object, topic: object, status: object, events_since_start: int | None,
    events: tuple[EventStatus, ...],
) -> SubscriptionStatus:  # fmt: skip
    named = _name(subscription, "subscription")
    if named is None:
        raise wrong(STATUS_PATH, "names no subscription; send its reference", "required")
    return SubscriptionStatus(
        _code(kind, KINDS, "type"), named, _name(topic, "topic"), _code(status, STATUS_CODES, "status"),
        events_since_start, events,
    )  # fmt: skip


def _event_of_parameters(event: Mapping[str, Any]) -> EventStatus:
    where = f"{STATUS_PATH}.parameter.where(name='notification-event').part"
    parts = _parts(event.get("part"), where, repeats={"additional-context"})
    focus = [_value(parts, "focus", "valueReference")]
    context = [each.get("valueReference") for each in parts.get("additional-context", [])]
    return _event(
        _value(parts, "event-number", *_NUMBER_ELEMENTS),
        _value(parts, "timestamp", "valueInstant", "valueDateTime"),
        [*focus, *context],
        where,
    )


def _of_status(resource: Mapping[str, Any]) -> SubscriptionStatus:
    return _checked(
        kind=resource.get("type"),
        subscription=text_of(resource.get("subscription"), "reference"),
        topic=resource.get("topic"),
        status=resource.get("status"),
        events_since_start=_number(resource.get("eventsSinceSubscriptionStart"), STATUS_PATH),
        events=tuple(
            _event(
                event.get("eventNumber"),
                event.get("timestamp"),
                [event.get("focus"), *objects(event.get("additionalContext"))],
                f"{STATUS_PATH}.notificationEvent",
            )
            for event in _counted(objects(resource.get("notificationEvent")))
        ),
    )


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], SubscriptionStatus]]] = {
    "Parameters": _of_parameters,
    "SubscriptionStatus": _of_status,
}


def _event(number: object, timestamp: object, references: list[Any], where: str) -> EventStatus:
    counted = _number(number, where)
    if counted is None:
        raise wrong(where, "has an event without a number; send event-number", "required")
    names = [name for each in references if (name := text_of(each, "reference"))]
    if not all(map(is_storable, names)):
        raise wrong(where, "has a reference that is too long or holds a control character; correct it", "value")
    return EventStatus(counted, read_instant({"timestamp": timestamp}, "timestamp", where), tuple(dict.fromkeys(names)))


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
        raise wrong(where, "has a parameter twice; send each once", "invalid")
    return parts


def _value(parts: Mapping[str, list[dict[str, Any]]], name: str, *elements: str) -> Any:
    part = parts.get(name, [{}])[0]
    return next((part[each] for each in elements if each in part), None)


def _counted(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    check_count(len(events), STATUS_PATH)
    return events


def check_count(count: int, where: str) -> None:
    """Raise FhirInputError 413 over MAX_EVENTS."""
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
        raise wrong(where, "has an event number that is no whole number of 64 bits; correct it", "value")
    return value


def read_instant(element: Mapping[str, Any], name: str, where: str) -> str | None:
    """A FHIR instant as sent; None where there is none. Raises FhirInputError (value)."""
    value = element.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or parse_instant(value) is None:
        raise wrong(f"{where}.{name}", "is not an instant with time and zone; correct it", "value")
    return value


def _name(value: object, name: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value or not is_storable(value):
        raise wrong(STATUS_PATH, f"has a {name} that is no reference; correct it", "value")
    return value


def _code(value: object, allowed: tuple[str, ...], name: str) -> str:
    if value is None:
        raise wrong(STATUS_PATH, f"has no {name}; send {', '.join(allowed)}", "required")
    if not isinstance(value, str) or value not in allowed:
        raise wrong(
            STATUS_PATH, f"has a {name} that is not one of {', '.join(allowed)}; send one of them", "code-invalid"
        )
    return value


def wrong(where: str, complaint: str, code: str) -> FhirInputError:
    """The error of a place in a notification."""
    return FhirInputError(f"{where} {complaint}", code=code, expression=where)
