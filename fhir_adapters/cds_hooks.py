"""CDS Hooks 2.0 (cds-hooks.hl7.org/2.0): discovery, requests in, cards out, feedback in. Pure: no scoring, no store."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from fhir_adapters.assessment_record import AssessmentRecord
from fhir_adapters.canonical import CANONICAL_BASE, TASK_SYSTEM
from fhir_adapters.document_reference import ParsedDocument, parse_document_reference
from fhir_adapters.errors import FhirInputError
from fhir_adapters.references import objects, parse_instant
from fhir_adapters.risk_text import DEMO_WARNING, rationale
from lang1.note_types import LOINC_SYSTEM
from lang1.tasks import Task, TaskRegistry

NOTES: Final = "notes"
"""The prefetch key of the notes."""
OVERRIDE_SYSTEM: Final = f"{CANONICAL_BASE}/CodeSystem/lang1-override-reason"
OVERRIDE_REASONS: Final[Mapping[str, str]] = {
    "known": "Known, and acted on already",
    "disagree": "Does not fit this patient",
    "not-mine": "Not for me to act on",
    "no-action": "Nothing can be done about it now",
}
OUTCOMES: Final = ("accepted", "overridden")
MAX_SUMMARY_CHARS: Final = 139
MAX_NOTES: Final = 8
MAX_FEEDBACK: Final = 100
_INDICATORS: Final[Mapping[str, str]] = {"high": "warning", "moderate": "info"}
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]{1,8192}=*")  # RFC 6750, b64token


@dataclass(frozen=True, slots=True)
class CdsService:
    """One service: where in the EHR it is called and what the EHR should send along."""

    id: str
    hook: str
    title: str
    description: str
    of_encounter: bool
    """Whether the hook is of one encounter, which its context then must name."""

    def query(self, registry: TaskRegistry, patient: str, encounter: str | None) -> dict[str, str]:
        """Search parameters of the newest notes that a task was trained on, of a patient's or an encounter's id."""
        types = sorted({loinc for task in registry.values() for loinc in task.note_types})
        of_stay = {"encounter": encounter} if encounter is not None else {}
        return {"patient": patient, **of_stay, "status": "current",
                "type": ",".join(f"{LOINC_SYSTEM}|{loinc}" for loinc in types),
                "_sort": "-date", "_count": str(MAX_NOTES)}  # fmt: skip

    def definition(self, registry: TaskRegistry) -> dict[str, Any]:
        """The entry of the discovery answer."""
        wanted = self.query(registry, "{{context.patientId}}", "{{context.encounterId}}" if self.of_encounter else None)
        query = "DocumentReference?" + "&".join(f"{name}={value}" for name, value in wanted.items())
        return {
            "hook": self.hook,
            "title": self.title,
            "description": self.description,
            "id": self.id,
            "prefetch": {NOTES: query},
            "usageRequirements": (
                "Without prefetch, answers from notes that were scored before, or fetches them with fhirAuthorization "
                "where fhirServer is the server that Lang1 is set to."
            ),
        }


SERVICES: Final[Mapping[str, CdsService]] = {
    service.id: service
    for service in (
        CdsService(
            "lang1-encounter-discharge",
            "encounter-discharge",
            "Lang1 risks at discharge",
            "Operational risks read from the notes of this stay: readmission, length of stay, claim denial and others.",
            of_encounter=True,
        ),
        CdsService(
            "lang1-patient-view",
            "patient-view",
            "Lang1 risks of the patient",
            "Operational risks read from the patient's newest notes.",
            of_encounter=False,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class FhirAccess:
    """Where the EHR lets the service fetch what was not sent along, and with which token."""

    server: str
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class CdsRequest:
    """A checked call. References are literal. `documents` is None when the EHR sent no notes along."""

    patient: str
    encounter: str | None
    documents: tuple[ParsedDocument, ...] | None
    access: FhirAccess | None = None

    def with_fetched(self, resources: Iterable[dict[str, Any]]) -> CdsRequest:
        """The call as if these DocumentReferences had been sent along. Raises FhirInputError as for those."""
        return replace(self, documents=_own(list(resources), self.patient, self.encounter))


@dataclass(frozen=True, slots=True)
class CardFeedback:
    """What a person did with a card. Free text is not taken: it may hold anything."""

    card: str
    """The card's uuid, which is the RiskAssessment's id."""
    outcome: str
    reason: str | None
    """Code of OVERRIDE_REASONS, or "other"."""
    at: datetime


def discovery(registry: TaskRegistry) -> dict[str, Any]:
    """The answer of `GET /cds-services`."""
    return {"services": [service.definition(registry) for service in SERVICES.values()]}


def parse_cds_request(body: dict[str, Any], service: CdsService) -> CdsRequest:
    """Check a call of `service`.

    Raises FhirInputError: 400 structure for a missing or wrong member, 422 business-rule for another patient's note.
    """
    if body.get("hook") != service.hook:
        raise _wrong(f"hook must be {service.hook}, which this service is for", "hook")
    try:
        uuid.UUID(str(body.get("hookInstance")))
    except ValueError:
        raise _wrong("hookInstance must be a UUID", "hookInstance") from None
    context = body.get("context")
    if not isinstance(context, dict):
        raise _wrong("context must be an object", "context")
    patient = _context_id(context, "patientId", "Patient", required=True)
    assert patient is not None
    encounter = _context_id(context, "encounterId", "Encounter", required=service.of_encounter)
    prefetch = body.get("prefetch")
    if prefetch is not None and not isinstance(prefetch, dict):
        raise _wrong("prefetch must be an object", "prefetch")
    documents = _prefetched((prefetch or {}).get(NOTES))
    own = None if documents is None else _own(documents, patient, encounter)
    return CdsRequest(patient, encounter, own, _access(body))


def _access(body: dict[str, Any]) -> FhirAccess | None:
    """The server and token of a call; None where it names no server. A malformed token counts as none."""
    server, authorization = body.get("fhirServer"), body.get("fhirAuthorization")
    if not isinstance(server, str):
        return None
    token = authorization.get("access_token") if isinstance(authorization, dict) else None
    return FhirAccess(server, token if isinstance(token, str) and _TOKEN.fullmatch(token) else None)


def _context_id(context: dict[str, Any], name: str, kind: str, *, required: bool) -> str | None:
    value = context.get(name)
    if value is None and not required:
        return None
    # Some EHRs send "Patient/1" where the specification has "1".
    bare = value.removeprefix(f"{kind}/") if isinstance(value, str) else ""
    if not _ID.fullmatch(bare):
        raise _wrong(f"context.{name} must be a FHIR id", f"context.{name}")
    return f"{kind}/{bare}"


def _prefetched(bundle: object) -> list[dict[str, Any]] | None:
    """The DocumentReferences of a searchset; None for what an EHR sends when it could not search."""
    if bundle is None or (isinstance(bundle, dict) and bundle.get("resourceType") == "OperationOutcome"):
        return None
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise _wrong("prefetch.notes must be a Bundle of DocumentReferences", f"prefetch.{NOTES}")
    resources = [entry.get("resource") for entry in objects(bundle.get("entry"))]
    return [each for each in resources if isinstance(each, dict) and each.get("resourceType") == "DocumentReference"]


def _own(resources: list[dict[str, Any]], patient: str, encounter: str | None) -> tuple[ParsedDocument, ...]:
    """The documents of the asked encounter. A document that is no valid R4 is left out, another patient's refused."""
    found = []
    for index, resource in enumerate(resources):
        try:
            document = parse_document_reference(resource)
        except FhirInputError:
            continue
        if document.subject is not None and not _same(document.subject, patient):
            raise FhirInputError(
                "a prefetched note is of another patient than context.patientId; mend the prefetch query",
                code="business-rule", expression=f"prefetch.{NOTES}.entry[{index}]",
            )  # fmt: skip
        if encounter is None or (document.encounter is not None and _same(document.encounter, encounter)):
            found.append(document)
    return tuple(found)


