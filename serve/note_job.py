"""Notes on their way through the pipeline, and what comes back, as plain data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lang1.notes import ClinicalNote
from lang1.scores import ModelIdentity, RiskScore, RiskScores
from lang1.tasks import Task
from serve.explaining import Passage
from serve.outcome import Outcome
from serve.store.records import AuditAction, AuditEntry, StoredPrediction, VersionOrder


@dataclass(frozen=True, slots=True)
class NoteJob:
    """One parsed note on its way. `payload` makes a task's stored JSON from its score (no note text in it)."""

    note: ClinicalNote
    note_key: str
    text_sha256: str
    tasks: tuple[Task, ...]
    payload: Callable[[str, RiskScore, RiskScores], dict[str, Any]]
    """(prediction id, the task's score, all of the note's scores) to JSON."""
    document: str | None = None
    replaces: tuple[str, ...] = ()
    recorded_subject: str | None = None
    """Subject and encounter under which the record is found; None keeps it out of FHIR searches."""
    recorded_encounter: str | None = None
    explain: bool = False
    write_unmatched: bool = False
    """Write a score back though its task was not trained on this note type."""
    version: VersionOrder | None = None
    """Of a document with an id of its own, whose later versions supersede it."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Who asks, and until when (monotonic seconds)."""

    source: str
    request_id: str
    deadline: float
    action: AuditAction = "score"
    """What the audit says of notes that are scored or found in this request."""
    client_address: str | None = None

    def audit(self, prediction_ids: Sequence[str], action: AuditAction | None = None) -> AuditEntry:
        """The audit row of this request."""
        return AuditEntry(
            action or self.action, self.source, self.request_id, tuple(prediction_ids), self.client_address
        )

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, above 0: a passed one is found by whoever waits."""
        return max(0.001, self.deadline - time.monotonic())


@dataclass(frozen=True, slots=True)
class AnsweredNote:
    """A note's recorded predictions in task order; `text` and `passages` by task for the answer of who asked why."""

    predictions: tuple[StoredPrediction, ...]
    model: ModelIdentity
    """Whose predictions they are."""
    fresh: bool = False
    """Whether any of them was made in this call."""
    text: str = field(default="", repr=False)
    passages: Mapping[str, tuple[Passage, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers in note order, each its own Outcome, and the model that they are of: all of them, unless a canary is
    under way; then the champion, where they are of both.
    """

    model: ModelIdentity
    notes: list[Outcome[AnsweredNote]]
