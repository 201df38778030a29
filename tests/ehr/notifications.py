"""The test EHR as the one that notifies: Subscriptions R4 Backport 1.1 Bundles over `rest-hook`.

notifier = Notifier(ehr, service.url + "/fhir/$notification", content="id-only")
notifier.handshake()
notifier.event(ehr.add(document))      # event 1
notifier.repeat(1)                     # the same event again
notifier.lose(2)                       # two events that never arrive
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import httpx

from tests.ehr.messages import PLANTED
from tests.ehr.server import TestEhr

Content = Literal["empty", "id-only", "full-resource"]
Kind = Literal["handshake", "heartbeat", "event-notification"]

_BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
TOPIC = "https://ehr.example.org/topics/new-documents"


@dataclass(frozen=True)
class Event:
    number: int
    timestamp: str
    references: tuple[str, ...]


@dataclass
class Notifier:
    """One subscription of the service at the EHR. Its events count from 1."""

    ehr: TestEhr
    endpoint: str
    content: Content = "id-only"
    subscription: str = "sub-1"
    topic: str = TOPIC
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 30.0
    events: list[Event] = field(default_factory=list)

    def handshake(self) -> httpx.Response:
        """The first call: proves that the endpoint takes notifications. The subscription is still `requested`."""
        return self.post(self.bundle("handshake", status="requested"))

    def heartbeat(self) -> httpx.Response:
        """Nothing happened."""
        return self.post(self.bundle("heartbeat"))

    def event(self, *references: str, until_taken_s: float | None = None) -> httpx.Response:
        """Tell of the resources, an event each, in one Bundle; with `until_taken_s` sent again until a 2xx."""
        new = [self._new(reference) for reference in references]
        return self.post(self.bundle("event-notification", new), until_taken_s=until_taken_s)

    def repeat(self, *numbers: int) -> httpx.Response:
        """Send events again, with the numbers that they have."""
        return self.post(self.bundle("event-notification", [self.events[number - 1] for number in numbers]))

    def lose(self, count: int = 1, *references: str) -> None:
        """Events that are counted and never sent."""
        for place in range(count):
            self._new(*references[place : place + 1])

    def post(self, bundle: Mapping[str, Any], *, until_taken_s: float | None = None) -> httpx.Response:
        """Send a Bundle. AssertionError where no 2xx came within `until_taken_s`."""
        until = time.monotonic() + (until_taken_s or 0.0)
        headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json", **self.headers}
        with httpx.Client(trust_env=False, timeout=self.timeout_s) as client:
            while True:
                try:
                    answer = client.post(self.endpoint, json=bundle, headers=headers)
                except httpx.TransportError:
                    if time.monotonic() >= until:
                        raise
                else:
                    if until_taken_s is None or answer.is_success:
                        return answer
                    assert time.monotonic() < until, f"not taken in time: {answer.status_code}"
                time.sleep(0.05)  # polls with a limit

    def bundle(self, kind: Kind, events: Iterable[Event] = (), *, status: str = "active") -> dict[str, Any]:
        """The notification as it goes out."""
        sent = list(events)
        entries = [self._status(kind, status, sent)]
        if self.content != "empty":
            entries += [self._entry(reference) for event in sent for reference in event.references]
        return {
            "resourceType": "Bundle",
            "id": str(uuid.uuid4()),
            "meta": {"profile": [f"{_BACKPORT}/backport-subscription-notification-r4"]},
            "type": "history",
            "timestamp": _now(),
            "entry": entries,
        }

    def _new(self, *references: str) -> Event:
        event = Event(len(self.events) + 1, _now(), references)
        self.events.append(event)
        return event

    def _status(self, kind: Kind, status: str, events: list[Event]) -> dict[str, Any]:
        subscription = f"{self.ehr.url}/Subscription/{self.subscription}"
        parameters: list[dict[str, Any]] = [
            {"name": "subscription", "valueReference": {"reference": subscription, "display": PLANTED}},
            {"name": "topic", "valueCanonical": self.topic},
            {"name": "status", "valueCode": status},
            {"name": "type", "valueCode": kind},
            # 64-bit integers are strings in the R4 backport.
            {"name": "events-since-subscription-start", "valueString": str(len(self.events))},
        ]
        for event in events:
            parts: list[dict[str, Any]] = [
                {"name": "event-number", "valueString": str(event.number)},
                {"name": "timestamp", "valueInstant": event.timestamp},
            ]
            if self.content != "empty":
                parts += [
                    {"name": "focus" if place == 0 else "additional-context", "valueReference": {"reference": url}}
                    for place, url in enumerate(self._url(reference) for reference in event.references)
                ]
            parameters.append({"name": "notification-event", "part": parts})
        resource = {
            "resourceType": "Parameters",
            "id": str(uuid.uuid4()),
            "meta": {"profile": [f"{_BACKPORT}/backport-subscription-status-r4"]},
            "parameter": parameters,
        }
        return {
            "fullUrl": f"urn:uuid:{resource['id']}",
            "resource": resource,
            "request": {"method": "GET", "url": f"{subscription}/$status"},
            "response": {"status": "200"},
        }

    def _entry(self, reference: str) -> dict[str, Any]:
        versions = self.ehr.history(reference)
        held = versions[-1] if versions else None
        method, status = ("DELETE", "204") if versions and held is None else ("PUT", "200")
        if len(versions) == 1:
            method, status = "POST", "201"
        entry: dict[str, Any] = {
            "fullUrl": self._url(reference),
            "request": {"method": method, "url": reference.partition("/")[0] if method == "POST" else reference},
            "response": {"status": status},
        }
        if self.content == "full-resource" and held is not None:
            entry["resource"] = held
        return entry

    def _url(self, reference: str) -> str:
        return f"{self.ehr.url}/{reference}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
