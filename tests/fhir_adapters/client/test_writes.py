"""Writes: what servers answer to them, and what is known when no answer comes."""

from __future__ import annotations

import json
import pickle
import threading
from typing import Any, Literal

import pytest

from fhir_adapters.client.answers import Written
from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import ErrorKind, FhirServerError
from fhir_adapters.client.wire import Timeouts
from tests.ehr.server import TestEhr
from tests.fhir_adapters.client.conftest import FakeTime
from tests.fhir_adapters.client.test_reads import failed

RISK: dict[str, Any] = {"resourceType": "RiskAssessment", "identifier": [{"system": "urn:x", "value": "k"}]}
ONLY_NEW = "identifier=urn:x|k"


@pytest.mark.parametrize("bodies", ["prefer", "always", "never"])
@pytest.mark.parametrize("location", ["absolute", "relative", "unversioned", "none"])
def test_whatever_a_server_answers_the_resource_is_known(
    ehr: TestEhr, client: FhirClient, bodies: Any, location: Literal["absolute", "none"]
) -> None:
    ehr.behaviour.bodies, ehr.behaviour.location = bodies, location
    if location == "none" and bodies != "always":
        assert "search" in failed(ErrorKind.UNKNOWN_OUTCOME, client.create, RISK).message
        return
    assert client.create(RISK, if_none_exist=ONLY_NEW) == Written("RiskAssessment/ehr-1", "1", created=True)
    assert client.create(RISK, if_none_exist=ONLY_NEW) == Written("RiskAssessment/ehr-1", "1", created=False)
    assert client.create(RISK).created
    assert failed(ErrorKind.PRECONDITION, client.create, RISK, if_none_exist=ONLY_NEW).code == "multiple-matches"


@pytest.mark.parametrize("location", ["absolute", "relative", "none"])
def test_an_update_makes_replaces_and_keeps_to_its_version(
    ehr: TestEhr, client: FhirClient, location: Literal["absolute", "relative", "none"]
) -> None:
    ehr.behaviour.location = location
    resource = RISK | {"id": "r-1"}
    assert client.update(resource) == Written("RiskAssessment/r-1", "1", created=True)
    assert client.update(resource, if_match="1") == Written("RiskAssessment/r-1", "2", created=False)
    failed(ErrorKind.PRECONDITION, client.update, resource, if_match="1")
    ehr.behaviour.update_as_create = False
    failed(ErrorKind.REJECTED, client.update, RISK | {"id": "r-2"})
    assert len(ehr.history("RiskAssessment/r-1")) == 2


def test_a_location_behind_a_proxy_is_read_and_not_followed(ehr: TestEhr, client: FhirClient) -> None:
    # An internal name in Location is common behind a proxy; only its end is used.
    reply = ehr.answer
    ehr.answer = lambda request: reply(request).with_headers(  # type: ignore[method-assign]
        Location="http://internal:8080/x/RiskAssessment/77/_history/4"
    )
    assert client.create(RISK) == Written("RiskAssessment/77", "4", created=True)


@pytest.mark.parametrize("make", ["create", "update"])
def test_a_reply_lost_after_the_commit_is_an_unknown_outcome(ehr: TestEhr, client: FhirClient, make: str) -> None:
    ehr.faults.drop_after()
    error = failed(ErrorKind.UNKNOWN_OUTCOME, getattr(client, make), RISK | {"id": "r"})
    assert error.may_retry
    assert (len(ehr.resources("RiskAssessment")), len(ehr.requests())) == (1, 1)
    found = client.search_one_by_identifier("RiskAssessment", "urn:x|k")
    assert found is not None


def test_a_time_out_after_sending_is_an_unknown_outcome(ehr: TestEhr) -> None:
    client = FhirClient(ehr.url, timeouts=Timeouts(5, 5, 5))
    client.capabilities()  # the connection is there: what takes time is the answer
    ehr.faults.delay(30)
    failed(ErrorKind.UNKNOWN_OUTCOME, client.create, RISK, timeout_s=0.3)
    client.close()


