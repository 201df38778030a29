"""A chunk of the hospital as FHIR R4 resources, each in the versions that it has over time.

Encounter: on admission, on discharge, and with its diagnoses once coded. A return that the data set has no notes of
(`course`) is an Encounter alone, so that who counts readmissions finds it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np

from training.synth.chunk import Chunk
from training.synth.config import SynthConfig
from training.synth.course import DAY_S, NEVER
from training.synth.factors import REASON, SEXES, column
from training.synth.fhir import document_reference
from training.synth.fhir_claims import ClaimCourse, claim_versions
from training.synth.fhir_parts import (
    HL7,
    HOSPITAL_ID,
    ICD_SYSTEMS,
    INTENSIVE,
    UNIT_OF_REASON,
    UNITS,
    Resource,
    coding,
    concept,
    day,
    payer_id,
    reference,
    resource,
    stamp,
    unit_id,
)
from training.synth.icd import NUMBERS_A_STAY, diagnoses

STREAM = 6
TYPES = (
    "Patient", "Coverage", "Encounter", "Condition", "DocumentReference", "Binary", "Claim", "ClaimResponse",
    "ExplanationOfBenefit",
)  # fmt: skip
"""Types that belong to patients. `Binary` only where notes are kept apart from their documents."""
_DISPOSITIONS = (
    ("home", "Home"),
    ("home", "Home"),
    ("snf", "Skilled nursing facility"),
    ("aadvice", "Left against advice"),
)
_DIED = ("exp", "Expired")
_CRITICAL = 3

Versions = Iterator[tuple[int, Resource]]
"""(second since 1970 from which it is so, resource)."""


def chunk_versions(config: SynthConfig, number: int, chunk: Chunk, *, binaries: bool = False) -> Versions:
    """Every version of every resource of a chunk, by patient and stay, a resource's versions in order of time."""
    rng = np.random.default_rng([config.seed, number, STREAM])
    uniform = rng.random((len(chunk.stays), NUMBERS_A_STAY))
    notes: dict[str, list[dict[str, Any]]] = {}
    for row in chunk.rows:
        notes.setdefault(row["encounter_id"], []).append(row)
    met: set[str] = set()
    for i in np.lexsort((chunk.stays.ordinal, chunk.stays.patient)).tolist():
        if chunk.patient_ids[i] not in met:
            met.add(chunk.patient_ids[i])
            yield from _person(chunk, i)
        yield from _stay(chunk, i, uniform[i])
        for row in notes.get(chunk.encounter_ids[i], []):
            yield from _note(chunk, i, row, binaries)
        yield from claim_versions(_claim_course(chunk, i))


def _person(chunk: Chunk, i: int) -> Versions:
    """Patient and Coverage, as of the patient's first stay `i`."""
    stays, patient_id = chunk.stays, chunk.patient_ids[i]
    at_s = int(chunk.course.admitted[i])
    number = patient_id.rpartition("-")[2]
    patient = resource("Patient", patient_id, at_s) | {
        "identifier": [{"system": "urn:lang1:synthetic:mrn", "value": number}],
        "active": True,
        "name": [{"use": "official", "family": "Synthetic", "given": [f"P{number}"]}],
        "gender": SEXES[int(stays.population.context[i, 1])],
        "birthDate": day(int(stays.born[i]) * DAY_S),
    }
    yield at_s, patient
    died = np.flatnonzero((stays.patient == stays.patient[i]) & stays.died)
    if len(died):
        death_s = int(chunk.course.discharged[died[0]])
        yield death_s, {**patient, **resource("Patient", patient_id, death_s, 2), "deceasedDateTime": stamp(death_s)}
    yield (
        at_s,
        resource("Coverage", patient_id.replace("patient", "coverage"), at_s)
        | {
            "status": "active",
            "beneficiary": reference("Patient", patient_id),
            "payor": [reference("Organization", payer_id(_value(chunk, i, "payer")))],
        },
    )


def _value(chunk: Chunk, i: int, factor: str) -> int:
    return int(chunk.stays.population.values[i, column(factor)])


def _stay(chunk: Chunk, i: int, uniform: Any) -> Versions:
    course, stays = chunk.course, chunk.stays
    encounter_id, patient_id = chunk.encounter_ids[i], chunk.patient_ids[i]
    admitted_s, discharged_s, coded_s = (int(each[i]) for each in (course.admitted, course.discharged, course.coded))
    reason = int(stays.population.context[i, 2])
    planned = reason == REASON["elective_joint"]
    unit = INTENSIVE if _value(chunk, i, "severity") == _CRITICAL else UNIT_OF_REASON[reason]
    head = _encounter(encounter_id, patient_id, unit, admitted_s)
    head["priority"] = concept(f"{HL7}/v3-ActPriority", "EL" if planned else "EM")
    source = ("other", "Other") if planned else ("emd", "From accident/emergency department")
    head["hospitalization"] = {"admitSource": concept(f"{HL7}/admit-source", *source)}
    yield admitted_s, head
    left = _DIED if stays.died[i] else _DISPOSITIONS[_value(chunk, i, "disposition")]
    over = _discharged(head, discharged_s, left)
    yield discharged_s, over
    yield from _coded(chunk, i, over, coded_s, uniform)
    if course.returned[i] != NEVER and not course.return_recorded[i]:
        yield from _unseen_return(encounter_id, patient_id, int(course.returned[i]), unit)


