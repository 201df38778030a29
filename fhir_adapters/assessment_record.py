"""One task's answer for one note, as the store keeps it: what a RiskAssessment is rebuilt from, and no note text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fhir_adapters.document_note import DocumentIdentity
from lang1.scores import RiskScores

AssessmentStatus = Literal["final", "amended", "entered-in-error", "cancelled"]


@dataclass(frozen=True, slots=True)
class AssessmentRecord:
    """A row of the predictions table. References are literal, `..._identifier` are tokens `system|value`.

    `occurrence` and `recorded` are aware datetimes. `probabilities` has one entry an option of the task, in task order.
    """

    assessment_id: str
    """The RiskAssessment's id (a UUID)."""
    identifier: str
    """Deterministic: the same note, task and model give the same value. See `assessment_identifier`."""
    task: str
    probabilities: tuple[float, ...]
    adverse_probability: float
    risk_level: str
    note_type: str | None
    note_type_match: bool
    model_name: str
    model_version: str
    bundle_sha256: str
    demo: bool
    subject: str | None
    subject_identifier: str | None
    encounter: str | None
    encounter_identifier: str | None
    document_id: str | None
    document_version: str | None
    document_identifier: str | None
    text_sha256: str
    period_end: str | None
    """FHIR dateTime as the document gave it: the discharge, where the task's horizon counts from it."""
    preliminary: bool
    note_tokens: int
    dropped_tokens: int
    occurrence: datetime
    """When the model answered."""
    recorded: datetime
    """When this version of the record was written: meta.lastUpdated."""
    status: AssessmentStatus = "final"
    version: int = 1

    @property
    def truncated(self) -> bool:
        return self.dropped_tokens > 0


def assessment_identifier(source: str, identity: DocumentIdentity, task: str, bundle_sha256: str) -> str:
    """SHA-256 (hex) of what makes an answer the same answer. Serving contract, "Durable, exactly once".

    `source` is the authenticated sender: ids collide between systems. The document counts by its id, else
    masterIdentifier, else identifier, else not at all.
    """
    document = next(
        (
            [kind, value]
            for kind, value in (
                ("id", identity.document_id),
                ("masterIdentifier", identity.master_identifier),
                ("identifier", identity.identifier),
            )
            if value is not None
        ),
        None,
    )
    # JSON, not joined strings: no two different keys can be written the same.
    key = json.dumps([source, document, identity.text_sha256, task, bundle_sha256], ensure_ascii=True)
    return hashlib.sha256(key.encode()).hexdigest()


def scores_to_records(
    scores: RiskScores,
    identity: DocumentIdentity,
    ids: Mapping[str, str],
    *,
    occurrence: datetime,
    recorded: datetime | None = None,
    source: str = "",
    note_type: str | None = None,
) -> tuple[AssessmentRecord, ...]:
    """One record a risk, in the order of `scores.risks`. `ids` gives each task's UUID; times must be aware.

    `note_type` overrides the document's own. Raises KeyError for a task without an id, ValueError for a naive time.
    """
    recorded = recorded or occurrence
    if occurrence.tzinfo is None or recorded.tzinfo is None:
        raise ValueError("occurrence and recorded need a time zone; pass aware datetimes")
    return tuple(
        AssessmentRecord(
            assessment_id=ids[risk.task],
            identifier=assessment_identifier(source, identity, risk.task, scores.model.bundle_sha256),
            task=risk.task,
            probabilities=risk.probabilities,
            adverse_probability=risk.adverse_probability,
            risk_level=str(risk.risk_level),
            note_type=note_type or identity.note_type,
            note_type_match=risk.note_type_match,
            model_name=scores.model.name,
            model_version=scores.model.version,
            bundle_sha256=scores.model.bundle_sha256,
            demo=scores.model.demo,
            subject=identity.subject,
            subject_identifier=identity.subject_identifier,
            encounter=identity.encounter,
            encounter_identifier=identity.encounter_identifier,
            document_id=identity.document_id,
            document_version=identity.version_id,
            document_identifier=identity.master_identifier or identity.identifier,
            text_sha256=identity.text_sha256,
            period_end=identity.period_end,
            preliminary=identity.preliminary,
            note_tokens=scores.note_tokens,
            dropped_tokens=scores.dropped_tokens,
            occurrence=occurrence,
            recorded=recorded,
        )
        for risk in scores.risks
    )
