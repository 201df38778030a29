"""Notifications of the R4 backport, and of R4B's SubscriptionStatus: read strictly, refused with a mend."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_adapters.entered_in_error import mistaken_document
from fhir_adapters.errors import FhirInputError
from fhir_adapters.subscription_status import KINDS, MAX_EVENTS
from fhir_adapters.subscriptions import Change, parse_notification

BASE = "https://ehr.example.org/fhir"
NOTE = {"resourceType": "DocumentReference", "id": "1"}


def event(number: object, *references: str, timestamp: str | None = "2026-03-01T12:00:00.000Z") -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"name": "event-number", "valueString": number}]
    if timestamp is not None:
        parts.append({"name": "timestamp", "valueInstant": timestamp})
    for place, reference in enumerate(references):
        parts.append({"name": "additional-context" if place else "focus", "valueReference": {"reference": reference}})
    return {"name": "notification-event", "part": parts}


def status(kind: object = "event-notification", *events: dict[str, Any], since: object = "1") -> dict[str, Any]:
    parameters = [
        {"name": "subscription", "valueReference": {"reference": f"{BASE}/Subscription/s"}},
        {"name": "topic", "valueCanonical": "https://ehr.example.org/topics/notes"},
        {"name": "status", "valueCode": "active"},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": since},
        *events,
    ]
    return {"resourceType": "Parameters", "parameter": parameters}


def bundle(first: Any, *entries: Any, kind: str = "history") -> dict[str, Any]:
    return {
        "resourceType": "Bundle", "type": kind, "timestamp": "2026-03-01T12:00:00Z",
        "entry": [{"fullUrl": "urn:uuid:0", "resource": first}, *entries],
    }  # fmt: skip


def entry(reference: str, resource: Any = None, method: str = "PUT") -> dict[str, Any]:
    made = {"fullUrl": f"{BASE}/{reference}", "request": {"method": method, "url": reference}}
    return made | ({"resource": resource} if resource is not None else {})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read(kind: str) -> None:
    found = parse_notification(bundle(status(kind, since="7")))
    assert (found.kind, found.status, found.events_since_start) == (kind, "active", 7)
    assert found.subscription == f"{BASE}/Subscription/s"
    assert found.sent == "2026-03-01T12:00:00Z"


def test_id_only_names_references_and_full_resource_brings_them() -> None:
    first = event("3", f"{BASE}/DocumentReference/1", f"{BASE}/Encounter/9")
    thin = parse_notification(bundle(status("event-notification", first), entry("DocumentReference/1")))
    assert thin.events[0].number == 3
    assert thin.changes == (Change(f"{BASE}/DocumentReference/1"), Change(f"{BASE}/Encounter/9"))
    assert [each.literal for each in thin.changes] == ["DocumentReference/1", "Encounter/9"]
    full = parse_notification(bundle(status("event-notification", first), entry("DocumentReference/1", NOTE)))
    assert full.changes[0].resource == NOTE


def test_a_relative_focus_finds_the_entry_of_an_absolute_url() -> None:
    found = parse_notification(
        bundle(status("event-notification", event("1", "DocumentReference/1")), entry("DocumentReference/1", NOTE))
    )
    assert found.changes == (Change(f"{BASE}/DocumentReference/1", resource=NOTE),)


def test_every_version_in_the_bundle_is_kept_and_a_deletion_at_the_end_counts_alone() -> None:
    first, second = NOTE | {"docStatus": "preliminary"}, NOTE | {"docStatus": "final"}
    told = status("event-notification", event("1", "DocumentReference/1"))
    both = [entry("DocumentReference/1", first), entry("DocumentReference/1", second)]
    assert [each.resource for each in parse_notification(bundle(told, *both)).changes] == [first, second]
    (gone,) = parse_notification(bundle(told, *both, entry("DocumentReference/1", method="DELETE"))).changes
    assert (gone.deleted, gone.resource) == (True, None)


def test_an_empty_payload_has_events_without_changes() -> None:
    found = parse_notification(bundle(status("event-notification", event("1"), event("2"), since="2")))
    assert [each.changes for each in found.events] == [(), ()]


def test_resources_that_no_event_names_are_kept_apart() -> None:
    found = parse_notification(bundle(status("event-notification"), entry("DocumentReference/1", NOTE)))
    assert found.events == ()
    assert [each.resource for each in found.others] == [NOTE]


def test_a_resource_without_id_and_url_is_still_one() -> None:
    note = {"resourceType": "DocumentReference"}
    (found,) = parse_notification(bundle(status("event-notification"), {"resource": note})).changes
    assert (found.resource, found.literal) == (note, None)


def test_a_subscription_status_of_r4b_is_read_the_same() -> None:
    resource = {
        "resourceType": "SubscriptionStatus", "status": "active", "type": "event-notification",
        "eventsSinceSubscriptionStart": 5, "subscription": {"reference": "Subscription/s"}, "topic": "https://t",
        "notificationEvent": [{"eventNumber": "5", "focus": {"reference": "DocumentReference/1"},
                               "additionalContext": [{"reference": "Encounter/9"}]}],
    }  # fmt: skip
    found = parse_notification(bundle(resource, kind="subscription-notification"))
    assert (found.events_since_start, found.topic) == (5, "https://t")
    assert [(each.number, len(each.changes)) for each in found.events] == [(5, 2)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (bundle(status("event-notification", event("x", "DocumentReference/1"))), "value"),
        (bundle(status("event-notification", event("9" * 20))), "value"),
        (bundle(status("event-notification", event(True))), "value"),
        (bundle(status("event-notification", event("٣"))), "value"),
        (bundle(status("event-notification", event(None))), "required"),
        (bundle(status("event-notification", event("1", timestamp="yesterday"))), "value"),
        (bundle(status("event-notification", event("1", "DocumentReference/\x00"))), "value"),
        (bundle(status("event-notification", event("1", "x" * 2000))), "value"),
        (bundle(status("party")), "code-invalid"),
        (bundle(status(None)), "required"),
        (bundle(status(["handshake"])), "code-invalid"),
        (bundle(status("handshake", {"name": "type", "valueCode": "handshake"})), "invalid"),
        (bundle({"resourceType": "Parameters"}), "required"),
        (bundle({"resourceType": "Patient"}), "invalid"),
        (bundle(None), "invalid"),
        (bundle(status("handshake"), 5), "invalid"),
        (bundle(status("handshake"), {"fullUrl": f"{BASE}/DocumentReference/1", "resource": []}), "invalid"),
        (bundle(status("handshake")) | {"entry": []}, "required"),
        (bundle(status("handshake"), kind="transaction"), "invalid"),
        (bundle(status("handshake")) | {"timestamp": 5}, "value"),
        (bundle(status("handshake"), *[{}] * (MAX_EVENTS + 1)), "too-long"),
        ({"resourceType": "Patient"}, "invalid"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_a_code_and_a_mend(change: dict[str, Any], code: str) -> None:
    with pytest.raises(FhirInputError) as caught:
        parse_notification(change)
    assert caught.value.code == code
    assert ";" in caught.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["DocumentReference/1", "event-number", "focus", "handshake", "Parameters", "history", "DELETE"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["name", "part", "parameter", "resource", "resourceType", "valueReference", "reference", "url",
                         "entry", "fullUrl", "request", "method", "valueString", "valueCode", "type", "status", "id"]),
        inner, max_size=5),
    max_leaves=25,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(JSON, JSON, JSON)
def test_nothing_that_is_json_surprises_the_parser(first: Any, part: Any, more: Any) -> None:
    for made in (
        bundle(first, more),
        bundle(status("event-notification", {"name": "notification-event", "part": part}), more),
        bundle(status("event-notification", event(part, "DocumentReference/1"), since=first), more),
        bundle({"resourceType": "SubscriptionStatus", "type": "heartbeat", "status": "active", "subscription": first,
                "notificationEvent": [part, {"eventNumber": 1, "focus": more, "additionalContext": part}]}),
        {"resourceType": "Bundle", "type": "history", "entry": first},
    ):  # fmt: skip
        try:
            found = parse_notification(made)
        except FhirInputError:
            continue
        assert found.kind in KINDS
        assert all(isinstance(each, Change) for each in found.changes)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["id", "masterIdentifier", "identifier", "subject", "docStatus"]), JSON))
def test_nothing_that_is_json_surprises_the_reading_of_a_mistake(fields: dict[str, Any]) -> None:
    found = mistaken_document({**fields, "resourceType": "DocumentReference", "status": "entered-in-error"})
    assert found is None or found.document


def test_a_mistaken_document_is_named_as_its_scores_are() -> None:
    note = {"resourceType": "DocumentReference", "status": "entered-in-error", "subject": {"reference": "Patient/1"}}
    token = {"system": "urn:x", "value": "7"}
    for fields, name in (
        ({"id": "1", "masterIdentifier": token}, "DocumentReference/1"),
        ({"masterIdentifier": token, "identifier": [{"value": "8"}]}, "urn:x|7"),
        ({"identifier": [{}, token]}, "urn:x|7"),
    ):
        found = mistaken_document(note | fields)
        assert found is not None
        assert (found.document, found.subject) == (name, "Patient/1")
    assert mistaken_document(note) is None
    assert mistaken_document({**note, "id": "1", "status": "current"}) is None
    emptied = mistaken_document({"resourceType": "DocumentReference", "id": "1", "docStatus": "entered-in-error"})
    assert emptied is not None
    assert emptied.subject is None
