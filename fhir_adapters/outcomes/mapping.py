"""What this hospital's codes mean: a YAML file of lists, with defaults for HL7, NUBC and SNOMED CT codes.

An entry of a list is described at `fhir_adapters.outcomes.codes.CodeList`. A key that the file does not name keeps its
default; one that it names is replaced whole. `rules` is the section of the same name in the mapping file of training,
so that live labels and training labels come from one text.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fhir_adapters.outcomes.codes import fold
from lang1.charlson import IcdVersion
from lang1.errors import Lang1Error
from lang1.hospital_record import ClaimStatus, LabelPolicy

_HL7 = "http://terminology.hl7.org/CodeSystem"
_ACT = f"{_HL7}/v3-ActCode"
_SNOMED = "http://snomed.info/sct"
_DISCHARGE = f"{_HL7}/discharge-disposition"
# UB-04 patient discharge status, under the names that it goes by: NUBC's own, the one that US feeds send, HL7 v2's.
_UB04_DISCHARGE = (
    "https://www.nubc.org/CodeSystem/PatDischargeStatus",
    "http://www.nubc.org/patient-discharge",
    f"{_HL7}/v2-0112",
)
_UB04_ORIGIN = ("https://www.nubc.org/CodeSystem/PointOfOrigin", f"{_HL7}/v2-0023")
_UB04_PRIORITY = "https://www.nubc.org/CodeSystem/PriorityTypeOfAdmitOrVisit"

Entry = Annotated[str, Field(min_length=1, max_length=512)]
Entries = tuple[Entry, ...]


class MappingFileError(Lang1Error):
    """The mapping file cannot be used: names the file, the key and what is wrong with it. Refuses the start."""

    code = "invalid"


class OutcomeMapping(BaseModel):
    """The lists. Settings of a hospital, read once at the start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inpatient_classes: Entries = tuple(
        f"{system}|{code}" for system in (_ACT, "") for code in ("IMP", "ACUTE", "NONAC")
    )
    """Encounter.class of an inpatient stay. Observation (OBSENC), short stay (SS), emergency and day visits are not: a
    US hospital bills them as outpatient care, and the paper's sets hold admissions alone."""
    booked_classes: Entries = tuple(f"{system}|PRENC" for system in (_ACT, ""))
    """Encounter.class of an admission that is only booked; counts for the bed forecast while its status is planned."""
    left_out_classes: Entries = tuple(f"{system}|NONAC" for system in (_ACT, ""))
    """Inpatient, but not acute: nursing, rehabilitation and long-term care. Neither index stay nor readmission."""
    left_out_services: Entries = (
        *(f"{_HL7}/service-type|{code}" for code in ("179", "181", "204", "360", "533", "535", "576", "583")),
        *(f"{_SNOMED}|{code}" for code in ("394602003", "394806003", "305336008", "108241001")),
        "rehabilitation", "dialysis", "palliative care", "hospice",
    )  # fmt: skip
    """Encounter.serviceType or type of rehabilitation, dialysis and palliative stays."""
    died_dispositions: Entries = (
        f"{_DISCHARGE}|exp",
        *(f"{system}|{code}" for system in _UB04_DISCHARGE for code in ("20", "40", "41", "42")),
        *(f"{_SNOMED}|{code}" for code in ("371828006", "419099009", "397709008")),
        "expired", "deceased", "died", "dead",
    )  # fmt: skip
    """hospitalization.dischargeDisposition of who died."""
    alive_dispositions: Entries = (
        *(f"{system}|*" for system in (_DISCHARGE, *_UB04_DISCHARGE, _SNOMED)),
        "home",
    )
    """Of who left alive. A disposition on neither list is not understood: the stay has none, rather than a survivor."""
    planned_priorities: Entries = (
        f"{_HL7}/v3-ActPriority|EL", f"{_HL7}/v2-0007|C", f"{_UB04_PRIORITY}|3", "elective",
    )  # fmt: skip
    """Encounter.priority or type of a planned admission."""
    transfer_sources: Entries = (
        f"{_HL7}/admit-source|hosp-trans",
        *(f"{system}|4" for system in _UB04_ORIGIN),
        f"{_UB04_ORIGIN[0]}|D",
    )
    """hospitalization.admitSource of who came from another acute hospital, or another unit of this one."""
    newborn_codes: Entries = (
        f"{_HL7}/admit-source|born", f"{_HL7}/v2-0007|N", f"{_UB04_PRIORITY}|4", "newborn",
    )  # fmt: skip
    """admitSource, priority or type of a birth."""
    planned_discharge_extension: str | None = None
    """URL of an Encounter extension (valueDateTime) with the expected discharge. Without it, `period.end` of a stay
    that is not over is one."""
    unit_physical_types: tuple[str, ...] = ("wa",)
    """Location.physicalType of a unit, where the entries of Encounter.location say theirs."""
    units: dict[str, Annotated[str, Field(min_length=1, max_length=80)]] = Field(default_factory=dict)
    """Location reference, identifier `system|value` or display to the unit's name. Others keep their display."""

    icd_systems: dict[str, IcdVersion] = Field(
        default_factory=lambda: {
            "http://hl7.org/fhir/sid/icd-10-cm": IcdVersion.ICD_10_CM,
            "http://hl7.org/fhir/sid/icd-10": IcdVersion.ICD_10_CM,
            "urn:oid:2.16.840.1.113883.6.90": IcdVersion.ICD_10_CM,
            "http://hl7.org/fhir/sid/icd-9-cm": IcdVersion.ICD_9_CM,
            "urn:oid:2.16.840.1.113883.6.103": IcdVersion.ICD_9_CM,
        }
    )
    """Code systems whose codes count for Charlson, and which ICD they are read as."""
    diagnosis_categories: Entries = (f"{_HL7}/condition-category|encounter-diagnosis", "encounter-diagnosis")
    """Condition.category that makes it a diagnosis of its encounter. Without any category it is one; any other
    (problem list) counts only where Encounter.diagnosis lists it."""

    claim_encounter_extension: str | None = None
    """URL of an extension (valueReference) that names the encounter of a claim resource."""
    claim_status_extension: str | None = None
    """URL of an extension (valueCode, valueString, valueCoding or valueCodeableConcept) with the payer's own word."""
    claim_words: dict[str, ClaimStatus] = Field(
        default_factory=lambda: {
            "paid": ClaimStatus.PAID, "approved": ClaimStatus.PAID, "denied": ClaimStatus.DENIED,
            "denial upheld": ClaimStatus.FINAL_ADVERSE, "denial overturned": ClaimStatus.FINAL_FAVOURABLE,
        }
    )  # fmt: skip
    """What the payer's word, or the whole `disposition`, means. Goes before what is read from the amounts."""
    claim_outcomes: dict[str, ClaimStatus] = Field(
        default_factory=lambda: {
            "queued": ClaimStatus.PENDING, "error": ClaimStatus.PENDING, "partial": ClaimStatus.PENDING,
        }
    )  # fmt: skip
    """What an outcome other than complete means. An error is a claim that was not judged, which is no denial."""
    denial_codes: Entries = (
        f"{_HL7}/adjudication-reason|ar001", f"{_HL7}/adjudication-reason|ar002",
        "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication|denialreason",
    )  # fmt: skip
    """adjudication.reason or .category of what the payer refuses."""
    claim_uses: tuple[Literal["claim", "preauthorization", "predetermination"], ...] = ("claim",)
    """Which uses count. The refusal of a prior authorisation is another outcome than the denial of a claim."""
    same_claim_relationships: Entries = (f"{_HL7}/ex-relatedclaimrelationship|prior", "prior")
    """Claim.related.relationship of a resubmission or an appeal: its answers go on with the history of the first."""
    denials_final_after_days: Annotated[int, Field(ge=1, le=3650)] | None = 180
    """A denial without a later answer is final after so long: R4 has no code for it, and appeals have time limits.
    null: only the payer's words make it final."""

    rules: LabelPolicy = LabelPolicy()

    @field_validator("claim_words")
    @classmethod
    def _folded(cls, words: dict[str, ClaimStatus]) -> dict[str, ClaimStatus]:
        return {fold(word): status for word, status in words.items()}

    @field_validator("claim_outcomes")
    @classmethod
    def _known(cls, outcomes: dict[str, ClaimStatus]) -> dict[str, ClaimStatus]:
        if not outcomes.keys() <= {"queued", "error", "partial"}:
            raise ValueError("the outcomes to be mapped are queued, error and partial; complete is read further")
        return outcomes

    @model_validator(mode="after")
    def _check(self) -> OutcomeMapping:
        if self.rules.observed_until is not None:
            raise ValueError(
                "rules.observed_until has no place here; how far the feed is complete is found in the feed"
            )
        return self


@lru_cache(maxsize=4)
def load_outcome_mapping(path: Path | None) -> OutcomeMapping:
    """The mapping of a YAML file, the defaults for None. Raises MappingFileError."""
    if path is None:
        return OutcomeMapping()
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise MappingFileError(
            f"{path}: cannot be read as YAML ({type(error).__name__}); send a UTF-8 YAML file"
        ) from None
    try:
        return OutcomeMapping.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise MappingFileError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