def _same(reference: str, wanted: str) -> bool:
    """Whether a literal reference, relative or absolute, perhaps of one version, names `wanted` ("Patient/1")."""
    bare = reference.split("/_history/")[0]
    return bare == wanted or bare.endswith("/" + wanted)


def newest_of_each_type(documents: Iterable[ParsedDocument]) -> list[ParsedDocument]:
    """The newest document of every note type, newest first; one without a date counts as the oldest."""
    newest: dict[str | None, ParsedDocument] = {}
    for document in sorted(documents, key=_written, reverse=True):
        newest.setdefault(document.note_type, document)
    return list(newest.values())


def _written(document: ParsedDocument) -> datetime:
    return (parse_instant(document.date) if document.date else None) or datetime.min.replace(tzinfo=UTC)


def cards(records: Sequence[AssessmentRecord], registry: Mapping[str, Task]) -> list[dict[str, Any]]:
    """A card for every moderate or high risk whose task was trained on the note's type, high ones first.

    Otherwise in registry order, so that the same scores always give the same cards.
    A card's uuid is its RiskAssessment's id, so that feedback finds the score.
    """
    shown = [
        record
        for record in records
        if record.note_type_match and record.status == "final" and record.risk_level in _INDICATORS
    ]
    place = {task: index for index, task in enumerate(registry)}
    shown.sort(key=lambda record: (record.risk_level != "high", place[record.task]))
    return [_card(record, registry[record.task]) for record in shown]


