"""From a note's scores to what is recorded of it, and what the scorer and the store are given."""

from __future__ import annotations

from collections.abc import Sequence

from lang1.notes import ClinicalNote
from lang1.scores import ModelIdentity, RiskScores
from lang1.tasks import Task
from serve.note_job import NoteJob
from serve.scorer import NoteToScore
from serve.store.records import NewNote, NewPrediction, StoredPrediction, prediction_id


def to_score(job: NoteJob, tasks: Sequence[Task]) -> NoteToScore:
    """What the scorer gets of a note."""
    # The scorer needs the text alone; what it does not get, it cannot leak.
    bare = ClinicalNote(note_id="", text=job.note.text, note_type=job.note.note_type)
    return NoteToScore(bare, tuple(task.name for task in tasks))


def is_of(model: ModelIdentity, predictions: Sequence[StoredPrediction]) -> bool:
    """Whether all predictions are of one model."""
    return all(each.bundle_sha256 == model.bundle_sha256 for each in predictions)


def new_note(job: NoteJob, tasks: Sequence[Task], scores: RiskScores, source: str) -> NewNote:
    """A note that was just scored, as it is recorded."""
    model: ModelIdentity = scores.model
    by_task = {risk.task: risk for risk in scores.risks}
    predictions = []
    for task in tasks:
        own_id = prediction_id(job.note_key, task.name, task.version, model.bundle_sha256)
        risk = by_task[task.name]
        payload = job.payload(own_id, risk, scores)
        identifier = payload.get("identifier")
        predictions.append(
            NewPrediction(
                own_id,
                task.name,
                task.version,
                risk.adverse_probability,
                payload,
                identifier,
                written_back=risk.note_type_match or job.write_unmatched,
            )
        )
    return NewNote(
        note_key=job.note_key,
        source=source,
        document=job.document,
        text_sha256=job.text_sha256,
        subject=job.recorded_subject,
        encounter=job.recorded_encounter,
        model_version=model.version,
        bundle_sha256=model.bundle_sha256,
        predictions=tuple(predictions),
        replaces=job.replaces,
        note_type=job.note.note_type,
        note_tokens=scores.note_tokens,
        dropped_tokens=scores.dropped_tokens,
        version=job.version,
    )


def seen_again(job: NoteJob, ids: Sequence[str], found: dict[str, StoredPrediction], source: str) -> NewNote:
    """A note whose scores are all recorded: what is new may be its version, or what it replaces."""
    return NewNote(
        note_key=job.note_key,
        source=source,
        document=job.document,
        text_sha256=job.text_sha256,
        subject=job.recorded_subject,
        encounter=job.recorded_encounter,
        model_version=found[ids[0]].model_version,
        bundle_sha256=found[ids[0]].bundle_sha256,
        predictions=(),
        replaces=job.replaces,
        note_type=job.note.note_type,
        version=job.version,
        known=tuple(ids),
    )
