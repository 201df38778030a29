"""The way of a note through the service: find what is recorded, score what is not, record it, answer from the
record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from lang1.note_types import NOTE_TYPES
from lang1.notes import ClinicalNote
from lang1.scores import ModelIdentity, RiskScore, RiskScores
from lang1.tasks import Task
from serve.errors import Problem, ServiceError, scorer_away
from serve.handles import ReplicaCallError, ScorerClient, StoreClient
from serve.outcome import Outcome
from serve.scorer import ModelDescription, NoteToScore
from serve.store.core import Store
from serve.store.records import (
    AuditEntry,
    NewNote,
    NewPrediction,
    SearchPage,
    SearchQuery,
    StoredPrediction,
    prediction_id,
)

T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Who asks, and until when (monotonic seconds)."""

    source: str
    request_id: str
    deadline: float

    @property
    def left_s(self) -> float:
        return self.deadline - time.monotonic()


class Pipeline:
    """Of one ingress replica. Reads the database itself (no hop); writes through the store deployment."""

    def __init__(self, scorer: ScorerClient, store: StoreClient, reader: Store) -> None:
        self._scorer = scorer
        self._store = store
        self._reader = reader
        self._model: ModelDescription | None = None
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="read")

    async def model(self) -> ModelDescription:
        """The loaded model as last seen. Raises ServiceError 503 while no scorer is up."""
        return self._model or await self.refresh_model()

    async def refresh_model(self) -> ModelDescription:
        """Ask a scorer what is loaded. Raises ServiceError."""
        try:
            self._model = await self._scorer.describe()
        except ReplicaCallError:
            raise ServiceError(scorer_away()) from None
        return self._model

    async def _read(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def ping_store(self) -> None:
        """Raise StoreUnavailableError unless the database answers."""
        await self._read(self._reader.ping)

    async def score(
        self, jobs: Sequence[NoteJob], context: RequestContext
    ) -> list[Outcome[tuple[StoredPrediction, ...]]]:
        """Each note's recorded predictions in task order, or its problem. Raises StoreUnavailableError for all.

        An answer that is given was recorded before.
        """
        identity = (await self.model()).identity
        ids = [
            [prediction_id(job.note_key, t.name, t.version, identity.bundle_sha256) for t in job.tasks] for job in jobs
        ]
        every_id = [each for own in ids for each in own]
        found = await self._read(lambda: self._reader.find(every_id))
        missing = [tuple(t for t, i in zip(job.tasks, own, strict=True) if i not in found)
                   for job, own in zip(jobs, ids, strict=True)]  # fmt: skip
        to_score = [place for place, tasks in enumerate(missing) if tasks]
        scored = await self._score_missing([(jobs[p], missing[p]) for p in to_score], context)

        new: dict[int, NewNote] = {}
        problems: dict[int, Problem] = {}
        for place, outcome in zip(to_score, scored, strict=True):
            if outcome.problem is not None:
                problems[place] = outcome.problem
            else:
                new[place] = _new_note(jobs[place], missing[place], outcome.unwrap(), context.source)
        recorded = await self._record(new, jobs, ids, found, problems, context)
        if any(note.bundle_sha256 != identity.bundle_sha256 for note in new.values()):
            self._model = None  # another bundle was loaded meanwhile
        for problem in problems.values():
            _count_failed(problem.code)

        results: list[Outcome[tuple[StoredPrediction, ...]]] = []
        for place, (job, own) in enumerate(zip(jobs, ids, strict=True)):
            if place in problems:
                results.append(Outcome(problem=problems[place]))
                continue
            by_task = {found[each].task: found[each] for each in own if each in found}
            by_task.update((each.task, each) for each in recorded.get(place, ()))
            results.append(Outcome(tuple(by_task[task.name] for task in job.tasks)))
        return results

    async def _score_missing(
        self, work: Sequence[tuple[NoteJob, tuple[Task, ...]]], context: RequestContext
    ) -> list[Outcome[RiskScores]]:
        if not work:
            return []
        notes = [NoteToScore(_without_references(job.note), tuple(task.name for task in tasks)) for job, tasks in work]
        return await self._scorer.score(notes, max(0.001, context.left_s))

    async def _record(
        self,
        new: dict[int, NewNote],
        jobs: Sequence[NoteJob],
        ids: Sequence[Sequence[str]],
        found: dict[str, StoredPrediction],
        problems: dict[int, Problem],
        context: RequestContext,
    ) -> dict[int, tuple[StoredPrediction, ...]]:
        answered: list[str] = []
        for place, own in enumerate(ids):
            if place in new:
                answered += [p.id for p in new[place].predictions]
            if place not in problems:
                answered += [each for each in own if each in found]
        if not answered:
            return {}
        audit = AuditEntry("score", context.source, context.request_id, tuple(answered))
        # Shielded: once begun, a commit ends whether or not the client still listens.
        committed = await asyncio.shield(self._store.commit(list(new.values()), [audit]))
        for place, job in enumerate(jobs):
            if place not in new and place not in problems:
                _count_resent(job.note.note_type, found[ids[place][0]].model_version)
        return {place: result.predictions for place, result in zip(new, committed, strict=True)}

    async def get(self, prediction: str, context: RequestContext) -> StoredPrediction | None:
        """One prediction, its reading recorded. Raises StoreUnavailableError."""
        stored = await self._read(lambda: self._reader.get(prediction))
        if stored is not None:
            await self._store.commit((), [AuditEntry("read", context.source, context.request_id, (stored.id,))])
        return stored

    async def search(self, query: SearchQuery, context: RequestContext) -> SearchPage:
        """A page of predictions, its reading recorded. Raises StoreUnavailableError."""
        page = await self._read(lambda: self._reader.search(query))
        read = tuple(each.id for each in page.predictions)
        await self._store.commit((), [AuditEntry("search", context.source, context.request_id, read)])
        return page


def _without_references(note: ClinicalNote) -> ClinicalNote:
    # The scorer needs the text alone; what it does not get, it cannot leak.
    return ClinicalNote(note_id="", text=note.text, note_type=note.note_type)


def _new_note(job: NoteJob, tasks: Sequence[Task], scores: RiskScores, source: str) -> NewNote:
    model: ModelIdentity = scores.model
    by_task = {risk.task: risk for risk in scores.risks}
    predictions = []
    for task in tasks:
        own_id = prediction_id(job.note_key, task.name, task.version, model.bundle_sha256)
        risk = by_task[task.name]
        payload = job.payload(own_id, risk, scores)
        identifier = payload.get("identifier")
        predictions.append(
            NewPrediction(own_id, task.name, task.version, risk.adverse_probability, payload, identifier)
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
    )


def _count_resent(note_type: str | None, version: str) -> None:
    from monitoring import metrics

    metrics.notes_resent_total.labels(metrics.note_type_label(note_type, NOTE_TYPES), version).inc()


def _count_failed(code: str) -> None:
    from monitoring import metrics

    metrics.notes_failed_total.labels(code).inc()
