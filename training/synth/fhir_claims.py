"""The claim of a stay, what the payer answers, and how a denial ends: Claim, ClaimResponse, ExplanationOfBenefit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from training.synth.course import NEVER
from training.synth.fhir_parts import (
    HL7,
    HOSPITAL_ID,
    Resource,
    concept,
    day,
    money,
    payer_id,
    reference,
    resource,
    stamp,
)

# Some payers say what they decided in words, the others in codes and amounts, which a reader must both understand.
IN_WORDS = frozenset((0, 2, 4))


@dataclass(frozen=True, slots=True)
class ClaimCourse:
    """One stay's claim. Seconds since 1970; `appealed_s` NEVER without an appeal. Amounts in dollars."""

    encounter_id: str
    patient_id: str
    payer: int
    admitted_s: int
    discharged_s: int
    submitted_s: int
    answered_s: int
    appealed_s: int
    settled_s: int
    denied: bool
    overturned: bool
    billed: float

    @property
    def claim_id(self) -> str:
        return self.encounter_id.replace("encounter", "claim")

    @property
    def appeals(self) -> bool:
        return self.appealed_s != NEVER


def claim_versions(course: ClaimCourse) -> Iterator[tuple[int, Resource]]:
    """(second, resource) in order of time: claim, answer, and of a denied one the appeal and its end."""
    first, answer_id = course.claim_id, course.claim_id.replace("claim", "answer")
    yield course.submitted_s, _claim(course, first, course.submitted_s)
    yield course.answered_s, _answer(course, f"{answer_id}-1", first, course.answered_s, denied=course.denied)
    if not course.denied:
        yield course.answered_s, _benefit(course, course.answered_s, "Approved", paid=True)
        return
    last = first
    if course.appeals:
        last = f"{first}-appeal"
        appeal = _claim(course, last, course.appealed_s)
        relationship = concept(f"{HL7}/ex-relatedclaimrelationship", "prior")
        appeal["related"] = [{"claim": reference("Claim", first), "relationship": relationship}]
        yield course.appealed_s, appeal
    word = "Denial overturned" if course.overturned else "Denial upheld"
    settled = _answer(course, f"{answer_id}-2", last, course.settled_s, denied=not course.overturned)
    yield course.settled_s, settled | {"disposition": word}
    yield course.settled_s, _benefit(course, course.settled_s, word, paid=course.overturned)


def _head(course: ClaimCourse, created_s: int) -> Resource:
    return {
        "status": "active",
        "type": concept(f"{HL7}/claim-type", "institutional"),
        "use": "claim",
        "patient": reference("Patient", course.patient_id),
        "created": stamp(created_s),
    }


def _coverage(course: ClaimCourse) -> Resource:
    return reference("Coverage", course.patient_id.replace("patient", "coverage"))


def _claim(course: ClaimCourse, claim_id: str, at_s: int) -> Resource:
    return (
        resource("Claim", claim_id, at_s)
        | _head(course, at_s)
        | {
            "billablePeriod": {"start": day(course.admitted_s), "end": day(course.discharged_s)},
            "provider": reference("Organization", HOSPITAL_ID),
            "insurer": reference("Organization", payer_id(course.payer)),
            "priority": concept(f"{HL7}/processpriority", "normal"),
            "insurance": [{"sequence": 1, "focal": True, "coverage": _coverage(course)}],
            "item": [
                {
                    "sequence": 1,
                    "productOrService": {"text": "Inpatient stay"},
                    "servicedPeriod": {"start": day(course.admitted_s), "end": day(course.discharged_s)},
                    "net": money(course.billed),
                    "encounter": [reference("Encounter", course.encounter_id)],
                }
            ],
            "total": money(course.billed),
        }
    )


def _judged(course: ClaimCourse, *, denied: bool) -> list[Resource]:
    """The adjudication of the one line: eligible and paid, or refused with a reason."""
    submitted = {"category": concept(f"{HL7}/adjudication", "submitted"), "amount": money(course.billed)}
    benefit = {"category": concept(f"{HL7}/adjudication", "benefit"), "amount": money(0 if denied else _paid(course))}
    if denied:
        benefit["reason"] = concept(f"{HL7}/adjudication-reason", "ar001", "Not covered")
    return [submitted, benefit]


def _paid(course: ClaimCourse) -> float:
    return round(course.billed * 0.62, 2)


def _answer(course: ClaimCourse, answer_id: str, claim_id: str, at_s: int, *, denied: bool) -> Resource:
    found = (
        resource("ClaimResponse", answer_id, at_s)
        | _head(course, at_s)
        | {
            "insurer": reference("Organization", payer_id(course.payer)),
            "request": reference("Claim", claim_id),
            "outcome": "complete",
            "item": [{"itemSequence": 1, "adjudication": _judged(course, denied=denied)}],
        }
    )
    if course.payer in IN_WORDS:
        found["disposition"] = "Denied" if denied else "Approved"
    if not denied:
        found["payment"] = {"type": concept(f"{HL7}/ex-paymenttype", "complete"), "amount": money(_paid(course))}
    return found


def _benefit(course: ClaimCourse, at_s: int, word: str, *, paid: bool) -> Resource:
    found = (
        resource("ExplanationOfBenefit", course.claim_id.replace("claim", "benefit"), at_s)
        | _head(course, at_s)
        | {
            "insurer": reference("Organization", payer_id(course.payer)),
            "provider": reference("Organization", HOSPITAL_ID),
            "claim": reference("Claim", course.claim_id),
            "outcome": "complete",
            "disposition": word,
            "insurance": [{"focal": True, "coverage": _coverage(course)}],
            "item": [
                {
                    "sequence": 1,
                    "productOrService": {"text": "Inpatient stay"},
                    "encounter": [reference("Encounter", course.encounter_id)],
                    "adjudication": _judged(course, denied=not paid),
                }
            ],
        }
    )
    if paid:
        found["payment"] = {"type": concept(f"{HL7}/ex-paymenttype", "complete"), "amount": money(_paid(course))}
    return found
