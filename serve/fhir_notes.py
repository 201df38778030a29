"""Between the FHIR adapters and the pipeline: a document to a NoteJob, a stored prediction to a RiskAssessment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from fhir_adapters.assessment_record import AssessmentRecord, scores_to_records
from fhir_adapters.attachments.fetching import Fetcher
from fhir_adapters.attachments.limits import AttachmentLimits
from fhir_adapters.document_note import DocumentIdentity, document_to_note
from fhir_adapters.document_reference import NotePolicy, ParsedDocument
from fhir_adapters.entered_in_error import document_name
from fhir_adapters.explanation import QuotedPassage, explained
from fhir_adapters.parameters import ScoreRequest
from fhir_adapters.references import parse_instant
from fhir_adapters.risk_assessment import record_to_risk_assessment
from lang1.scores import RiskScore, RiskScores
from lang1.tasks import Task
from serve.note_job import AnsweredNote, NoteJob
from serve.settings import Settings
from serve.store.records import StoredPrediction, VersionOrder, note_key


def policy(settings: Settings) -> NotePolicy:
    """Which documents this service scores."""
    return NotePolicy(settings.include_superseded, settings.include_preliminary, settings.allow_restricted)


def limits(settings: Settings) -> AttachmentLimits:
    """What an attachment may cost."""
    return AttachmentLimits(
        max_bytes=settings.max_attachment_bytes,
        max_text_chars=settings.max_text_chars,
        parse_timeout_s=settings.parser_timeout_s,
    )


def request_to_job(request: ScoreRequest, settings: Settings, fetcher: Fetcher, source: str) -> NoteJob:
    """Read the note of a checked request from `source`. Raises FhirInputError.

    Blocking: attachments may be fetched and parsed.
    """
    scorable = document_to_note(request.document, fetcher, limits(settings), request.policy(policy(settings)))
    identity = scorable.identity
    subject = identity.subject or identity.subject_identifier
    key = _key(source, identity, subject, scorable.note.encounter)

    def payload(own_id: str, risk: RiskScore, scores: RiskScores) -> dict[str, Any]:
        now = datetime.now(UTC)
        # The key stands for the source: it also holds patient and note type, so two patients never share an identifier.
        (record,) = scores_to_records(
            replace(scores, risks=(risk,)), identity, {risk.task: own_id}, occurrence=now, source=key,
            note_type=scorable.note.note_type,
        )  # fmt: skip
        return record_to_payload(record)

    return NoteJob(
        note=scorable.note,
        note_key=key,
        text_sha256=identity.text_sha256,
        tasks=request.tasks,
        payload=payload,
        document=document_name(identity.document_id, identity.master_identifier, identity.identifier),
        replaces=identity.replaces,
        recorded_subject=subject,
        recorded_encounter=identity.encounter or identity.encounter_identifier,
        explain=request.explain,
        write_unmatched=settings.write_unmatched_types,
        version=_version(request.document),
    )


def _key(source: str, identity: DocumentIdentity, subject: str | None, encounter: str | None) -> str:
    """The document's key. Contract: source, the document's own id, text. Here also patient, encounter and note type.

    Templated notes without an id are equal word for word for different patients, whose answers must not be mixed up;
    the note type is part of the question.
    """
    named = (identity.key, subject, encounter, identity.note_type)
    return note_key(source, "fhir|" + "|".join(f"{len(part)}:{part}" if part is not None else "-" for part in named),
                    identity.text_sha256)  # fmt: skip


def _version(document: ParsedDocument) -> VersionOrder | None:
    # Only an id is the same for all versions of a document: a masterIdentifier is of one version, and what an
    # identifier counts (the stay, the order) is the sender's matter.
    if document.document_id is None:
        return None
    updated = parse_instant(document.last_updated) if document.last_updated else None
    number = document.version_id
    return VersionOrder(
        int(updated.timestamp() * 1000) if updated else None,
        # 18 digits fit the column.
        int(number) if number and number.isascii() and number.isdecimal() and len(number) <= 18 else None,
    )


def record_to_payload(record: AssessmentRecord) -> dict[str, Any]:
    """The record as JSON; times as ISO 8601."""
    values = asdict(record)
    for name in ("occurrence", "recorded"):
        values[name] = values[name].isoformat()
    return values


def stored_to_record(stored: StoredPrediction) -> AssessmentRecord:
    """The record of a stored prediction, as of now: superseded ones are cancelled, retracted ones in error."""
    values = dict(stored.payload)
    values["probabilities"] = tuple(values["probabilities"])
    values["occurrence"] = datetime.fromisoformat(values["occurrence"])
    values["recorded"] = datetime.fromtimestamp(stored.last_updated_ms / 1000, UTC)
    record = AssessmentRecord(**values)
    record = replace(record, version=stored.revision)
    if stored.retracted:
        return replace(record, status="entered-in-error")
    return replace(record, status="cancelled") if stored.superseded else record


def stored_to_risk_assessment(
    stored: StoredPrediction, registry: Mapping[str, Task], settings: Settings
) -> dict[str, Any]:
    """The RiskAssessment of a stored prediction."""
    return record_to_risk_assessment(stored_to_record(stored), registry, probability_scale=settings.probability_scale)


def answer_to_risk_assessments(
    answer: AnsweredNote, registry: Mapping[str, Task], settings: Settings
) -> list[dict[str, Any]]:
    """The RiskAssessments of an answered note; with its passages where they were asked for, in this answer alone."""
    resources = []
    for stored in answer.predictions:
        resource = stored_to_risk_assessment(stored, registry, settings)
        passages = (answer.passages or {}).get(stored.task, ())
        quoted = [QuotedPassage(answer.text[each.start : each.end], each.effect) for each in passages]
        resources.append(explained(resource, registry[stored.task], quoted))
    return resources
