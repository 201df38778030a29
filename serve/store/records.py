"""What goes into the store and what comes out, as plain frozen data that crosses process borders."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any, Literal

# Any fixed UUID does; changing it would change every id, so that a resend would be scored again.
_NAMESPACE = uuid.UUID("5b0a4a5e-6f0e-5d0c-9c57-1f4b7f1f5a11")

AuditAction = Literal["score", "show", "read", "search", "write-back", "retract"]
"""`show`: scored or read back for cards that a person sees; `write-back`: sent to the EHR."""


def text_sha256(text: str) -> str:
    """Hash of a decoded text, hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def note_key(source: str, document: str | None, sha256: str) -> str:
    """Key of a document: sending system, its id (or masterIdentifier, identifier, none) and its text's hash."""
    return str(uuid.uuid5(_NAMESPACE, _joined(source, document or "", sha256)))


def prediction_id(key: str, task: str, task_version: int, bundle_sha256: str) -> str:
    """Deterministic id of one task's score of one document by one model."""
    return str(uuid.uuid5(_NAMESPACE, _joined(key, task, str(task_version), bundle_sha256)))


def feedback_id(prediction: str, service: str, outcome: str, occurred_ms: int) -> str:
    """Deterministic id of one feedback, so that a resend is not a second one."""
    return str(uuid.uuid5(_NAMESPACE, _joined(prediction, service, outcome, str(occurred_ms))))


def fate_id(source: str, document: str, subject: str | None, fate: str, by: str | None) -> str:
    """Deterministic id of what became of a document, so that it is told once."""
    return str(uuid.uuid5(_NAMESPACE, _joined(source, document, subject or "", fate, by or "")))


def document_version_id(source: str, document: str, subject: str | None) -> str:
    """Deterministic id of the row that holds a document's newest version."""
    return str(uuid.uuid5(_NAMESPACE, _joined("version", source, document, subject or "")))


def _joined(*parts: str) -> str:
    # Lengths first: ("ab", "c") and ("a", "bc") must not be the same key.
    return "".join(f"{len(part)}:{part}" for part in parts)


@dataclass(frozen=True, slots=True)
class NewPrediction:
    """One score to be recorded. `payload` is all that the answer is rebuilt from (JSON, no note text)."""

    id: str
    task: str
    task_version: int
    adverse_probability: float
    payload: dict[str, Any]
    identifier: str | None = None
    written_back: bool = True
    """Whether a configured sink gets it."""


@dataclass(frozen=True, slots=True)
class VersionOrder:
    """Where a version of a document stands among its versions, as far as its meta says.

    `updated_ms` is meta.lastUpdated in milliseconds since 1970 UTC, `number` meta.versionId where that is a number.
    """

    updated_ms: int | None = None
    number: int | None = None

    @property
    def known(self) -> bool:
        """Whether there is anything to compare."""
        return self.updated_ms is not None or self.number is not None

    def is_newer_than(self, other: VersionOrder) -> bool | None:
        """None where the two cannot be compared, or are the same version."""
        for own, theirs in ((self.updated_ms, other.updated_ms), (self.number, other.number)):
            if own is not None and theirs is not None and own != theirs:
                return own > theirs
        return None


@dataclass(frozen=True, slots=True)
class NewNote:
    """The scores of one note, recorded together. Token counts feed the metrics."""

    note_key: str
    source: str
    document: str | None
    text_sha256: str
    subject: str | None
    encounter: str | None
    model_version: str
    bundle_sha256: str
    predictions: tuple[NewPrediction, ...]
    replaces: tuple[str, ...] = ()
    """References of documents that this one replaces: their scores are marked superseded."""
    note_type: str | None = None
    note_tokens: int = 0
    dropped_tokens: int = 0
    version: VersionOrder | None = None
    """Of a document with an id of its own: scores of its older versions are superseded. None: no such thing."""
    known: tuple[str, ...] = ()
    """Ids of predictions of this note that were recorded before, where there is nothing new but its version."""


@dataclass(frozen=True, slots=True)
class StoredPrediction:
    """A recorded score. `last_updated_ms` is milliseconds since 1970 UTC."""

    id: str
    task: str
    model_version: str
    bundle_sha256: str
    payload: dict[str, Any]
    last_updated_ms: int
    superseded: bool
    retracted: bool = False
    revision: int = 1


@dataclass(frozen=True, slots=True)
class CommittedNote:
    """What the store holds after a commit, in the order given; `created` are the ids that were new."""

    predictions: tuple[StoredPrediction, ...]
    created: frozenset[str]
    first: bool
    """True when no score of this document by this model was there before: the note counts once."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One read or score, for the audit table."""

    action: AuditAction
    source: str
    request_id: str
    prediction_ids: tuple[str, ...]
    client_address: str | None = None


@dataclass(frozen=True, slots=True)
class NewFeedback:
    """What a person did with the card of one prediction. Times are milliseconds since 1970 UTC."""

    id: str
    prediction_id: str
    service: str
    outcome: str
    reason: str | None
    occurred_ms: int
    source: str


@dataclass(frozen=True, slots=True)
class RecordedFeedback:
    """What came of it: per entry, the task of the prediction, or None when there is no such prediction."""

    tasks: tuple[str | None, ...]
    created: frozenset[str]
    """Ids that were new. Empty when any entry has no prediction: then nothing was recorded."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A search: all given conditions hold. Times are milliseconds; `after` is the last row of the page before."""

    assessments_only: bool = True
    """Leave out scores of notes without a patient: R4 has no RiskAssessment without a subject."""
    ids: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    encounters: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    updated: tuple[tuple[int | None, int | None], ...] = ()
    """Half-open ranges [from, to) that last_updated_ms must all lie in."""
    not_updated: tuple[tuple[int, int], ...] = ()
    count: int = 50
    after: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class SearchPage:
    """One page, newest first. `after` continues it; None at the end."""

    predictions: tuple[StoredPrediction, ...] = ()
    total: int = 0
    """Matches on all pages."""
    after: tuple[int, str] | None = None
