"""A ready body for every route that scores, made from the demo's own notes."""

from __future__ import annotations

import base64
import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def examples() -> dict[str, dict[str, Any]]:
    """Bodies by name (`Operation.example`)."""
    document = json.loads((files("serve") / "examples" / "discharge-summary.json").read_bytes())
    attachment = document["content"][0]["attachment"]
    note = {
        "id": "note-1",
        "text": base64.b64decode(attachment["data"]).decode(),
        "note_type": document["type"]["coding"][0]["code"],
    }
    entry = {"resource": document, "request": {"method": "POST", "url": "DocumentReference/$score"}}
    handshake = [
        {"name": "subscription", "valueReference": {"reference": "https://ehr.example.org/fhir/Subscription/1"}},
        {"name": "status", "valueCode": "requested"},
        {"name": "type", "valueCode": "handshake"},
    ]
    return {
        "handshake": {
            "resourceType": "Bundle",
            "type": "history",
            "entry": [{"resource": {"resourceType": "Parameters", "parameter": handshake}}],
        },
        "notes": {"notes": [note]},
        "move": {"action": "rollback", "reason": "clinicians report implausible risks"},
        "retraining": {"reason": "a new discharge summary template since Monday"},
        "alertmanager": {
            "version": "4",
            "groupKey": '{}:{alertname="Lang1WriteBackDead"}',
            "status": "resolved",
            "receiver": "lang1-retraining",
            "alerts": [{"status": "resolved", "labels": {"alertname": "Lang1WriteBackDead"}, "annotations": {}}],
        },
        "document": document,
        "batch": {"resourceType": "Bundle", "type": "batch", "entry": [entry]},
        "hook": {
            "hook": "encounter-discharge",
            "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
            "context": {
                "userId": "Practitioner/example",
                "patientId": document["subject"]["reference"].removeprefix("Patient/"),
                "encounterId": document["context"]["encounter"][0]["reference"].removeprefix("Encounter/"),
            },
            "prefetch": {"notes": {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": document}]}},
        },
    }
