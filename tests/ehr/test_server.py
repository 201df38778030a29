"""The test EHR itself: what other tests rest on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from fhir_adapters.subscriptions import parse_notification
from tests.ehr.faults import Fault
from tests.ehr.messages import PLANTED
from tests.ehr.notifications import Notifier
from tests.ehr.server import TestEhr

RISK: dict[str, Any] = {"resourceType": "RiskAssessment", "identifier": [{"system": "urn:x", "value": "k"}]}


@pytest.fixture
def ehr() -> Iterator[TestEhr]:
    with TestEhr() as running:
        yield running


@pytest.fixture
def http(ehr: TestEhr) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ehr.url, trust_env=False, timeout=5) as client:
        yield client


def test_it_starts_and_stops_at_once() -> None:
    began = time.monotonic()
    with TestEhr() as ehr:
        assert httpx.get(f"{ehr.url}/metadata", trust_env=False).status_code == 200
    assert time.monotonic() - began < 1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{ehr.url}/metadata", trust_env=False)


def test_versions_deletion_and_history(ehr: TestEhr, http: httpx.Client) -> None:
    reference = ehr.add(RISK)
    ehr.add(RISK | {"id": "ehr-1", "status": "final"})
    assert http.get(f"/{reference}").headers["etag"] == 'W/"2"'
    assert "status" not in http.get(f"/{reference}/_history/1").json()
    assert http.delete(f"/{reference}").status_code == 204
    assert http.get(f"/{reference}").status_code == 410
    assert http.get("/RiskAssessment/none").status_code == 404
    assert [each and each["meta"]["versionId"] for each in ehr.history(reference)] == ["1", "2", None]
    assert ehr.resources("RiskAssessment") == []


def test_a_conditional_create_is_atomic(ehr: TestEhr) -> None:
    statuses: list[int] = []

    def write() -> None:
        condition = {"If-None-Exist": "identifier=urn:x|k"}
        with httpx.Client(base_url=ehr.url, trust_env=False, verify=False) as http:  # noqa: S501  # no TLS, no context
            statuses.append(http.post("/RiskAssessment", json=RISK, headers=condition).status_code)

    threads = [threading.Thread(target=write) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(statuses) == [200] * 19 + [201]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("_id=a,b", "ab"),
        ("identifier=urn:x|1", "a"),
        ("identifier=1", "ab"),
        ("identifier=|1", "b"),
        ("identifier=urn:x|1,urn:x|3", "ac"),
        ("patient=p1", "ab"),
        ("subject=Patient/p1", "ab"),
        ("encounter=e1", "c"),
        ("type=http://loinc.org|18842-5", "a"),
        ("type=18842-5,11506-3", "ab"),
        ("_lastUpdated=ge2026-01-02T00:00:00Z", "bc"),
        ("_lastUpdated=gt2026-01-02T00:00:00Z&_lastUpdated=le2026-01-03T01:00:00%2B01:00", "c"),
        ("_lastUpdated=lt2026-01-02T00:00:00Z", "a"),
        ("_sort=-_lastUpdated", "cba"),
        ("unknown=x", "abc"),
    ],
)
def test_searches(ehr: TestEhr, http: httpx.Client, query: str, wanted: str) -> None:
    def add(id_: str, patient: str, day: int, code: str, identifier: dict[str, str], **more: Any) -> None:
        document = {
            "resourceType": "DocumentReference", "id": id_, "subject": {"reference": f"Patient/{patient}"},
            "type": {"coding": [{"system": "http://loinc.org", "code": code}]}, "identifier": [identifier], **more,
        }  # fmt: skip
        ehr.add(document, last_updated=f"2026-01-0{day}T00:00:00.000Z")

    add("a", "p1", 1, "18842-5", {"system": "urn:x", "value": "1"})
    add("b", "p1", 2, "11506-3", {"value": "1"})
    add("c", "p2", 3, "x", {"system": "urn:x", "value": "3"}, context={"encounter": [{"reference": "Encounter/e1"}]})
    found = http.get(f"/DocumentReference?{query}").json()
    assert "".join(entry["resource"]["id"] for entry in found.get("entry", [])) == wanted
    assert found["total"] == len(wanted)


def test_a_batch_answers_each_entry(ehr: TestEhr, http: httpx.Client) -> None:
    ehr.add({"resourceType": "Patient", "id": "p"})
    requests = [
        {"request": {"method": "GET", "url": "Patient/p"}},
        {"request": {"method": "POST", "url": "RiskAssessment", "ifNoneExist": "identifier=urn:x|k"}, "resource": RISK},
        {"request": {"method": "GET", "url": "Patient?_id=none"}},
        {"request": {"method": "GET", "url": "Patient/none"}},
    ]
    answer = http.post("", json={"resourceType": "Bundle", "type": "batch", "entry": requests}).json()
    assert [entry["response"]["status"] for entry in answer["entry"]] == ["200", "201", "200", "404"]
    assert answer["entry"][0]["resource"]["id"] == "p"
    assert answer["entry"][3]["response"]["outcome"]["resourceType"] == "OperationOutcome"


def test_faults_come_in_order_are_counted_and_recorded(ehr: TestEhr, http: httpx.Client) -> None:
    ehr.faults.status(429, times=2, method="GET", path="Patient", retry_after_s=3)
    ehr.faults.drop_before(path="Patient")
    ehr.faults.drop_after(method="POST")
    assert http.get("/metadata").status_code == 200
    assert [http.get("/Patient").headers["retry-after"] for _ in range(2)] == ["3", "3"]
    for method, path in (("GET", "/Patient"), ("POST", "/RiskAssessment")):
        with pytest.raises(httpx.RemoteProtocolError):
            http.request(method, path, json=RISK)
    assert len(ehr.resources("RiskAssessment")) == 1
    assert PLANTED not in http.get("/Patient").text
    assert ehr.faults.hits == {"status": 2, "drop-before": 1, "drop-after": 1}
    assert [seen.status for seen in ehr.requests()] == [200, 429, 429, None, None, 200]


def test_chance_is_the_same_for_the_same_seed(ehr: TestEhr, http: httpx.Client) -> None:
    def statuses() -> list[int]:
        ehr.faults.at_random(7, {Fault("status", path="Patient", status=500): 0.3, Fault("status", path="Pat"): 0.2})
        found = [http.get("/Patient").status_code for _ in range(40)]
        ehr.faults.at_random(0, {})
        return found

    first = statuses()
    assert first == statuses()
    assert {200, 500, 503} == set(first)
    assert http.get("/Patient").status_code == 200


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"aud": "http://elsewhere/token"}, "aud"),
        ({"exp": 400}, "exp"),
        ({"exp": -1}, "exp"),
        ({"exp": None}, "exp"),
        ({"iss": "other"}, "iss is not sub"),
        ({"sub": "other", "iss": "other"}, "unknown client or kid"),
        ({"jti": ""}, "jti"),
        ({"kid": "other"}, "unknown client or kid"),
        ({"alg": "ES256"}, "signature"),
        ({"signature": True}, "signature"),
        ({"scope": None}, "scope"),
        ({}, None),
    ],
)
def test_an_assertion_that_is_not_good_is_refused(ehr: TestEhr, wrong: dict[str, Any], why: str | None) -> None:
    key = ECKey.generate_key("P-384")
    ehr.auth.register("c", {"keys": [{**key.as_dict(private=False), "kid": "k"}]})
    claims: dict[str, Any] = {"iss": "c", "sub": "c", "aud": ehr.auth.token_url, "exp": 200, "jti": "1"} | wrong
    claims["exp"] = None if claims["exp"] is None else int(time.time()) + claims["exp"]
    other = {"alg": "P-256", "signature": "P-384"}
    signer = next((ECKey.generate_key(curve) for name, curve in other.items() if name in wrong), key)
    header = {"alg": wrong.get("alg", "ES384"), "kid": wrong.get("kid", "k"), "typ": "JWT"}
    form = {
        "grant_type": "client_credentials", "scope": wrong.get("scope", "system/*.rs") or "",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode(header, claims, signer, algorithms=["ES384", "ES256"]),
    }  # fmt: skip
    answer = httpx.post(ehr.auth.token_url, data=form, trust_env=False)
    assert ehr.auth.refusals == ([why] if why else [])
    assert answer.is_success is (why is None)
    again = httpx.post(ehr.auth.token_url, data=form, trust_env=False)
    assert not again.is_success
    assert ehr.auth.refusals[-1] == (why or "jti")


def test_scopes_are_those_of_smart_versions_1_and_2(ehr: TestEhr, http: httpx.Client) -> None:
    ehr.auth.required = True
    ehr.add({"resourceType": "Patient", "id": "p"})
    assert http.get("/Patient/p").status_code == 401
    assert http.get("/metadata").status_code == 200
    for scope, read, written in (
        ("system/Patient.rs", 200, 403),
        ("system/*.read", 200, 403),
        ("system/Patient.write", 403, 201),
        ("system/*.cruds", 200, 201),
        ("system/Encounter.rs openid", 403, 403),
    ):
        token = {"Authorization": f"Bearer {ehr.auth.issue(scope)}"}
        assert http.get("/Patient/p", headers=token).status_code == read
        assert http.post("/Patient", json={"resourceType": "Patient"}, headers=token).status_code == written
    ehr.auth.revoke_tokens()
    assert http.get("/Patient/p", headers=token).status_code == 401


@pytest.mark.parametrize(("content", "changes"), [("empty", 0), ("id-only", 1), ("full-resource", 1)])
def test_notifications_are_what_the_service_reads(ehr: TestEhr, content: Any, changes: int) -> None:
    with TestEhr() as endpoint:
        notifier = Notifier(ehr, f"{endpoint.url}/$notification", content)
        reference = ehr.add({"resourceType": "DocumentReference", "id": "d"})
        answers = [notifier.handshake(), notifier.heartbeat(), notifier.event(reference), notifier.repeat(1)]
        notifier.lose(2)
        answers.append(notifier.event(reference))
        assert {answer.status_code for answer in answers} == {404}  # it is no service
        sent = [parse_notification(json.loads(seen.body)) for seen in endpoint.requests("POST")]
    assert [each.kind for each in sent] == ["handshake", "heartbeat", *["event-notification"] * 3]
    assert [each.status for each in sent] == ["requested", *["active"] * 4]
    assert [event.number for each in sent for event in each.events] == [1, 1, 4]
    assert sent[-1].events_since_start == 4
    assert [change.literal for change in sent[2].changes] == ["DocumentReference/d"] * changes
    assert [change.resource is not None for change in sent[2].changes] == [content == "full-resource"] * changes


def test_a_notification_is_sent_until_it_is_taken(ehr: TestEhr) -> None:
    with TestEhr() as endpoint:
        endpoint.faults.status(503, times=2)
        endpoint.faults.body(b"{}")
        notifier = Notifier(ehr, endpoint.url)
        assert notifier.event(ehr.add(RISK), until_taken_s=5).status_code == 200
        assert [seen.status for seen in endpoint.requests("POST")] == [503, 503, 200]
        assert len({seen.body for seen in endpoint.requests("POST")}) == 1
        endpoint.faults.status(503, times=99)
        with pytest.raises(AssertionError, match="503"):
            notifier.event(ehr.add(RISK), until_taken_s=0.2)
