"""Shapes of the FHIR R4 routes. Requests are closed, as R4 is: an element that it does not define is refused."""

from __future__ import annotations

from fhir_adapters.document_reference import DOC_STATUS_CODES, RELATES_TO_CODES, STATUS_CODES
from fhir_adapters.parameters import DOCUMENT, EXPLAIN, INCLUDE_PRELIMINARY, INCLUDE_SUPERSEDED, TASK
from fhir_adapters.subscriptions import BUNDLE_TYPES
from serve.openapi.shapes import (
    COUNT,
    FILLED,
    FLAG,
    TEXT,
    TIME,
    UUID,
    Schema,
    answered,
    exactly,
    many,
    matching,
    named,
    one_of,
    taken,
)

FHIR_ID = matching(r"[A-Za-z0-9\-.]{1,64}")
_STRING = matching(r"[ \r\n\t\S]+")
_CODE = matching(r"[^\s]+( [^\s]+)*")
_DATE = r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01])"
_TIME = r"T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-](0\d|1[0-3]):[0-5]\d|[+-]14:00)"
_DATE_TIME = matching(rf"{_DATE}({_TIME})?)?)?")
SEARCH_DATE: Schema = matching(
    r"(eq|ne|gt|lt|ge|le|sa|eb)?\d{4}(-\d{2}(-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?)?)?)?"
)
_EXTENSIONS: Schema = {"type": "array", "items": {"type": "object", "required": ["url"]}, "minItems": 1}
_ANY: Schema = {"type": "object"}
_LINK: Schema = answered(("relation", "url"), relation=FILLED, url=FILLED)


def _element(required: tuple[str, ...] = (), **elements: Schema) -> Schema:
    """A data type or backbone element as it is taken; companions of primitives (`_name`) are let through."""
    common: dict[str, Schema] = {"id": TEXT, "extension": _EXTENSIONS, "modifierExtension": _EXTENSIONS}
    return {**taken(required, **(common | elements)), "patternProperties": {"^_": {"type": ["object", "array"]}}}


def _resource(resource_type: str, required: tuple[str, ...] = (), **elements: Schema) -> Schema:
    return answered(("resourceType", *required), resourceType=exactly(resource_type), **elements)


def _bundle(kind: str, entry: Schema, **members: Schema) -> Schema:
    return _resource("Bundle", ("type",), type=exactly(kind), entry=many(entry, 1), **members)


def _parameter(name: str, element: str, value: Schema) -> Schema:
    return taken(("name", element), name=exactly(name), **{element: value})


def fhir_shapes(max_batch_entries: int, probability_scale: int) -> dict[str, Schema]:
    """Components by name, for the service's settings."""
    return _data_types() | _requests(max_batch_entries) | _assessments(probability_scale) | _audit() | _conformance()


def _data_types() -> dict[str, Schema]:
    period = _element(start=_DATE_TIME, end=_DATE_TIME)
    return {
        "Coding": _element(system=_STRING, version=_STRING, code=_CODE, display=_STRING, userSelected=FLAG),
        "CodeableConcept": _element(coding=many(named("Coding"), 1), text=_STRING),
        "Period": period,
        "Identifier": _element(
            use=one_of("usual", "official", "temp", "secondary", "old"), type=named("CodeableConcept"),
            system=_STRING, value=_STRING, period=named("Period"), assigner=_ANY,
        ),
        "Reference": _element(reference=_STRING, type=_STRING, identifier=named("Identifier"), display=_STRING),
        "Attachment": _element(
            contentType=_CODE, language=_CODE, data={"type": "string", "contentEncoding": "base64"}, url=_STRING,
            size=COUNT, hash={"type": "string", "contentEncoding": "base64"}, title=_STRING, creation=_DATE_TIME,
        ),
    }  # fmt: skip


