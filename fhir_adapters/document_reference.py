"""DocumentReference (R4) to a checked, frozen form: the checks that fhir.resources' R4B omits are made here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from fhir_adapters.canonical import CONFIDENTIALITY_SYSTEMS
from fhir_adapters.errors import FhirInputError
from fhir_adapters.r4 import check_resource_type, validate_structure
from fhir_adapters.references import (
    MAX_REFERENCE_CHARS,
    codings,
    identifier_token,
    is_date_time,
    is_storable,
    objects,
    parse_instant,
    text_of,
)
from fhir_adapters.sinks.own_reports import is_own_report
from lang1.note_types import LOINC_SYSTEM, NOTE_TYPES

STATUS_CODES: Final = ("current", "superseded", "entered-in-error")
DOC_STATUS_CODES: Final = ("preliminary", "final", "amended", "entered-in-error")
RELATES_TO_CODES: Final = ("replaces", "transforms", "signs", "appends")
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
MAX_RELATIONS: Final = 100
RESTRICTED_CODES: Final = frozenset({"R", "V"})


@dataclass(frozen=True, slots=True)
class NotePolicy:
    """Which documents a hospital wants scored beyond the current, signed and unrestricted ones."""

    include_superseded: bool = False
    include_preliminary: bool = False
    allow_restricted: bool = False
    """Score notes under security label R (restricted) or V (very restricted)."""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A DocumentReference after its checks. References and identifiers are the EHR's; they never go into a log.

    `subject` and `encounter` are literal references; `..._identifier` are tokens `system|value`, for references by
    identifier. `subject` and `subject_identifier` are not both None. `contents` holds the JSON of `content`, in order.
    """

    document_id: str | None
    version_id: str | None
    master_identifier: str | None
    identifier: str | None
    status: str
    doc_status: str | None
    note_type: str | None
    """LOINC: the first coding of `type` that Lang1 knows, else the first LOINC one, else None."""
    subject: str | None
    subject_identifier: str | None
    encounter: str | None
    encounter_identifier: str | None
    date: str | None
    """FHIR instant, as sent."""
    period_start: str | None
    period_end: str | None
    """FHIR dateTime, as sent, precision kept: the discharge, for a note about a whole stay."""
    replaces: tuple[str, ...]
    """Literal references, or identifier tokens, of the documents that this one replaces."""
    confidentiality: frozenset[str]
    """Which of R and V the document is labelled with."""
    contents: tuple[dict[str, Any], ...]
    last_updated: str | None = None
    """FHIR instant of this version, as sent; None where it is none."""


def parse_document_reference(resource: dict[str, Any]) -> ParsedDocument:
    """Check a DocumentReference against R4 and take from it what scoring needs. Attachments are not read here.

    Raises FhirInputError, status 422: invalid (resourceType), code-invalid (a code outside its R4 value set), required
    (status, subject, content, attachment), structure (an element R4 does not define) or value (a wrong type or date).
    """
    check_resource_type(resource, "DocumentReference")
    if is_own_report(resource):
        raise FhirInputError(
            "the document is a risk report that this service wrote, which gets no score; leave it out",
            code="business-rule",
            expression="DocumentReference",
        )
    _require(resource)
    validate_structure(resource, "DocumentReference")
    _check_code(resource, "status", STATUS_CODES, required=True)
    _check_code(resource, "docStatus", DOC_STATUS_CODES, required=False)
    meta = resource.get("meta")
    _check_id(resource, "id", "DocumentReference.id")
    _check_id(meta, "versionId", "DocumentReference.meta.versionId")
    context = resource.get("context")
    subject, subject_identifier = _subject(resource.get("subject"))
    encounter, encounter_identifier = _encounter(context)
    period = context.get("period") if isinstance(context, dict) else None
    return ParsedDocument(
        document_id=text_of(resource, "id"),
        version_id=text_of(meta, "versionId"),
        master_identifier=_storable(
            identifier_token(resource.get("masterIdentifier")), "DocumentReference.masterIdentifier"
        ),
        identifier=_storable(
            next(filter(None, map(identifier_token, objects(resource.get("identifier")))), None),
            "DocumentReference.identifier",
        ),
        status=str(resource["status"]),
        doc_status=text_of(resource, "docStatus"),
        note_type=_note_type(resource.get("type")),
        subject=subject,
        subject_identifier=subject_identifier,
        encounter=encounter,
        encounter_identifier=encounter_identifier,
        date=_date(resource),
        period_start=_period_time(period, "start"),
        period_end=_period_time(period, "end"),
        replaces=_replaces(resource),
        confidentiality=_confidentiality(resource),
        contents=tuple(objects(resource["content"])),
        last_updated=updated if (updated := text_of(meta, "lastUpdated")) and parse_instant(updated) else None,
    )


def check_scorable_status(document: ParsedDocument, policy: NotePolicy) -> None:
    """Raise FhirInputError (422) for a document whose status or label forbids a score.

    business-rule: entered-in-error always; superseded and preliminary unless the policy includes them. suppressed:
    labelled R or V unless allowed. (`security` would say that the caller lacks a right or attacks; here the document's
    own privacy marking is what forbids it.)
    """
    if "entered-in-error" in (document.status, document.doc_status):
        where = "status" if document.status == "entered-in-error" else "docStatus"
        raise _refused(where, "entered-in-error", "send the corrected document")
    if document.status == "superseded" and not policy.include_superseded:
        raise _refused("status", "superseded", "send the current document, or ask with includeSuperseded")
    if document.doc_status == "preliminary" and not policy.include_preliminary:
        raise _refused("docStatus", "preliminary", "send the signed document, or ask with includePreliminary")
    if document.confidentiality and not policy.allow_restricted:
        raise FhirInputError(
            "the document carries security label R or V and this service does not score such notes; "
            "do not send it, or have the setting changed",
            code="suppressed",
            expression="DocumentReference.securityLabel",
        )


