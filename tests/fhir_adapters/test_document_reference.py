from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_adapters.document_note import document_to_note
from fhir_adapters.document_reference import NotePolicy, check_scorable_status, parse_document_reference
from fhir_adapters.errors import FhirInputError
from lang1.note_types import NOTE_TYPES
from tests.fhir_adapters.samples import NOTE, content, document, note_of

CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"


def refusal(resource: dict[str, Any]) -> tuple[int, str]:
    with pytest.raises(FhirInputError) as caught:
        document_to_note(parse_document_reference(resource))
    return caught.value.status, caught.value.code


def test_everything_that_travels_on_is_read() -> None:
    parsed = parse_document_reference(
        document(relatesTo=[{"code": "replaces", "target": {"reference": "DocumentReference/0"}}])
    )
    assert (parsed.document_id, parsed.version_id) == ("note-1", "3")
    assert (parsed.master_identifier, parsed.identifier) == (
        "urn:ietf:rfc:3986|urn:oid:1.2.3",
        "https://ehr.example/notes|77",
    )
    assert (parsed.subject, parsed.encounter, parsed.note_type) == ("Patient/1", "Encounter/9", "18842-5")
    assert (parsed.period_end, parsed.date) == ("2026-03-01T11:00:00+01:00", "2026-03-01T12:00:00Z")
    assert parsed.replaces == ("DocumentReference/0",)


def test_the_note_is_cleaned_and_its_identity_kept() -> None:
    scorable = note_of(content("  Café \u201cvisit\u201d:\n\n" + NOTE))
    assert scorable.note.text == 'Cafe "visit": ' + NOTE
    assert scorable.note.note_id == "note-1"
    assert scorable.note.authored is not None and scorable.note.authored.utcoffset() is not None
    assert len(scorable.identity.text_sha256) == 64
    assert not scorable.identity.preliminary


def test_a_document_without_any_name_is_named_by_its_text() -> None:
    scorable = note_of(id=None, identifier=None, masterIdentifier=None)
    assert scorable.note.note_id == f"sha256:{scorable.identity.text_sha256}"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"resourceType": "Patient"}, (422, "invalid")),
        ({"resourceType": None}, (422, "invalid")),
        ({"status": "banana"}, (422, "code-invalid")),
        ({"status": None}, (422, "required")),
        ({"status": ["current"]}, (422, "value")),
        ({"docStatus": "signed"}, (422, "code-invalid")),
        ({"content": None}, (422, "required")),
        ({"content": []}, (422, "required")),
        ({"content": [{}]}, (422, "required")),
        ({"content": [{"attachment": {"contentType": "text/plain"}}]}, (422, "required")),
        ({"subject": None}, (422, "required")),
        ({"subject": {}}, (422, "required")),
        ({"subject": {"display": "someone"}}, (422, "required")),
        ({"subject": {"reference": "#contained"}}, (422, "required")),
        ({"patient": {"reference": "Patient/1"}}, (422, "structure")),
        ({"id": "../Patient/1"}, (422, "value")),
        ({"id": "a b"}, (422, "value")),
        ({"id": 7}, (422, "value")),
        ({"meta": {"versionId": "1/2"}}, (422, "value")),
        ({"date": "yesterday"}, (422, "value")),
        ({"date": "2026-03-01"}, (422, "value")),
        ({"context": {"period": {"end": "March"}}}, (422, "value")),
        ({"relatesTo": [{"code": "eats", "target": {"reference": "DocumentReference/0"}}]}, (422, "code-invalid")),
        ({"relatesTo": [{"code": "signs", "target": {"reference": "x"}}] * 101}, (422, "too-long")),
        ({"subject": {"reference": "Patient/\0"}}, (422, "value")),
        ({"subject": {"identifier": {"value": "x" * 1025}}}, (422, "value")),
        ({"masterIdentifier": {"value": "a\nb"}}, (422, "value")),
        ({"identifier": [{"value": "\x7f"}]}, (422, "value")),
        ({"context": {"encounter": [{"reference": "E" * 1025}]}}, (422, "value")),
        ({"relatesTo": [{"code": "replaces", "target": {"reference": "D" * 1025}}]}, (422, "value")),
        ({"status": "entered-in-error"}, (422, "business-rule")),
        ({"docStatus": "entered-in-error"}, (422, "business-rule")),
        ({"status": "superseded"}, (422, "business-rule")),
        ({"docStatus": "preliminary"}, (422, "business-rule")),
        ({"securityLabel": [{"coding": [{"system": CONFIDENTIALITY, "code": "R"}]}]}, (422, "suppressed")),
        ({"meta": {"security": [{"system": CONFIDENTIALITY, "code": "V"}]}}, (422, "suppressed")),
        ({"securityLabel": [{"coding": [{"code": "V"}]}]}, (422, "suppressed")),
        ({"content": [content("")]}, (422, "required")),
        ({"content": [content(" \n\t ")]}, (422, "required")),
        ({"content": [content("too short a note")]}, (422, "business-rule")),
        ({"content": [content(NOTE + " <NA> " + NOTE)]}, (422, "business-rule")),
    ],
)
def test_a_document_that_cannot_be_scored_is_refused(changes: dict[str, Any], expected: tuple[int, str]) -> None:
    assert refusal(document(**changes)) == expected


