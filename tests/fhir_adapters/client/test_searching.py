"""Searches: pages, their caps and their links; and the search that a reconciliation hangs on."""

from __future__ import annotations

import pytest

from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import ErrorKind, FhirServerError
from fhir_adapters.client.searching import identifier_query
from tests.ehr.server import TestEhr
from tests.fhir_adapters.client.test_reads import failed


def fill(ehr: TestEhr, count: int) -> None:
    for number in range(count):
        ehr.add({"resourceType": "Patient", "id": f"p{number:03}", "identifier": [identifier(str(number))]})


def identifier(value: str, system: str | None = "urn:x") -> dict[str, str]:
    return {"value": value} | ({"system": system} if system else {})


def test_every_page_is_read_and_only_as_it_is_taken(ehr: TestEhr, client: FhirClient) -> None:
    fill(ehr, 45)
    found = client.search("Patient", {"_count": "10", "_sort": "_lastUpdated"})
    assert next(found)["id"] == "p000"
    assert len(ehr.requests()) == 1
    assert [each["id"] for each in found] == [f"p{number:03}" for number in range(1, 45)]
    assert len(ehr.requests()) == 5


def test_a_parameter_may_repeat(ehr: TestEhr, client: FhirClient) -> None:
    fill(ehr, 5)
    times = [each["meta"]["lastUpdated"] for each in ehr.resources("Patient")]
    params = [("_lastUpdated", f"ge{times[1]}"), ("_lastUpdated", f"lt{times[3]}")]
    assert [each["id"] for each in client.search("Patient", params)] == ["p001", "p002"]


def test_a_parameter_that_the_server_does_not_know_is_an_error_unless_lenient(ehr: TestEhr, client: FhirClient) -> None:
    fill(ehr, 3)
    failed(ErrorKind.REJECTED, list, client.search("Patient", {"shoe-size": "43"}))
    assert len(list(client.search("Patient", {"shoe-size": "43"}, strict=False))) == 3


@pytest.mark.parametrize("link", ["http://169.254.169.254/latest/", "https://evil.example/fhir?x", "//evil.example/x"])
def test_a_next_link_to_another_host_is_refused(ehr: TestEhr, client: FhirClient, link: str) -> None:
    fill(ehr, 30)
    ehr.behaviour.next_link = link
    found = client.search("Patient", {})
    with pytest.raises(FhirServerError) as caught:
        for _ in range(30):
            next(found)
    assert caught.value.kind is ErrorKind.SECURITY
    assert len(ehr.requests()) == 1


def test_pages_that_turn_in_a_circle_end(ehr: TestEhr, client: FhirClient) -> None:
    fill(ehr, 30)
    ehr.behaviour.next_link = f"{ehr.url}/Patient"
    failed(ErrorKind.TOO_LONG, list, client.search("Patient", {}))
    assert len(ehr.requests()) <= 2


def test_caps_on_pages_and_resources(ehr: TestEhr) -> None:
    fill(ehr, 30)
    client = FhirClient(ehr.url, max_pages=2, max_resources=25)
    for params in ({"_count": "10"}, {"_count": "20"}):
        failed(ErrorKind.TOO_LONG, list, client.search("Patient", params))
    given = []
    with pytest.raises(FhirServerError):
        given += [each["id"] for each in client.search("Patient", {}, max_resources=7)]
    for each in client.search("Patient", {}, max_resources=7):
        given.append(each["id"])
        if len(given) == 7:
            break
    assert given == [f"p{number:03}" for number in range(7)]
    assert len(list(client.search("Patient", {"_count": "15"}, max_resources=30))) == 30
    client.close()


def test_only_matches_are_given_and_includes_where_asked(ehr: TestEhr, client: FhirClient) -> None:
    bundle = (
        b'{"resourceType": "Bundle", "type": "searchset", "entry": ['
        b'{"resource": {"resourceType": "Patient", "id": "a"}, "search": {"mode": "match"}},'
        b'{"resource": {"resourceType": "Patient", "id": "b"}},'
        b'{"resource": {"resourceType": "Encounter", "id": "c"}, "search": {"mode": "include"}},'
        b'{"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}}, null, {}]}'
    )
    ehr.faults.body(bundle, times=2)
    assert [each["id"] for each in client.search("Patient", {})] == ["a", "b"]
    assert [each["id"] for each in client.search("Patient", {}, included=True)] == ["a", "b", "c"]


@pytest.mark.parametrize("value", ["k1", "a,b", "a|b", "a$b\\c", "a b&c=d%"])
def test_one_by_identifier_whatever_is_in_its_value(ehr: TestEhr, client: FhirClient, value: str) -> None:
    assert client.search_one_by_identifier("Patient", f"urn:x|{value}") is None
    ehr.add({"resourceType": "Patient", "identifier": [identifier("other"), identifier(value)]})
    ehr.add({"resourceType": "Patient", "identifier": [identifier(value, "urn:y"), identifier(value, None)]})
    found = client.search_one_by_identifier("Patient", f"urn:x|{value}")
    assert found is not None
    assert found["id"] == "ehr-1"
    resource = {"resourceType": "Patient", "identifier": [identifier(value)]}
    assert not client.create(resource, if_none_exist=identifier_query(f"urn:x|{value}")).created


def test_two_with_one_identifier_are_an_error(ehr: TestEhr, client: FhirClient) -> None:
    for _ in range(2):
        ehr.add({"resourceType": "Patient", "identifier": [identifier("k")]})
    assert failed(ErrorKind.PRECONDITION, client.search_one_by_identifier, "Patient", "urn:x|k").code == (
        "multiple-matches"
    )


def test_a_server_that_ignores_the_identifier_proves_nothing(ehr: TestEhr, client: FhirClient) -> None:
    fill(ehr, 3)
    ehr.behaviour.ignored_params = {"identifier"}
    failed(ErrorKind.REJECTED, client.search_one_by_identifier, "Patient", "urn:x|none")
