"""Shapes of the routes that are not FHIR: `/v1`, CDS Hooks 2.0, probes, and RFC 9457 problems."""

from __future__ import annotations

from fhir_adapters.cds_hooks import MAX_FEEDBACK, OUTCOMES, SERVICES
from serve.openapi.shapes import (
    COUNT,
    FILLED,
    FLAG,
    PROBABILITY,
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
)

_LEVEL = one_of("low", "moderate", "high")
_FHIR_ID = r"[A-Za-z0-9\-.]{1,64}"
_OBJECT: Schema = {"type": "object"}

_CODING = answered(("code",), code=FILLED, system=TEXT, display=TEXT)


def _hook(hook: str, of_encounter: bool) -> Schema:
    """A call of one hook: what is read of it. Ids may come with their type in front; EHRs add members of their own."""
    ids = {"patientId": matching(f"(Patient/)?{_FHIR_ID}"), "encounterId": matching(f"(Encounter/)?{_FHIR_ID}")}
    prefetch = {"type": ["object", "null"], "description": "`notes`: a searchset Bundle, as the discovery asks."}
    return answered(
        ("hook", "hookInstance", "context"),
        hook=exactly(hook), hookInstance=UUID, prefetch=prefetch,
        context=answered(("patientId", "encounterId") if of_encounter else ("patientId",), **ids),
        fhirServer={"description": "Base URL of the EHR's FHIR server."},
        fhirAuthorization={"description": "OAuth 2.0 bearer token for it."},
    )  # fmt: skip


def plain_shapes() -> dict[str, Schema]:
    """Components by name, without the bodies that routes declare themselves."""
    risk = answered(
        ("task", "probabilities", "note_type_match", "risk_level"),
        task=FILLED, probabilities=many(PROBABILITY, 2), probability=PROBABILITY, note_type_match=FLAG,
        risk_level=_LEVEL, explanation=many(answered(
            ("start", "end", "text", "effect"), start=COUNT, end=COUNT, text=TEXT,
            effect={"type": "number", "minimum": -1, "maximum": 1},
        )),
    )  # fmt: skip
    scored = answered(
        ("id", "truncated", "dropped_tokens", "risks"),
        id=TEXT, truncated=FLAG, dropped_tokens=COUNT, risks=many(named("Risk"), 1), model=named("ModelIdentity"),
    )  # fmt: skip
    failed = answered(("id", "error"), id=TEXT, error=named("Problem"))
    identity = answered(("name", "version", "bundle_sha256"), name=FILLED, version=FILLED, bundle_sha256=FILLED)
    task = answered(
        ("name", "version", "title", "description", "kind", "options", "note_types", "thresholds"),
        name=FILLED, version={"type": "integer", "minimum": 1}, title=FILLED, description=TEXT, kind=TEXT,
        options=many(FILLED, 2), note_types=many(FILLED),
        thresholds={"type": ["object", "null"], "additionalProperties": {"type": "number"}},
    )  # fmt: skip
    card = answered(
        ("uuid", "summary", "indicator", "source"),
        uuid=UUID, summary={"type": "string", "minLength": 1, "maxLength": 139},
        indicator=one_of("info", "warning", "critical"), detail=TEXT,
        source=answered(("label",), label=FILLED, topic=_CODING), overrideReasons=many(_CODING),
    )  # fmt: skip
    service = answered(
        ("hook", "description", "id"),
        hook=FILLED, title=FILLED, description=FILLED, id=FILLED, usageRequirements=TEXT,
        prefetch={"type": "object", "additionalProperties": {"type": "string"}},
    )  # fmt: skip
    entry = answered(
        ("card", "outcome", "outcomeTimestamp"),
        card=UUID, outcome=one_of(*OUTCOMES), outcomeTimestamp=TIME,
        overrideReason=answered((), reason=_CODING, userComment=TEXT), acceptedSuggestions=many(_OBJECT),
    )  # fmt: skip
    return {
        "Problem": answered(
            ("type", "title", "status", "code", "detail"),
            type=TEXT, title=FILLED, status={"type": "integer", "minimum": 400, "maximum": 599},
            code={**FILLED, "description": "FHIR R4 issue type."}, detail=FILLED,
            pointer={**FILLED, "description": "Where in the request."},
        ),
        "Risk": risk,
        "ScoreAnswer": answered(
            ("model", "results"), model=named("ModelIdentity"), results=many({"anyOf": [scored, failed]}, 1)
        ),
        "ModelIdentity": identity,
        "Model": answered(
            ("model", "base", "created", "demo", "max_note_tokens", "tasks", "card"),
            model=named("ModelIdentity"), base=TEXT, created=TEXT, demo=FLAG, max_note_tokens=COUNT,
            tasks=many(task, 1), card=TEXT,
        ),
        "CdsServices": answered(("services",), services=many(service)),
        "CdsRequest": {"oneOf": [_hook(each.hook, each.of_encounter) for each in SERVICES.values()]},
        "CdsCards": answered(("cards",), cards=many(card)),
        "CdsFeedback": answered(("feedback",), feedback=many(entry, 1, MAX_FEEDBACK)),
        "SmartConfiguration": answered(
            ("grant_types_supported", "scopes_supported", "capabilities"),
            grant_types_supported=many(FILLED, 1), scopes_supported=many(FILLED), capabilities=many(FILLED, 1),
            issuer=FILLED, token_endpoint=FILLED,
        ),
        "JwkSet": answered(("keys",), keys=many(answered(("kty",), kty=FILLED))),
        "Nothing": {"type": "object", "maxProperties": 0},
        "OutcomeResults": answered(
            ("results",),
            results=many({"anyOf": [
                answered(("status",), status=FILLED), answered(("error",), error=named("Problem"))
            ]}, 1),
        ),
        "OutcomeCoverage": answered(
            ("tasks", "complete_until_ms"),
            tasks=many(answered(
                ("task", "labelled", "excluded", "open", "given", "changed"),
                task=FILLED, labelled={"type": "object", "additionalProperties": COUNT},
            )),
            complete_until_ms={"type": "object"},
        ),
        "Alive": answered(("status",), status=one_of("up")),
        "Ready": answered(
            ("status", "checks"), status=one_of("ready", "not ready"),
            checks={"type": "object", "additionalProperties": {"type": "string"}},
        ),
    }  # fmt: skip
