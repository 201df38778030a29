"""AuditEvents: R4 by two validators, and BALP where they claim it."""

from __future__ import annotations

import base64
import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from fhir_adapters.audit_event import Access, Observer, access_to_audit_event
from tests.node_validator import validate_r4
from tests.serve.security.balp import breaches

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PREDICTION = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
REQUEST = "8e7d0f6a-93a5-4f07-9a43-0a3f7c1f6b11"
OBSERVER = Observer("https://lang1.hospital.example/fhir", "0.1.0", "https://ehr.hospital.example/fhir")
ACTIONS = ("score", "show", "read", "search", "audit", "write-back", "retract", "merge", "forget", "prune", "newer")
SUBJECTS = (None, "Patient/1", "https://EHR.example/fhir/Patient/1", "urn:mrn|9", "Group/7")


def event(action: str, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"prediction": PREDICTION, "subject": "Patient/1", "client_address": "10.0.0.1"} | more
    return access_to_audit_event(Access("7-0", AT, action, "epic", REQUEST, **given), OBSERVER)


EVENTS = [
    event(action, prediction=prediction, subject=subject, client_address=address, query=query)
    for action, prediction, subject, address, query in itertools.product(
        ACTIONS, (None, PREDICTION), SUBJECTS, (None, "fd00::1"), (None, "RiskAssessment?patient=1")
    )
    if query is None or action in ("search", "audit")
]


def test_every_event_is_r4() -> None:
    for each in EVENTS:
        AuditEvent.model_validate(each)
    assert [found for found in validate_r4(EVENTS) if found] == []


def test_every_event_that_claims_a_balp_profile_meets_it() -> None:
    claiming = [each for each in EVENTS if "meta" in each and each["action"] != "D"]
    assert len(claiming) > len(EVENTS) / 8
    assert [(each["meta"], breaches(each)) for each in claiming if breaches(each)] == []


@pytest.mark.parametrize(
    ("action", "profile"),
    [
        ("score", "PatientCreate"), ("show", "PatientRead"), ("read", "PatientRead"), ("search", "PatientQuery"),
        ("write-back", "PatientCreate"), ("retract", "PatientUpdate"), ("merge", "PatientUpdate"),
    ],
)  # fmt: skip
def test_a_patients_event_is_of_the_profile(action: str, profile: str) -> None:
    (claimed,) = event(action, query="RiskAssessment?patient=1")["meta"]["profile"]
    assert claimed.endswith(f"/IHE.BasicAudit.{profile}")


@pytest.mark.parametrize("missing", [{"client_address": None}, {"action": "search", "query": None}])
def test_an_event_that_lacks_what_a_profile_requires_claims_none(missing: dict[str, Any]) -> None:
    given = {"action": "read", **missing}
    assert "meta" not in event(given.pop("action"), **given)


def test_a_search_is_told_as_it_was_asked() -> None:
    words = "RiskAssessment?patient=1&_lastUpdated=ge2026"
    told = [each["query"] for each in event("search", query=words)["entity"] if "query" in each]
    assert [base64.b64decode(each).decode() for each in told] == [words]


def test_a_score_without_a_patient_is_named_by_its_identifier() -> None:
    whats = [each["what"] for each in event("score", subject=None)["entity"]]
    assert not any("reference" in what for what in whats)


def test_a_group_is_no_patient() -> None:
    assert all(each["type"]["code"] != "1" for each in event("read", subject="Group/7")["entity"])
    assert any(each["type"]["code"] == "1" for each in event("read", subject="https://EHR.example/Patient/1")["entity"])