def indicator(record: AssessmentRecord) -> str:
    """The card's urgency, by the task's operating thresholds. Never "critical": nothing here is an emergency."""
    return _INDICATORS[record.risk_level]


def _card(record: AssessmentRecord, task: Task) -> dict[str, Any]:
    mark = "TEST - " if record.demo else ""
    summary = f"{mark}{task.title}: {record.risk_level} risk, {record.adverse_probability:.0%} {task.adverse_label}"
    lines = [
        f"- {option.display}: {probability:.1%}"
        for option, probability in zip(task.options, record.probabilities, strict=True)
    ]
    if record.demo:
        lines.insert(0, f"**{DEMO_WARNING}**\n")
    return {
        "uuid": record.assessment_id,
        "summary": summary[:MAX_SUMMARY_CHARS],
        "indicator": indicator(record),
        "detail": "\n".join([*lines, "", rationale(record, task)]),
        "source": {
            "label": f"Lang1, {record.model_name} {record.model_version}",
            "topic": {"system": TASK_SYSTEM, "code": task.name, "display": task.title},
        },
        "overrideReasons": [
            {"code": code, "system": OVERRIDE_SYSTEM, "display": display} for code, display in OVERRIDE_REASONS.items()
        ],
    }


def parse_feedback(body: dict[str, Any]) -> tuple[CardFeedback, ...]:
    """The entries of `POST /cds-services/{id}/feedback`. Raises FhirInputError 400 naming the entry."""
    entries = body.get("feedback")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_FEEDBACK:
        raise _wrong(f"feedback must be a list of 1 to {MAX_FEEDBACK} entries", "feedback")
    return tuple(_feedback(entry, f"feedback[{index}]") for index, entry in enumerate(entries))


def _feedback(entry: object, where: str) -> CardFeedback:
    if not isinstance(entry, dict):
        raise _wrong("a feedback entry must be an object", where)
    try:
        card = str(uuid.UUID(str(entry.get("card"))))
    except ValueError:
        raise _wrong("card must be the uuid of a card", f"{where}.card") from None
    outcome = entry.get("outcome")
    if outcome not in OUTCOMES:
        raise _wrong(f"outcome must be {' or '.join(OUTCOMES)}", f"{where}.outcome")
    stamp = entry.get("outcomeTimestamp")
    at = parse_instant(stamp) if isinstance(stamp, str) else None
    if at is None:
        raise _wrong("outcomeTimestamp must be an instant with a time zone", f"{where}.outcomeTimestamp")
    return CardFeedback(card, str(outcome), _reason(entry.get("overrideReason")), at)


def _reason(override: object) -> str | None:
    coding = override.get("reason") if isinstance(override, dict) else None
    if not isinstance(coding, dict):
        return None
    ours = coding.get("system") == OVERRIDE_SYSTEM and coding.get("code") in OVERRIDE_REASONS
    return str(coding["code"]) if ours else "other"


def _wrong(message: str, expression: str) -> FhirInputError:
    return FhirInputError(f"{message}; see CDS Hooks 2.0", code="structure", expression=expression)
