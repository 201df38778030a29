"""FHIR R4 building blocks of the synthetic hospital: codings, references, organizations, units."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from training.synth.fhir import TEST_DATA

Resource = dict[str, Any]
HL7 = "http://terminology.hl7.org/CodeSystem"
ICD_SYSTEMS = {10: "http://hl7.org/fhir/sid/icd-10-cm", 9: "http://hl7.org/fhir/sid/icd-9-cm"}
HOSPITAL_ID = "synth-hospital"
PAYERS = (
    "Traditional Medicare", "State Medicaid", "Harborline PPO", "Norvale HMO", "Silverpath Advantage",
    "Uncompensated care pool",
)  # fmt: skip
UNITS = (
    "Cardiology", "Respiratory", "General medicine", "Stroke and neurology", "Surgery", "Orthopaedics", "Oncology",
    "Intensive care",
)  # fmt: skip
INTENSIVE = UNITS.index("Intensive care")
# By reason, in the order of `factors.REASONS`.
UNIT_OF_REASON = (0, 1, 0, 1, 2, 4, 3, 5, 5, 2, 6, 2, 4, 0)


def stamp(second: int) -> str:
    """A FHIR instant."""
    return datetime.fromtimestamp(second, UTC).isoformat().replace("+00:00", "Z")


def day(second: int) -> str:
    """A FHIR date in UTC."""
    return stamp(second)[:10]


def coding(system: str, code: str, display: str | None = None) -> Resource:
    return {"system": system, "code": code} | ({"display": display} if display else {})


def concept(system: str, code: str, display: str | None = None) -> Resource:
    return {"coding": [coding(system, code, display)]}


def reference(kind: str, resource_id: str) -> Resource:
    return {"reference": f"{kind}/{resource_id}"}


def money(amount: float) -> Resource:
    return {"value": amount, "currency": "USD"}


def resource(kind: str, resource_id: str, at_s: int, version: int = 1) -> Resource:
    """The head of a resource as of `at_s`, marked as test data."""
    meta = {"versionId": str(version), "lastUpdated": stamp(at_s), "security": [TEST_DATA]}
    return {"resourceType": kind, "id": resource_id, "meta": meta}


def payer_id(payer: int) -> str:
    return f"synth-payer-{payer}"


def unit_id(unit: int) -> str:
    return f"synth-unit-{unit}"


def houses(at_s: int) -> list[Resource]:
    """The hospital and its payers as Organization, its units as Location."""
    found = [
        resource("Organization", HOSPITAL_ID, at_s)
        | {"active": True, "type": [concept(f"{HL7}/organization-type", "prov")], "name": "Synthetic Hospital"}
    ]
    for number, name in enumerate(PAYERS):
        found.append(
            resource("Organization", payer_id(number), at_s)
            | {"active": True, "type": [concept(f"{HL7}/organization-type", "pay")], "name": name}
        )
    for number, name in enumerate(UNITS):
        found.append(
            resource("Location", unit_id(number), at_s)
            | {
                "status": "active",
                "name": name,
                "mode": "instance",
                "physicalType": concept(f"{HL7}/location-physical-type", "wa", "Ward"),
                "managingOrganization": reference("Organization", HOSPITAL_ID),
            }
        )
    return found