def _requests(max_batch_entries: int) -> dict[str, Schema]:
    document = {
        "resourceType": exactly("DocumentReference"), "id": FHIR_ID, "meta": _ANY, "implicitRules": _STRING,
        "language": _CODE, "text": _ANY, "contained": many(_ANY, 1), "masterIdentifier": named("Identifier"),
        "identifier": many(named("Identifier"), 1), "status": one_of(*STATUS_CODES),
        "docStatus": one_of(*DOC_STATUS_CODES), "type": named("CodeableConcept"),
        "category": many(named("CodeableConcept"), 1), "subject": named("Reference"), "date": TIME,
        "author": many(named("Reference"), 1), "authenticator": named("Reference"), "custodian": named("Reference"),
        "relatesTo": many(
            _element(("code", "target"), code=one_of(*RELATES_TO_CODES), target=named("Reference")), 1
        ),
        "description": _STRING, "securityLabel": many(named("CodeableConcept"), 1),
        "content": many(_element(("attachment",), attachment=named("Attachment"), format=named("Coding")), 1),
        "context": _element(
            encounter=many(named("Reference"), 1), event=many(named("CodeableConcept"), 1), period=named("Period"),
            facilityType=named("CodeableConcept"), practiceSetting=named("CodeableConcept"),
            sourcePatientInfo=named("Reference"), related=many(named("Reference"), 1),
        ),
    }  # fmt: skip
    parameters = [
        _parameter(DOCUMENT, "resource", named("DocumentReference")),
        _parameter(TASK, "valueCode", _CODE),
        *(_parameter(name, "valueBoolean", FLAG) for name in (INCLUDE_SUPERSEDED, INCLUDE_PRELIMINARY, EXPLAIN)),
    ]
    request = answered(("method", "url"), method=one_of("POST", "PUT", "DELETE"), url=FILLED)
    entry = answered(("request",), resource=_ANY, request=request)
    status = answered(("resourceType",), resourceType=one_of("Parameters", "SubscriptionStatus"))
    return {
        "DocumentReference": _element(("resourceType", "status", "subject", "content"), **document),
        "ScoreParameters": taken(
            ("resourceType", "parameter"),
            resourceType=exactly("Parameters"), id=FHIR_ID, meta=_ANY, parameter=many({"oneOf": parameters}, 1),
        ),
        "ScoreInput": {"oneOf": [named("DocumentReference"), named("ScoreParameters")]},
        "Batch": _resource(
            "Bundle", ("type", "entry"),
            type=exactly("batch"),
            # An entry that is wrong fails alone, in its own answer.
            entry=many(entry, 1, max_batch_entries),
        ),
        "Notification": _resource(
            "Bundle", ("type", "entry"),
            type=one_of(*BUNDLE_TYPES), timestamp=TIME,
            entry={**many(_ANY, 1), "prefixItems": [answered(("resource",), resource=status)]},
        ),
    }  # fmt: skip


def _assessments(probability_scale: int) -> dict[str, Schema]:
    concept = answered((), coding=many(_ANY, 1), text=FILLED)
    reference = answered((), reference=FILLED, identifier=_ANY)
    prediction = answered(
        ("outcome", "probabilityDecimal", "rationale"),
        outcome=concept, probabilityDecimal={"type": "number", "minimum": 0, "maximum": probability_scale},
        qualitativeRisk=concept, whenPeriod=_ANY, whenRange=_ANY, rationale=FILLED,
    )  # fmt: skip
    issue = answered(
        ("severity", "code"),
        severity=one_of("fatal", "error", "warning", "information"), code=FILLED, diagnostics=FILLED,
        expression=many(FILLED, 1),
    )  # fmt: skip
    entry = answered(("resource", "fullUrl"), fullUrl=FILLED, resource=named("RiskAssessment"))
    response = answered(("status",), status=FILLED, outcome=named("OperationOutcome"))
    return {
        "OperationOutcome": _resource("OperationOutcome", ("issue",), issue=many(issue, 1)),
        "RiskAssessment": _resource(
            "RiskAssessment", ("id", "meta", "identifier", "status", "method", "code", "subject", "occurrenceDateTime",
                               "performer", "basis", "prediction"),
            id=UUID, meta=answered(("versionId", "lastUpdated"), versionId=FILLED, lastUpdated=TIME),
            identifier=many(answered(("system", "value"), system=FILLED, value=FILLED), 1),
            status=one_of("preliminary", "final", "amended", "corrected", "entered-in-error"),
            method=concept, code=concept, subject=reference, encounter=reference, occurrenceDateTime=TIME,
            performer=reference, basis=many(reference, 1), prediction=many(prediction, 1), contained=many(_ANY, 1),
            extension=many(answered(("url",), url=FILLED), 1),
        ),
        "ScoreBundle": _bundle("collection", entry),
        "RiskAssessmentSearchset": _bundle("searchset", entry, total=COUNT, link=many(_LINK, 1)),
        "BatchResponse": _bundle(
            "batch-response", answered(("response",), response=response, resource=_ANY)
        ),
    }  # fmt: skip


def _audit() -> dict[str, Schema]:
    event = _resource(
        "AuditEvent", ("id", "type", "recorded", "agent", "source"),
        id=FHIR_ID, type=_ANY, recorded=TIME, agent=many(_ANY, 1), source=_ANY, entity=many(_ANY, 1),
    )  # fmt: skip
    entry = answered(("resource", "fullUrl"), fullUrl=FILLED, resource=named("AuditEvent"))
    # No total: counting a log of millions would take longer than its page.
    return {"AuditEvent": event, "AuditEventSearchset": _bundle("searchset", entry, link=many(_LINK, 1))}


def _conformance() -> dict[str, Schema]:
    found: dict[str, Schema] = {
        "CapabilityStatement": _resource(
            "CapabilityStatement", ("status", "date", "kind", "fhirVersion", "format", "rest"),
            status=FILLED, kind=exactly("instance"), fhirVersion=exactly("4.0.1"), format=many(FILLED, 1),
            rest=many(_ANY, 1),
        ),
    }  # fmt: skip
    for kind in ("OperationDefinition", "StructureDefinition", "CodeSystem"):
        found[kind] = _resource(kind, ("id", "url", "status"), id=FHIR_ID, url=FILLED, status=FILLED)
        entry = answered(("resource", "fullUrl"), fullUrl=FILLED, resource=named(kind))
        found[f"{kind}Searchset"] = _bundle("searchset", entry, total=COUNT)
    return found