def test_entered_in_error_is_refused_whatever_the_policy() -> None:
    everything = NotePolicy(include_superseded=True, include_preliminary=True, allow_restricted=True)
    for changes in ({"status": "entered-in-error"}, {"docStatus": "entered-in-error"}):
        with pytest.raises(FhirInputError, match="entered-in-error"):
            check_scorable_status(parse_document_reference(document(**changes)), everything)


@pytest.mark.parametrize(
    ("changes", "policy"),
    [
        ({"status": "superseded"}, NotePolicy(include_superseded=True)),
        ({"docStatus": "preliminary"}, NotePolicy(include_preliminary=True)),
        ({"meta": {"security": [{"system": CONFIDENTIALITY, "code": "R"}]}}, NotePolicy(allow_restricted=True)),
        ({"meta": {"security": [{"system": CONFIDENTIALITY, "code": "N"}]}}, NotePolicy()),
        ({"meta": {"security": [{"system": "urn:other", "code": "R"}]}}, NotePolicy()),
        ({"docStatus": "amended"}, NotePolicy()),
        ({"docStatus": None}, NotePolicy()),
    ],
)
def test_the_policy_opens_what_it_names(changes: dict[str, Any], policy: NotePolicy) -> None:
    check_scorable_status(parse_document_reference(document(**changes)), policy)


def test_a_preliminary_note_is_marked_so() -> None:
    parsed = parse_document_reference(document(docStatus="preliminary"))
    assert document_to_note(parsed, policy=NotePolicy(include_preliminary=True)).identity.preliminary


def test_a_subject_by_identifier_is_taken() -> None:
    parsed = parse_document_reference(document(subject={"identifier": {"system": "urn:mrn", "value": "5"}}))
    assert (parsed.subject, parsed.subject_identifier) == (None, "urn:mrn|5")


def test_conditional_references_are_taken() -> None:
    author = [{"reference": "Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|9999974592"}]
    assert parse_document_reference(document(author=author)).subject == "Patient/1"


@pytest.mark.parametrize("known", NOTE_TYPES)
def test_the_first_known_loinc_code_is_the_note_type(known: str) -> None:
    codings = [
        {"system": "urn:local", "code": "DS"},
        {"system": "http://loinc.org", "code": "51847-2"},
        {"system": "http://loinc.org", "code": known},
    ]
    assert parse_document_reference(document(type={"coding": codings})).note_type == known
    assert parse_document_reference(document(type={"coding": codings[:2]})).note_type == "51847-2"
    assert parse_document_reference(document(type={"coding": codings[:1]})).note_type is None
    assert parse_document_reference(document(type=None)).note_type is None


def test_an_error_survives_pickling_with_its_code() -> None:
    error = FhirInputError("what; mend", code="too-long", status=413, expression="Bundle.entry")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert (str(again), again.code, again.status, again.expression) == ("what; mend", "too-long", 413, "Bundle.entry")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
ELEMENTS = sorted(document(securityLabel=[], category=[], relatesTo=[], contained=[], extension=[], author=[]))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(ELEMENTS), JSON, max_size=3), JSON)
def test_any_json_gives_a_document_or_our_error(changes: dict[str, Any], attachment: Any) -> None:
    resource = copy.deepcopy(document())
    resource["content"] = [{"attachment": attachment}]
    for candidate in ({**document(), **changes}, resource, changes):
        try:
            document_to_note(parse_document_reference(candidate))
        except FhirInputError as error:
            assert error.status == 422
