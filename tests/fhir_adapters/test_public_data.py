"""Documents that others published: every one is accounted for. Skipped where the shared data folder is absent."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fhir_adapters.document_note import document_to_note
from fhir_adapters.document_reference import NotePolicy, parse_document_reference
from fhir_adapters.errors import FhirInputError
from fhir_adapters.note_files import read_note_files
from fhir_adapters.r4 import validate_structure

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SYNTHEA = DATA / "synthea" / "DocumentReference.ndjson"
EXAMPLES = DATA / "hl7-r4-examples"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent")


def outcomes(policy: NotePolicy) -> Counter[str]:
    counted: Counter[str] = Counter()
    for item in read_note_files(SYNTHEA):
        assert item.resource is not None
        try:
            note = document_to_note(parse_document_reference(item.resource), policy=policy).note
        except FhirInputError as error:
            counted[error.code] += 1
        else:
            assert note.text.isascii()
            counted[str(note.note_type)] += 1
    return counted


def test_every_synthea_document_is_scored_or_refused_with_a_reason() -> None:
    assert outcomes(NotePolicy(include_superseded=True)) == {"34117-2": 912, "34111-5": 303}
    assert outcomes(NotePolicy()) == {"business-rule": 1202, "34117-2": 11, "34111-5": 2}


def examples() -> list[Any]:
    return [pytest.param(path, id=path.name) for path in sorted(EXAMPLES.glob("*.json"))]


@pytest.mark.parametrize("path", examples())
def test_every_hl7_example_is_read(path: Path) -> None:
    resource = json.loads(path.read_bytes())
    validate_structure(resource, resource["resourceType"])


def test_the_hl7_document_reference_is_read_and_refused_for_its_status() -> None:
    document = parse_document_reference(json.loads((EXAMPLES / "DocumentReference-example.json").read_bytes()))
    assert (document.doc_status, document.confidentiality, document.note_type) == ("preliminary", {"V"}, "34108-1")
    with pytest.raises(FhirInputError, match="preliminary"):
        document_to_note(document)
    with pytest.raises(FhirInputError, match="label R or V"):
        document_to_note(document, policy=NotePolicy(include_preliminary=True))
    with pytest.raises(FhirInputError, match="not a Binary on the configured"):
        document_to_note(document, policy=NotePolicy(include_preliminary=True, allow_restricted=True))
