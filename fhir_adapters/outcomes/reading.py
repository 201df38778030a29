"""One resource of a feed to one fact."""

from __future__ import annotations

from typing import Any

from fhir_adapters.errors import FhirInputError
from fhir_adapters.outcomes.claim import read_claim
from fhir_adapters.outcomes.condition import is_withdrawn, read_condition
from fhir_adapters.outcomes.elements import identity
from fhir_adapters.outcomes.encounter import read_encounter
from fhir_adapters.outcomes.facts import FACT_TYPES, Fact, FactIdentity, Reading, Removal
from fhir_adapters.r4 import check_resource_type, validate_structure

ENTERED_IN_ERROR = "entered-in-error"


def read_fact(resource: dict[str, Any], reading: Reading) -> Fact:
    """What the resource says, or that it is taken back.

    Raises FhirInputError, status 422: invalid (another resourceType), required, code-invalid, structure or value. What
    was entered in error needs its name alone: its other elements may be what was wrong.
    """
    check_resource_type(resource, *FACT_TYPES)
    kind = str(resource["resourceType"])
    named = identity(resource, reading)
    if resource.get("status") == ENTERED_IN_ERROR:
        return Removal(named)
    if kind == "Condition" and is_withdrawn(resource):
        return Removal(named)
    validate_structure(resource, kind)
    if kind == "Encounter":
        return read_encounter(resource, named, reading)
    return read_condition(resource, named, reading) if kind == "Condition" else read_claim(resource, named, reading)


def read_deletion(kind: str, resource_id: str) -> Removal:
    """A DELETE of `kind/resource_id`. Raises FhirInputError 404 for a type that is not taken in."""
    if kind not in FACT_TYPES:
        raise FhirInputError(
            f"resources of this type are not kept; send one of {', '.join(FACT_TYPES)}", code="not-found"
        )
    reference = f"{kind}/{resource_id}"
    return Removal(FactIdentity(kind, reference, (reference,), None, 0), deleted=True)
