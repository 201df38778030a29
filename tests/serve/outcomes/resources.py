"""FHIR resources of an invented hospital, and the store that they go into. No real patient."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from fhir_adapters.outcomes.facts import Reading
from fhir_adapters.outcomes.mapping import OutcomeMapping
from fhir_adapters.outcomes.reading import read_fact
from lang1.tasks import BUILT_IN
from serve.outcomes.context import LabelContext
from serve.outcomes.record import RecordedFacts, record_facts
from serve.store.core import Store
from serve.store.tables import Outcome
from serve.store.transaction import Transaction

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
DISPOSITION = "http://terminology.hl7.org/CodeSystem/discharge-disposition"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
BY_RULE = {task.label_rule: task.name for task in BUILT_IN.values()}
READMISSION, MORTALITY = BY_RULE["readmission"], BY_RULE["in_hospital_mortality"]
LENGTH, CHARLSON, DENIAL = BY_RULE["length_of_stay"], BY_RULE["charlson_comorbidity_index"], BY_RULE["insurance_denial"]


def coded(code: str, system: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def stamped(resource: dict[str, Any], updated: str | None, version: int | None = None) -> dict[str, Any]:
    if updated is not None:
        resource["meta"] = {"lastUpdated": updated} | ({"versionId": str(version)} if version is not None else {})
    return resource


def encounter(
    own_id: str = "e1", start: str | None = "2026-03-02T08:00:00Z", end: str | None = None, *, patient: str = "p1",
    status: str | None = None, kind: str = "IMP", disposition: str | None = "home", updated: str | None = None,
    version: int | None = None, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    status = status or ("finished" if end else "in-progress")
    period = {name: value for name, value in (("start", start), ("end", end)) if value}
    resource: dict[str, Any] = {
        "resourceType": "Encounter", "id": own_id, "status": status, "class": {"system": ACT, "code": kind},
        "subject": {"reference": f"Patient/{patient}"}, "period": period,
    }  # fmt: skip
    if status == "finished" and disposition:
        resource["hospitalization"] = {"dischargeDisposition": coded(disposition, DISPOSITION)}
    return stamped({**resource, **more}, updated, version)


def condition(
    own_id: str = "c1", code: str = "I50.9", *, of: str | None = "Encounter/e1", patient: str = "p1",
    updated: str | None = None, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    resource: dict[str, Any] = {
        "resourceType": "Condition", "id": own_id, "subject": {"reference": f"Patient/{patient}"},
        "code": coded(code, ICD10),
    }  # fmt: skip
    if of is not None:
        resource["encounter"] = {"reference": of}
    return stamped({**resource, **more}, updated)


def _claim(kind: str, own_id: str, created: str, patient: str, updated: str | None, more: dict[str, Any]) -> Any:
    return stamped(
        {
            "resourceType": kind, "id": own_id, "status": "active", "type": {"text": "institutional"}, "use": "claim",
            "patient": {"reference": f"Patient/{patient}"}, "created": created, **more,
        },
        updated,
    )  # fmt: skip


def claim(
    own_id: str = "k1", created: str = "2026-03-10", *, of: str | None = "Encounter/e1", patient: str = "p1",
    updated: str | None = None, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    items = [{"sequence": 1, "productOrService": {"text": "x"}, "encounter": [{"reference": of}]}] if of else []
    filled: dict[str, Any] = {
        "provider": {"reference": "Organization/h"}, "priority": {"text": "normal"},
        "insurance": [{"sequence": 1, "focal": True, "coverage": {"reference": "Coverage/1"}}],
        **({"item": items} if items else {}), **more,
    }  # fmt: skip
    resource: dict[str, Any] = _claim("Claim", own_id, created, patient, updated, filled)
    return resource


def answer(
    own_id: str = "r1", created: str = "2026-04-01", *, to: str | None = "Claim/k1", word: str | None = "denied",
    patient: str = "p1", updated: str | None = None, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    filled: dict[str, Any] = {
        "insurer": {"reference": "Organization/i"}, "outcome": "complete",
        **({"request": {"reference": to}} if to else {}), **({"disposition": word} if word else {}), **more,
    }  # fmt: skip
    resource: dict[str, Any] = _claim("ClaimResponse", own_id, created, patient, updated, filled)
    return resource


def benefit(
    own_id: str = "b1", created: str = "2026-04-01", *, of: str | None = "Encounter/e1", word: str | None = "denied",
    patient: str = "p1", updated: str | None = None, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    items = [{"sequence": 1, "productOrService": {"text": "x"}, "encounter": [{"reference": of}]}] if of else []
    filled: dict[str, Any] = {
        "insurer": {"reference": "Organization/i"}, "provider": {"reference": "Organization/h"}, "outcome": "complete",
        "insurance": [{"focal": True, "coverage": {"reference": "Coverage/1"}}],
        **({"item": items} if items else {}), **({"disposition": word} if word else {}), **more,
    }  # fmt: skip
    resource: dict[str, Any] = _claim("ExplanationOfBenefit", own_id, created, patient, updated, filled)
    return resource


def label_context(zone: str = "UTC", **changes: Any) -> LabelContext:
    given: dict[str, Any] = {
        "tasks": tuple(BUILT_IN.values()), "policy": OutcomeMapping().rules, "timezone": zone, "feed_lag_ms": 0,
        "denials_final_after_days": 180, **changes,
    }  # fmt: skip
    return LabelContext(**given)


class Hospital:
    """A store, how facts are read, and short ways to put them in and see their labels."""

    def __init__(self, store: Store, zone: str = "UTC", mapping: OutcomeMapping | None = None, **changes: Any) -> None:
        self.store = store
        self.context = label_context(zone, **changes)
        self.reading = Reading(mapping or OutcomeMapping(), ZoneInfo(zone), NOW)

    def take(self, *resources: dict[str, Any], source: str = "ehr") -> RecordedFacts:
        """All in one transaction."""
        facts = [read_fact(each, self.reading) for each in resources]
        return self.store.write(record_facts, source, facts, self.context)

    def outcomes(self) -> dict[tuple[str, str], dict[str, Any]]:
        """(encounter, task) to the row."""
        return {(row["encounter"], row["task"]): row for row in self.store.read(all_outcomes)}

    def labels(self) -> dict[tuple[str, str], int | str]:
        """(encounter, task) to the option, or the reason why there is none."""
        return {key: row["reason"] if row["option"] is None else row["option"] for key, row in self.outcomes().items()}

    def label(self, task: str, of: str = "Encounter/e1") -> int | str | None:
        """The option or the reason of one stay; None without a row."""
        return self.labels().get((of, task))


def all_outcomes(transaction: Transaction) -> list[dict[str, Any]]:
    rows = transaction.connection.execute(select(Outcome.__table__).order_by(Outcome.id))
    return [dict(row._mapping) for row in rows]


def later_stay(day: str = "2026-11-20") -> dict[str, Any]:
    """Somebody else's stay, by which the feed is known to be complete until then."""
    return encounter("horizon", f"{day}T00:00:00Z", f"{day}T12:00:00Z", patient="other")


def ids(resources: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{each['resourceType']}/{each['id']}" for each in resources]
