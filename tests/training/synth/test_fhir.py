"""DocumentReference resources made from rows carry what a receiver needs."""

from __future__ import annotations

import base64

from training.synth import fhir_documents
from training.synth.arrow import Table


def test_document_references_hold_the_note_and_are_marked_as_test_data(notes: Table) -> None:
    part = notes.slice(0, 5)
    for row, document in zip(part.to_pylist(), fhir_documents(part), strict=True):
        assert document["resourceType"] == "DocumentReference"
        assert (document["status"], document["docStatus"]) == ("current", "final")
        attachment = document["content"][0]["attachment"]
        assert base64.b64decode(attachment["data"]).decode("ascii") == row["text"]
        assert attachment["contentType"].startswith("text/plain")
        assert document["type"]["coding"][0] | {"display": ""} == {
            "system": "http://loinc.org", "code": row["note_type"], "display": "",
        }  # fmt: skip
        assert document["subject"]["reference"] == f"Patient/{row['patient_id']}"
        assert document["context"]["encounter"][0]["reference"] == f"Encounter/{row['encounter_id']}"
        assert document["identifier"][0]["value"] == row["note_id"]
        assert document["date"].endswith("Z")
        assert document["meta"]["security"][0]["code"] == "HTEST"
        assert row["patient_id"].startswith("synth-")


def test_document_references_are_valid_r4b(notes: Table) -> None:
    from fhir.resources.R4B.documentreference import DocumentReference

    for document in fhir_documents(notes.slice(0, 2)):
        DocumentReference.model_validate(document)