def _encounter(encounter_id: str, patient_id: str, unit: int, admitted_s: int) -> Resource:
    ward = {"location": {**reference("Location", unit_id(unit)), "display": UNITS[unit]}, "status": "active",
            "physicalType": concept(f"{HL7}/location-physical-type", "wa", "Ward"),
            "period": {"start": stamp(admitted_s)}}  # fmt: skip
    return resource("Encounter", encounter_id, admitted_s) | {
        "identifier": [{"system": "urn:lang1:synthetic:visit", "value": encounter_id.removeprefix("synth-encounter-")}],
        "status": "in-progress",
        "class": coding(f"{HL7}/v3-ActCode", "IMP", "inpatient encounter"),
        "subject": reference("Patient", patient_id),
        "period": {"start": stamp(admitted_s)},
        "location": [ward],
        "serviceProvider": reference("Organization", HOSPITAL_ID),
    }


def _discharged(head: Resource, at_s: int, left: tuple[str, str]) -> Resource:
    """The Encounter of `head` once it is over."""
    period = {**head["period"], "end": stamp(at_s)}
    ward = {**head["location"][0], "status": "completed", "period": period}
    return {
        **head,
        **resource("Encounter", head["id"], at_s, 2),
        "status": "finished",
        "period": period,
        "location": [ward],
        "hospitalization": {
            **head.get("hospitalization", {}),
            "dischargeDisposition": concept(f"{HL7}/discharge-disposition", *left),
        },
    }


def _coded(chunk: Chunk, i: int, over: Resource, at_s: int, uniform: Any) -> Versions:
    stays, encounter_id = chunk.stays, chunk.encounter_ids[i]
    found = diagnoses(
        int(stays.population.context[i, 2]), stays.population.values[i], int(stays.discharged[i]), uniform
    )
    listed = []
    for rank, each in enumerate(found, start=1):
        condition_id = f"{encounter_id.replace('encounter', 'condition')}-{rank}"
        listed.append(
            {
                "condition": reference("Condition", condition_id),
                "use": concept(f"{HL7}/diagnosis-role", "DD", "Discharge diagnosis"),
                "rank": rank,
            }
        )
        yield (
            at_s,
            resource("Condition", condition_id, at_s)
            | {
                "clinicalStatus": concept(f"{HL7}/condition-clinical", "active"),
                "verificationStatus": concept(f"{HL7}/condition-ver-status", "confirmed"),
                "category": [concept(f"{HL7}/condition-category", "encounter-diagnosis", "Encounter Diagnosis")],
                "code": {**concept(ICD_SYSTEMS[int(each.version)], each.code), "text": each.display},
                "subject": reference("Patient", chunk.patient_ids[i]),
                "encounter": reference("Encounter", encounter_id),
                "recordedDate": stamp(at_s),
            },
        )
    yield at_s, {**over, **resource("Encounter", encounter_id, at_s, 3), "diagnosis": listed}


def _unseen_return(encounter_id: str, patient_id: str, returned_s: int, unit: int) -> Versions:
    head = _encounter(f"{encounter_id}-return", patient_id, unit, returned_s)
    yield returned_s, head
    left_s = returned_s + 2 * DAY_S
    yield left_s, _discharged(head, left_s, _DISPOSITIONS[0])


def _note(chunk: Chunk, i: int, row: dict[str, Any], binaries: bool) -> Versions:
    at_s = int(row["authored"])
    document = document_reference({**row, "authored": at_s})
    document["meta"] |= {"versionId": "1", "lastUpdated": stamp(at_s)}
    document["context"]["period"] = {"start": stamp(int(chunk.course.admitted[i]))}
    if binaries:
        binary_id = row["note_id"].replace("note", "text")
        attachment = document["content"][0]["attachment"]
        data = attachment.pop("data")
        attachment |= {"url": f"Binary/{binary_id}", "size": len(base64.b64decode(data))}
        yield at_s, resource("Binary", binary_id, at_s) | {"contentType": attachment["contentType"], "data": data}
    yield at_s, document


def _claim_course(chunk: Chunk, i: int) -> ClaimCourse:
    course, stays = chunk.course, chunk.stays
    nights = int(stays.discharged[i] - stays.admitted[i])
    return ClaimCourse(
        encounter_id=chunk.encounter_ids[i],
        patient_id=chunk.patient_ids[i],
        payer=_value(chunk, i, "payer"),
        admitted_s=int(course.admitted[i]),
        discharged_s=int(course.discharged[i]),
        submitted_s=int(course.submitted[i]),
        answered_s=int(course.answered[i]),
        appealed_s=int(course.appealed[i]),
        settled_s=int(course.settled[i]),
        denied=bool(stays.denied[i] == 1),
        overturned=bool(course.overturned[i]),
        billed=4200.0 + 2650.0 * max(1, nights),
    )
