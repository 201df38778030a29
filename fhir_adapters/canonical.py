"""The canonical URLs that Lang1's own FHIR artefacts live under, and the public code systems it names."""

from __future__ import annotations

from typing import Final

CANONICAL_BASE: Final = "https://lang1.example.org/fhir"
FHIR_VERSION: Final = "4.0.1"
FHIR_JSON: Final = "application/fhir+json"

TASK_SYSTEM: Final = f"{CANONICAL_BASE}/CodeSystem/lang1-task"
OUTCOME_SYSTEM: Final = f"{CANONICAL_BASE}/CodeSystem/lang1-outcome"
MODEL_SYSTEM: Final = f"{CANONICAL_BASE}/CodeSystem/lang1-model"
ASSESSMENT_IDENTIFIER_SYSTEM: Final = f"{CANONICAL_BASE}/identifier/risk-assessment"
BUNDLE_IDENTIFIER_SYSTEM: Final = f"{CANONICAL_BASE}/identifier/model-bundle-sha256"
NOTE_TEXT_IDENTIFIER_SYSTEM: Final = f"{CANONICAL_BASE}/identifier/note-sha256"
SCORE_OPERATION: Final = f"{CANONICAL_BASE}/OperationDefinition/DocumentReference-score"

NOTE_TYPE_MATCH_EXTENSION: Final = f"{CANONICAL_BASE}/StructureDefinition/note-type-match"
TRUNCATED_EXTENSION: Final = f"{CANONICAL_BASE}/StructureDefinition/truncated"
DROPPED_TOKENS_EXTENSION: Final = f"{CANONICAL_BASE}/StructureDefinition/dropped-tokens"
PRELIMINARY_NOTE_EXTENSION: Final = f"{CANONICAL_BASE}/StructureDefinition/preliminary-note"

ACT_REASON_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
RISK_PROBABILITY_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/risk-probability"
UCUM_SYSTEM: Final = "http://unitsofmeasure.org"
# The FHIR R4 system, its DSTU2/STU3 name, and the HL7 v3 OID: labels written years ago are still labels.
CONFIDENTIALITY_SYSTEMS: Final = frozenset(
    {
        "http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
        "http://hl7.org/fhir/v3/Confidentiality",
        "urn:oid:2.16.840.1.113883.5.25",
    }
)
