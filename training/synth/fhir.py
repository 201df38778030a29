"""Synthetic notes as FHIR R4 DocumentReference resources, for demonstrations and adapters' tests."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from lang1.note_types import LOINC_SYSTEM, NOTE_TYPES
from training.synth.arrow import Table

IDENTIFIER_SYSTEM = "urn:lang1:synthetic:note"
# The HL7 security label that marks test data, so that no receiver takes it for a patient's.
TEST_DATA = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
    "code": "HTEST",
    "display": "test health data",
}


def document_reference(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the dataset (note_id, patient_id, encounter_id, note_type, authored, text) as a DocumentReference.

    `authored` is a datetime, or seconds since 1970 UTC.
    """
    written: datetime | int = row["authored"]
    authored = datetime.fromtimestamp(written, UTC) if isinstance(written, int) else written
    stamp = authored.astimezone(UTC).isoformat().replace("+00:00", "Z")
    note_type = NOTE_TYPES[row["note_type"]]
    coding = {"system": LOINC_SYSTEM, "code": note_type.loinc, "display": note_type.display}
    data = base64.b64encode(row["text"].encode("ascii")).decode("ascii")
    return {
        "resourceType": "DocumentReference",
        "id": row["note_id"],
        "meta": {"security": [TEST_DATA]},
        "identifier": [{"system": IDENTIFIER_SYSTEM, "value": row["note_id"]}],
        "status": "current",
        "docStatus": "final",
        "type": {"coding": [coding], "text": note_type.display},
        "subject": {"reference": f"Patient/{row['patient_id']}"},
        "date": stamp,
        "content": [{"attachment": {"contentType": "text/plain; charset=us-ascii", "data": data, "creation": stamp}}],
        "context": {"encounter": [{"reference": f"Encounter/{row['encounter_id']}"}]},
    }


def fhir_documents(table: Table) -> Iterator[dict[str, Any]]:
    """The rows of a table of notes as DocumentReference dicts, in order."""
    for row in table.to_pylist():
        yield document_reference(row)
