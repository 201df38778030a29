"""Fake PHI in every field: no error may repeat any of it."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_adapters.batch import parse_batch
from fhir_adapters.document_note import document_to_note
from fhir_adapters.document_reference import parse_document_reference
from fhir_adapters.errors import FhirInputError
from fhir_adapters.operation_outcome import outcome_from_error
from fhir_adapters.parameters import parse_score_request
from lang1.tasks import BUILT_IN
from tests.fhir_adapters.samples import b64, content, document, linked

PHI = "Zebediah Quartz MRN 99887766"


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [path] * bool(path) + [found for key, item in value.items() for found in paths(item, (*path, key))]
    if isinstance(value, list):
        return [path, *(found for index, item in enumerate(value) for found in paths(item, (*path, index)))]
    return [path]


def planted(resource: dict[str, Any], path: tuple[Any, ...], new: Any) -> dict[str, Any]:
    import copy

    changed = copy.deepcopy(resource)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = new
    return changed


def assert_silent(error: FhirInputError) -> None:
    said = repr(error) + str(error) + str(outcome_from_error(error)) + repr(error.__cause__)
    for word in PHI.split():
        assert word not in said
    assert b64(PHI)[:12] not in said


def every_error(resource: dict[str, Any]) -> None:
    for read in (
        lambda: document_to_note(parse_document_reference(resource)),
        lambda: parse_score_request(resource, BUILT_IN),
        lambda: parse_score_request({"resourceType": "Parameters", "parameter": [resource]}, BUILT_IN),
    ):
        try:
            read()
        except FhirInputError as error:
            assert_silent(error)


FULL = document(
    relatesTo=[{"code": "replaces", "target": {"reference": "DocumentReference/0"}}],
    author=[{"reference": "Practitioner/1", "display": "x"}],
    securityLabel=[{"coding": [{"system": "urn:x", "code": "N"}]}],
    contained=[{"resourceType": "Patient", "id": "p", "birthDate": "1950-01-01"}],
)


@pytest.mark.parametrize("path", paths(FULL), ids=lambda path: ".".join(map(str, path)))
def test_phi_in_any_field_is_not_repeated(path: tuple[Any, ...]) -> None:
    for new in (PHI, [PHI], {PHI: PHI}, {"value": {PHI: [PHI]}}, [{PHI: PHI}]):
        every_error(planted(FULL, path, new))


@pytest.mark.parametrize(
    "bad",
    [
        content(PHI, PHI),
        content(PHI, f"text/plain; charset={PHI}"),
        content(PHI, "text/plain", hash=b64(PHI)),
        content(PHI, "text/plain", size=1),
        content(PHI, "text/rtf"),
        content(PHI, "application/pdf"),
        content(f"<{PHI.replace(' ', '')}>", "text/xml"),
        content(f"<!DOCTYPE {PHI.replace(' ', '')}><a/>", "text/xml"),
        linked(f"https://elsewhere.example/{PHI}"),
        {"attachment": {"contentType": "text/plain", "data": PHI}},
    ],
)
def test_phi_in_an_attachment_is_not_repeated(bad: dict[str, Any]) -> None:
    with pytest.raises(FhirInputError) as caught:
        document_to_note(parse_document_reference(document(bad)))
    assert_silent(caught.value)


def test_phi_in_parameters_and_batches_is_not_repeated() -> None:
    for name, value in (("task", {"valueCode": PHI}), (PHI, {"valueCode": "x"}), ("task", {PHI: PHI})):
        with pytest.raises(FhirInputError) as caught:
            parse_score_request({"resourceType": "Parameters", "parameter": [{"name": name, **value}]}, BUILT_IN)
        assert_silent(caught.value)
    entry = {"resource": document(status=PHI), "request": {"method": PHI, "url": PHI}}
    good = {"resource": document(status=PHI), "request": {"method": "POST", "url": "DocumentReference"}}
    for one in parse_batch({"resourceType": "Bundle", "type": "batch", "entry": [entry, good, PHI]}, BUILT_IN):
        assert one.error is not None
        assert_silent(one.error)
    with pytest.raises(FhirInputError) as caught:
        parse_batch({"resourceType": "Bundle", "type": PHI}, BUILT_IN)
    assert_silent(caught.value)