def _require(resource: dict[str, Any]) -> None:
    for name, mend in (
        ("status", "send the document's status"),
        ("subject", "name the patient"),
        ("content", "send the note as an attachment"),
    ):
        # An empty list or object is as good as absent, and R4B takes both.
        if not resource.get(name):
            raise FhirInputError(
                f"DocumentReference.{name} is missing or empty; {mend}",
                code="required",
                expression=f"DocumentReference.{name}",
            )


def _check_code(resource: dict[str, Any], name: str, allowed: tuple[str, ...], *, required: bool) -> None:
    value = resource.get(name)
    if value is None and not required:
        return
    if value not in allowed:
        raise FhirInputError(
            f"DocumentReference.{name} is not one of {', '.join(allowed)}; send one of those codes",
            code="code-invalid",
            expression=f"DocumentReference.{name}",
        )


def _check_id(element: object, name: str, path: str) -> None:
    # Both become parts of a reference in the answer, where a slash or blank would name something else.
    value = element.get(name) if isinstance(element, dict) else None
    if value is not None and not (isinstance(value, str) and _ID.fullmatch(value)):
        raise FhirInputError(
            f"{path} is not an R4 id (letters, digits, - and ., 64 at most); correct it", code="value", expression=path
        )


def _storable(name: str | None, path: str) -> str | None:
    if name is not None and not is_storable(name):
        raise FhirInputError(
            f"{path} is over {MAX_REFERENCE_CHARS} characters or holds a control character; correct it",
            code="value",
            expression=path,
        )
    return name


def _subject(subject: object) -> tuple[str | None, str | None]:
    literal, token = _reference(subject, "DocumentReference.subject")
    if literal is None and token is None:
        raise FhirInputError(
            "DocumentReference.subject names no patient by reference or identifier (a contained one has no address); "
            "send Patient/<id> or an identifier",
            code="required",
            expression="DocumentReference.subject",
        )
    return literal, token


def _encounter(context: object) -> tuple[str | None, str | None]:
    encounters = objects(context.get("encounter")) if isinstance(context, dict) else []
    return _reference(encounters[0], "DocumentReference.context.encounter") if encounters else (None, None)


def _reference(element: object, path: str) -> tuple[str | None, str | None]:
    literal = _storable(text_of(element, "reference"), path)
    token = _storable(identifier_token(element.get("identifier")) if isinstance(element, dict) else None, path)
    # "#p1" points into the sender's own resource and would point nowhere from a RiskAssessment.
    return (None if literal is None or literal.startswith("#") else literal), token


def _note_type(concept: object) -> str | None:
    loinc = [
        code
        for coding in codings(concept)
        if coding.get("system") == LOINC_SYSTEM and (code := text_of(coding, "code"))
    ]
    return next((code for code in loinc if code in NOTE_TYPES), loinc[0] if loinc else None)


def _date(resource: dict[str, Any]) -> str | None:
    value = text_of(resource, "date")
    if value is not None and parse_instant(value) is None:
        raise _not_a_time("DocumentReference.date", "an instant with time and zone")
    return value


def _period_time(period: object, name: str) -> str | None:
    value = text_of(period, name)
    if value is not None and not is_date_time(value):
        raise _not_a_time(
            f"DocumentReference.context.period.{name}", "a FHIR dateTime (with a zone where it has a time)"
        )
    return value


def _replaces(resource: dict[str, Any]) -> tuple[str, ...]:
    targets: list[str] = []
    relations = objects(resource.get("relatesTo"))
    if len(relations) > MAX_RELATIONS:
        raise FhirInputError(
            f"DocumentReference.relatesTo has {len(relations)} entries, over the cap of {MAX_RELATIONS}; send fewer",
            code="too-long",
            expression="DocumentReference.relatesTo",
        )
    for index, relation in enumerate(relations):
        if relation.get("code") not in RELATES_TO_CODES:
            raise FhirInputError(
                f"DocumentReference.relatesTo[{index}].code is not one of {', '.join(RELATES_TO_CODES)}; send one",
                code="code-invalid",
                expression=f"DocumentReference.relatesTo[{index}].code",
            )
        literal, token = _reference(relation.get("target"), f"DocumentReference.relatesTo[{index}].target")
        if relation["code"] == "replaces" and (target := literal or token):
            targets.append(target)
    return tuple(targets)


def _confidentiality(resource: dict[str, Any]) -> frozenset[str]:
    meta = resource.get("meta")
    labels = objects(meta.get("security")) if isinstance(meta, dict) else []
    for concept in objects(resource.get("securityLabel")):
        labels += codings(concept)
    # A bare R or V without a system is read as the label it looks like: the safe side.
    return frozenset(
        str(label["code"])
        for label in labels
        if label.get("code") in RESTRICTED_CODES and label.get("system") in {None, "", *CONFIDENTIALITY_SYSTEMS}
    )


def _refused(element: str, state: str, mend: str) -> FhirInputError:
    return FhirInputError(
        f"DocumentReference.{element} is {state}, which gets no score; {mend}",
        code="business-rule",
        expression=f"DocumentReference.{element}",
    )


def _not_a_time(path: str, wanted: str) -> FhirInputError:
    return FhirInputError(f"{path} is not {wanted}; correct it", code="value", expression=path)
