"""Claim, ClaimResponse and ExplanationOfBenefit (R4) to states of a claim.

R4 has no word for "denied". What a payer answered is read, in this order: from the extension that the mapping names,
from `disposition` where it is a word of the mapping, from `outcome` unless it is complete, from refusals and amounts:
refused as a whole and nothing paid is a denial, something paid or payable is none, and anything else is unknown, which
is no label. A refused line of a claim that was paid is everyday business and no denial of the claim.
"""

from __future__ import annotations

from datetime import time
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from fhir_adapters.errors import FhirInputError
from fhir_adapters.outcomes.codes import code_list, fold
from fhir_adapters.outcomes.elements import (
    check_code,
    extension,
    instant_or_day,
    merged,
    reference_names,
    refuse_future,
    to_ms,
)
from fhir_adapters.outcomes.facts import ClaimFact, FactIdentity, Reading
from fhir_adapters.references import codings, objects, text_of
from lang1.hospital_record import ClaimStatus

STATUS_CODES: Final = ("active", "cancelled", "draft", "entered-in-error")
USE_CODES: Final = ("claim", "preauthorization", "predetermination")
OUTCOME_CODES: Final = ("queued", "complete", "error", "partial")
_ANSWERED: Final = {"ClaimResponse": ("request",), "ExplanationOfBenefit": ("claim", "claimResponse")}
_MIDNIGHT: Final = time(0)
_MAX_ITEMS: Final = 1000
_ADJUDICATION: Final = "http://terminology.hl7.org/CodeSystem/adjudication"
_CARIN: Final = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication"
_PAYABLE: Final = code_list(
    (f"{_ADJUDICATION}|benefit", f"{_ADJUDICATION}|eligible", f"{_CARIN}|paidtoprovider", f"{_CARIN}|eligible",
     f"{_CARIN}|memberliability", "benefit", "eligible")
)  # fmt: skip


def read_claim(resource: dict[str, Any], identity: FactIdentity, reading: Reading) -> ClaimFact:
    """The state of a checked claim resource whose status is not entered-in-error. Raises FhirInputError 422.

    A Claim is a claim that waits for its answer. `created` is the time of the decision: an answer that is sent again
    with the same `created` is a correction of it, one with a later `created` a new decision.
    """
    kind, mapping = identity.type, reading.mapping
    status = check_code(resource, "status", STATUS_CODES)
    use = check_code(resource, "use", USE_CODES)
    created = instant_or_day(resource, "created", f"{kind}.created", _MIDNIGHT, reading.zone)
    if created is None:
        raise FhirInputError(
            f"{kind}.created is missing; send when the claim was made or answered",
            code="required",
            expression=f"{kind}.created",
        )
    refuse_future(created, f"{kind}.created", reading.now)
    outcome = "queued" if kind == "Claim" else check_code(resource, "outcome", OUTCOME_CODES)
    notes: list[str] = []
    state: ClaimStatus | None = None
    if use not in mapping.claim_uses:
        notes.append(f"{kind}.use is not one that counts as a claim, so it counts for nothing")
    elif status != "cancelled":
        pending = status == "draft" or kind == "Claim"
        state = ClaimStatus.PENDING if pending else _answer(resource, outcome, reading)
    if state is ClaimStatus.UNKNOWN:
        notes.append(
            f"{kind} does not say whether the claim was denied: neither the mapping's claim_words nor a refusal or an "
            "amount is in it, so it gives no label"
        )
    return ClaimFact(
        identity=identity,
        subject=next(iter(reference_names(resource.get("patient"), f"{kind}.patient", reading.base_url)), None),
        status=state,
        decided_ms=to_ms(created),
        encounters=_encounters(resource, kind, reading),
        claims=merged(
            reference_names(resource.get(name), f"{kind}.{name}", reading.base_url) for name in _ANSWERED.get(kind, ())
        ),
        earlier=merged(
            reference_names(each.get("claim"), f"{kind}.related.claim", reading.base_url)
            for each in objects(resource.get("related"))[:_MAX_ITEMS]
            if code_list(mapping.same_claim_relationships).holds(each.get("relationship"))
        ),
        notes=tuple(notes),
    )


def _encounters(resource: dict[str, Any], kind: str, reading: Reading) -> tuple[str, ...]:
    parts = [
        reference_names(encounter, f"{kind}.item.encounter", reading.base_url)
        for item in objects(resource.get("item"))[:_MAX_ITEMS]
        for encounter in objects(item.get("encounter"))
    ]
    if linked := extension(resource, reading.mapping.claim_encounter_extension):
        parts.append(reference_names(linked.get("valueReference"), f"{kind}.extension", reading.base_url))
    return merged(parts)


def _answer(resource: dict[str, Any], outcome: str, reading: Reading) -> ClaimStatus:
    mapping = reading.mapping
    for word in _words(resource, reading):
        if found := mapping.claim_words.get(fold(word)):
            return found
    if outcome != "complete":
        return mapping.claim_outcomes.get(outcome, ClaimStatus.UNKNOWN)
    refusals = code_list(mapping.denial_codes)

    def refused(adjudications: object) -> bool:
        return any(refusals.holds(each.get("reason")) or refusals.holds(each.get("category"))
                   for each in objects(adjudications))  # fmt: skip

    items = [
        each for name in ("item", "addItem") for each in objects(resource.get(name))[:_MAX_ITEMS]
        if objects(each.get("adjudication"))
    ]  # fmt: skip
    if _payable(resource, items):
        return ClaimStatus.PAID
    lines = [refused(each["adjudication"]) for each in items]
    whole = refused(resource.get("adjudication")) or (bool(lines) and all(lines))
    return ClaimStatus.DENIED if whole else ClaimStatus.UNKNOWN


def _words(resource: dict[str, Any], reading: Reading) -> list[str]:
    stated = extension(resource, reading.mapping.claim_status_extension) or {}
    concept = stated.get("valueCodeableConcept")
    found = [text_of(stated, "valueCode"), text_of(stated, "valueString"), text_of(stated.get("valueCoding"), "code")]
    found += [text_of(coding, "code") for coding in codings(concept)] + [text_of(concept, "text")]
    return [*filter(None, found), *filter(None, [text_of(resource, "disposition")])]


def _payable(resource: dict[str, Any], items: list[dict[str, Any]]) -> bool:
    """Whether anything is paid, or owed by the patient under the plan: a deductible is no denial."""
    payment = resource.get("payment")
    amounts = [payment.get("amount") if isinstance(payment, dict) else None]
    lines = [*objects(resource.get("total")), *objects(resource.get("adjudication"))]
    lines += [line for item in items for line in objects(item["adjudication"])]
    amounts += [line.get("amount") for line in lines if _PAYABLE.holds(line.get("category"))]
    return any(_positive(amount) for amount in amounts)


def _positive(money: object) -> bool:
    value = money.get("value") if isinstance(money, dict) else None
    try:
        return value is not None and Decimal(str(value)) > 0
    except InvalidOperation:
        return False