def test_a_connection_cut_before_the_work_is_unknown_too(ehr: TestEhr, client: FhirClient) -> None:
    ehr.faults.drop_before()
    failed(ErrorKind.UNKNOWN_OUTCOME, client.create, RISK)
    assert ehr.resources("RiskAssessment") == []


def test_no_connection_is_a_known_outcome(ehr: TestEhr, client: FhirClient) -> None:
    with ehr.down():
        failed(ErrorKind.UNAVAILABLE, client.create, RISK)
    ehr.clear_requests()
    assert client.create(RISK).created
    assert len(ehr.requests()) == 1


def test_an_answer_that_breaks_off_after_its_location_is_enough(ehr: TestEhr, client: FhirClient) -> None:
    ehr.behaviour.bodies = "always"
    ehr.faults.truncate()
    assert client.create(RISK) == Written("RiskAssessment/ehr-1", "1", created=True)
    ehr.behaviour.location = "none"
    ehr.faults.truncate()
    failed(ErrorKind.UNKNOWN_OUTCOME, client.create, RISK)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ErrorKind.REJECTED),
        (404, ErrorKind.NOT_FOUND),
        (409, ErrorKind.CONFLICT),
        (412, ErrorKind.PRECONDITION),
        (413, ErrorKind.REJECTED),
        (422, ErrorKind.REJECTED),
        (429, ErrorKind.THROTTLED),
        (500, ErrorKind.UNAVAILABLE),
        (502, ErrorKind.UNKNOWN_OUTCOME),
        (503, ErrorKind.UNAVAILABLE),
        (504, ErrorKind.UNKNOWN_OUTCOME),
    ],
)
def test_a_write_is_sent_once_whatever_is_answered(
    ehr: TestEhr, client: FhirClient, fake_time: FakeTime, status: int, kind: ErrorKind
) -> None:
    ehr.faults.status(status, times=9, retry_after_s=3 if status == 429 else None)
    error = failed(kind, client.create, RISK)
    assert (len(ehr.requests()), fake_time.slept, error.status) == (1, [], status)
    assert error.retry_after_s == (3 if status == 429 else None)


def test_an_error_crosses_a_process_border_whole(ehr: TestEhr, client: FhirClient) -> None:
    ehr.faults.status(429, retry_after_s=9, code="too-costly")
    error = failed(ErrorKind.THROTTLED, client.create, RISK)
    other = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert isinstance(other, FhirServerError)
    assert vars(other) == vars(error)
    assert str(other) == str(error)


def test_a_redirect_of_a_write_is_refused(ehr: TestEhr, client: FhirClient) -> None:
    with TestEhr() as other:
        ehr.faults.redirect(f"{other.url}/RiskAssessment", status=308)
        failed(ErrorKind.SECURITY, client.create, RISK)
        assert other.requests() == []


def test_what_is_asked_of_the_server(ehr: TestEhr, client: FhirClient) -> None:
    client.create(RISK, if_none_exist=ONLY_NEW)
    (seen,) = ehr.requests("POST")
    assert seen.headers["content-type"] == "application/fhir+json"
    assert (seen.headers["prefer"], seen.headers["if-none-exist"]) == ("return=minimal", ONLY_NEW)
    assert json.loads(seen.body) == RISK


@pytest.mark.parametrize("query", ["identifier=a\r\nX: y", "identifier=\u00e9", ""])
def test_a_condition_that_is_no_header_is_refused(ehr: TestEhr, client: FhirClient, query: str) -> None:
    with pytest.raises(ValueError, match="percent-encode"):
        client.create(RISK, if_none_exist=query)
    for id_, match in ((None, None), ("..", None), ("a/_history/1", None), ("a", 'x"y')):
        with pytest.raises(ValueError, match="FHIR"):
            client.update(RISK if id_ is None else RISK | {"id": id_}, if_match=match)
    assert ehr.requests() == []


def test_of_writers_at_once_one_creates(ehr: TestEhr, client: FhirClient) -> None:
    outcomes: list[Written] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(client.create(RISK, if_none_exist=ONLY_NEW))) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [each.created for each in outcomes].count(True) == 1
    assert len(ehr.resources("RiskAssessment")) == 1
