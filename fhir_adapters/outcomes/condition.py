"""Condition (R4) to the ICD codes of an encounter."""

from __future__ import annotations

from typing import Any, Final

from fhir_adapters.outcomes.codes import code_list
from fhir_adapters.outcomes.elements import reference_names
from fhir_adapters.outcomes.facts import DiagnosisFact, FactIdentity, Reading
from fhir_adapters.references import codings, objects, text_of

_VERIFICATION: Final = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
# A differential is one of several guesses that exclude each other: counted, they would add up.
NOT_HELD: Final = code_list(
    tuple(
        f"{system}|{code}" for system in (_VERIFICATION, "") for code in ("refuted", "entered-in-error", "differential")
    )
)
_MAX_CODE_CHARS: Final = 32


def is_withdrawn(resource: dict[str, Any]) -> bool:
    """Whether the Condition says that the patient does not have it."""
    return NOT_HELD.holds(resource.get("verificationStatus"))


def read_condition(resource: dict[str, Any], identity: FactIdentity, reading: Reading) -> DiagnosisFact:
    """The codes of a checked Condition that holds. Raises FhirInputError 422 value.

    Confirmed, provisional and unconfirmed ones count, as US inpatient coding has it. A Condition of an encounter counts
    by its category; any Condition counts where Encounter.diagnosis lists it, so one without encounter is kept too.
    """
    mapping = reading.mapping
    notes = []
    codes = tuple(
        dict.fromkeys(
            (code.strip(), int(mapping.icd_systems[system]))
            for coding in codings(resource.get("code"))
            if (system := text_of(coding, "system")) in mapping.icd_systems
            and (code := text_of(coding, "code"))
            and len(code) <= _MAX_CODE_CHARS
        )
    )
    if not codes:
        notes.append("Condition.code has no code of a system in the mapping's icd_systems, so it counts for nothing")
    categories = objects(resource.get("category"))
    counts = not categories or any(map(code_list(mapping.diagnosis_categories).holds, categories))
    encounters = reference_names(resource.get("encounter"), "Condition.encounter", reading.base_url)
    if codes and not (encounters and counts):
        notes.append(
            "the Condition is no diagnosis of an encounter (no encounter, or another category), so it counts only "
            "where an Encounter.diagnosis lists it"
        )
    subject = next(iter(reference_names(resource.get("subject"), "Condition.subject", reading.base_url)), None)
    return DiagnosisFact(identity, subject, encounters if counts else (), codes, tuple(notes))
