"""Facts as plain frozen data: what the store keeps of an Encounter, a Condition or a claim resource.

Times are milliseconds since 1970 UTC. References, names and subjects are PHI: for the store, never for a log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from fhir_adapters.outcomes.mapping import OutcomeMapping
from lang1.hospital_record import ClaimStatus

FACT_TYPES = ("Encounter", "Condition", "Claim", "ClaimResponse", "ExplanationOfBenefit")
"""Resource types that are taken in as facts."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How facts are read: what codes mean, the hospital's clock for dates without a time, the EHR's base URL, now."""

    mapping: OutcomeMapping
    zone: ZoneInfo
    now: datetime
    base_url: str | None = None


@dataclass(frozen=True, slots=True)
class FactIdentity:
    """Which resource, and which version of it. Newer is (updated_ms, version), compared in this order."""

    type: str
    reference: str
    """`Type/id`, or the first identifier as `system|value` for a resource without an id."""
    names: tuple[str, ...]
    """All that it goes by: the reference and its identifiers."""
    updated_ms: int | None
    """meta.lastUpdated; None: as of when it came."""
    version: int
    """meta.versionId where it is a number, else 0."""


@dataclass(frozen=True, slots=True)
class UnitStay:
    """A time in a unit; None: not said."""

    unit: str
    from_ms: int | None
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class EncounterFact:
    """A stay or visit. `died` is 1, 0, or -1 for no disposition that is understood."""

    identity: FactIdentity
    subject: str
    status: str
    inpatient: bool
    booked: bool
    """Of a class that is an admission to come."""
    left_out: bool
    planned: bool
    transferred_in: bool
    newborn: bool
    died: int
    started_ms: int | None
    ended_ms: int | None
    planned_end_ms: int | None
    unit: str | None
    """Where the patient is, or was last, or is expected."""
    units: tuple[UnitStay, ...]
    conditions: tuple[str, ...]
    """Names of the Conditions in Encounter.diagnosis."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiagnosisFact:
    """A Condition. `codes` are (code, ICD version)."""

    identity: FactIdentity
    subject: str | None
    encounters: tuple[str, ...]
    """Names of its encounter; empty when it counts only where an Encounter lists it."""
    codes: tuple[tuple[str, int], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClaimFact:
    """A claim as sent, or a payer's answer to one. `status` None: it does not count (cancelled, or another use)."""

    identity: FactIdentity
    subject: str | None
    status: ClaimStatus | None
    decided_ms: int
    """`created`: when it was sent, or answered."""
    encounters: tuple[str, ...]
    claims: tuple[str, ...]
    """Names of the claim that this is the answer to."""
    earlier: tuple[str, ...]
    """Names of claims that this one resubmits or appeals."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removal:
    """The resource was entered in error, refuted, or deleted: what it said is taken back."""

    identity: FactIdentity
    deleted: bool = False
    """By a DELETE, which has no version: it is of now."""
    notes: tuple[str, ...] = ()


Fact = EncounterFact | DiagnosisFact | ClaimFact | Removal
