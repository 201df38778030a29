"""Facts and given labels over HTTP, into a running service's database."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from contextlib import closing
from typing import Any

import httpx
import pytest

from tests.serve.notes import FHIR, document
from tests.serve.outcomes.resources import CHARLSON, LENGTH, MORTALITY, condition, encounter
from tests.serve.service import RunningService

STAY = ("2026-03-02T08:00:00Z", "2026-03-06T12:00:00Z")
_ALL = "SELECT encounter, task, option, reason, origin FROM outcomes"


@pytest.fixture
def own() -> str:
    """A part of ids that no other test uses: the service and its database are shared."""
    return uuid.uuid4().hex[:12]


def entry(resource: dict[str, Any], method: str = "POST", url: str | None = None) -> dict[str, Any]:
    kind, own_id = resource["resourceType"], resource.get("id")
    return {
        "resource": resource,
        "request": {"method": method, "url": url or (kind if method == "POST" else f"{kind}/{own_id}")},
    }


def deletion(url: str) -> dict[str, Any]:
    return {"request": {"method": "DELETE", "url": url}}


def send(client: httpx.Client, *entries: dict[str, Any]) -> list[dict[str, Any]]:
    body = {"resourceType": "Bundle", "type": "batch", "entry": list(entries)}
    answer = client.post("/fhir", json=body, headers=FHIR)
    assert answer.status_code == 200
    found: list[dict[str, Any]] = [each["response"] for each in answer.json()["entry"]]
    return found


def labels(service: RunningService, own: str) -> dict[tuple[str, str], Any]:
    with closing(sqlite3.connect(service.database)) as database:
        rows = database.execute(f"{_ALL} WHERE encounter LIKE ?", [f"%{own}%"]).fetchall()
    return {(encounter, task): (option, reason, origin) for encounter, task, option, reason, origin in rows}


def test_a_batch_of_notes_and_facts(service: RunningService, client: httpx.Client, own: str) -> None:
    of = f"Encounter/e{own}"
    note = document(id=f"n{own}", context={"encounter": [{"reference": of}]})
    responses = send(
        client,
        entry(condition(f"c{own}", of=of)),
        entry(note, url="DocumentReference/$score"),
        entry(encounter(f"e{own}", *STAY, patient=f"p{own}"), "PUT"),
        entry(encounter(f"bad{own}", None)),
        entry(encounter(f"e{own}"), "PUT", f"Encounter/other{own}"),
        entry({"resourceType": "Patient", "id": f"p{own}"}),
    )
    assert [each["status"] for each in responses] == ["201", "200", "201", "422", "422", "422"]
    issue = responses[3]["outcome"]["issue"][0]
    assert (issue["code"], issue["expression"]) == ("required", ["Bundle.entry[3].resource.period.start"])
    assert responses[4]["outcome"]["issue"][0]["code"] == "value"
    assert own not in json.dumps(responses)
    found = labels(service, own)
    assert (found[of, LENGTH], found[of, CHARLSON]) == ((2, None, "rule"), (1, None, "rule"))


def test_a_resend_changes_nothing_an_old_version_is_told_and_a_delete_takes_back(
    service: RunningService, client: httpx.Client, own: str
) -> None:
    of, patient = f"Encounter/e{own}", f"p{own}"
    newer = encounter(f"e{own}", *STAY, patient=patient, updated="2026-03-06T13:00:00Z")
    older = encounter(f"e{own}", STAY[0], patient=patient, updated="2026-03-02T09:00:00Z")
    assert [each["status"] for each in send(client, entry(newer, "PUT"))] == ["201"]
    again, late = send(client, entry(newer, "PUT"), entry(older, "PUT"))
    assert (again, late["status"]) == ({"status": "200"}, "200")
    assert "newer version" in late["outcome"]["issue"][0]["diagnostics"]
    assert labels(service, own)[of, LENGTH] == (2, None, "rule")
    assert [each["status"] for each in send(client, deletion(of), deletion("Patient/1"))] == ["200", "422"]
    assert labels(service, own) == {}


def outcomes(client: httpx.Client, *rows: Any) -> list[dict[str, Any]]:
    answer = client.post("/v1/outcomes", json={"outcomes": list(rows)})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def test_given_labels_and_bad_rows_alone(service: RunningService, client: httpx.Client, own: str) -> None:
    of = f"Encounter/e{own}"
    good = {"encounter": of, "task": LENGTH, "option": "days-over-5", "occurred_at": "2026-03-09T08:00:00-05:00"}
    results = outcomes(
        client,
        good,
        {"encounter": of, "task": MORTALITY, "option": 1},
        {"encounter": of, "task": CHARLSON, "excluded": "no-value"},
        {"encounter": of, "task": "SECRET", "option": 1},
        {"encounter": of, "task": LENGTH, "option": 4},
        {"encounter": of, "task": LENGTH, "option": "SECRET"},
        {"encounter": of, "task": LENGTH},
        {"encounter": of, "task": LENGTH, "option": 1, "excluded": "died"},
        {"encounter": of, "task": LENGTH, "option": 1, "SECRET": 1},
        {"encounter": "SECRET\u0000", "task": LENGTH, "option": 1},
        {"encounter": of, "task": LENGTH, "option": 1, "occurred_at": "2026-03-09T08:00:00"},
        {"encounter": of, "task": LENGTH, "option": 1, "occurred_at": "2999-03-09T08:00:00Z"},
        {"task": LENGTH, "option": 1},
        "SECRET",
    )
    assert results[:3] == [{"status": "recorded"}] * 3
    assert [each["error"]["status"] for each in results[3:]] == [404, *[422] * 10]
    assert "SECRET" not in json.dumps(results)
    assert labels(service, own) == {
        (of, LENGTH): (3, None, "given"), (of, MORTALITY): (1, None, "given"),
        (of, CHARLSON): (None, "no-value", "given"),
    }  # fmt: skip
    assert outcomes(client, good) == [{"status": "unchanged"}]
    # The rule's label of the stay does not touch the given ones, and comes back when they are withdrawn.
    send(client, entry(encounter(f"e{own}", *STAY, patient=f"p{own}")))
    assert labels(service, own)[of, LENGTH] == (3, None, "given")
    assert outcomes(client, {"encounter": of, "task": LENGTH, "withdrawn": True}) == [{"status": "withdrawn"}]
    assert labels(service, own)[of, LENGTH] == (2, None, "rule")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"outcomes": []}, 422),
        ({}, 422),
        ({"outcomes": [], "more": 1}, 422),
        ([], 400),
        ({"outcomes": [{}] * 1001}, 422),
    ],
)
def test_a_broken_call_fails_whole(client: httpx.Client, body: Any, status: int) -> None:
    answer = client.post("/v1/outcomes", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_coverage_metrics_and_the_schema(service: RunningService, client: httpx.Client, own: str) -> None:
    send(client, entry(encounter(f"e{own}", *STAY, patient=f"p{own}")))
    found = client.get("/v1/outcomes/coverage", params={"discharged_from": "2026-03-01T00:00:00Z"}).json()
    lengths = next(each for each in found["tasks"] if each["task"] == LENGTH)
    assert lengths["labelled"]["days-4-5"] >= 1
    assert set(found["complete_until_ms"]) == {"anonymous"}
    assert client.get("/v1/outcomes/coverage", params={"discharged_from": "2026"}).status_code == 422
    described = client.get("/openapi.json").json()
    assert "requestBody" in described["paths"]["/v1/outcomes"]["post"]
    assert {"OutcomesCall", "OutcomeIn"} <= described["components"]["schemas"].keys()
    until = time.monotonic() + 20
    while time.monotonic() < until and not service.metric("lang1_facts_total", type="Encounter", code="created"):
        time.sleep(0.2)  # polls with a limit: the other replica's counters
    assert service.metric("lang1_facts_total", type="Encounter", code="created") >= 1
    assert service.metric("lang1_outcomes_total", task=LENGTH, code="days-4-5") >= 1
