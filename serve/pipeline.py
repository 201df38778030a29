"""A note's way through the service: find what is recorded, score what is not, record it, answer from the record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Concatenate, ParamSpec, TypeVar

from lang1.note_types import NOTE_TYPES
from lang1.notes import ClinicalNote
from lang1.scores import ModelIdentity, RiskScores
from lang1.tasks import Task
from serve.errors import Problem, model_changed
from serve.handles import ScorerClient, StoreClient
from serve.model_watch import ModelWatch
from serve.note_job import AnsweredNote, Answers, NoteJob, RequestContext
from serve.outcome import Outcome
from serve.scorer import NoteToScore
from serve.store.core import Store
from serve.store.records import (
    NewFeedback,
    NewNote,
    NewPrediction,
    RecordedFeedback,
    SearchPage,
    SearchQuery,
    StoredPrediction,
    prediction_id,
)
from serve.store.transaction import Transaction

T = TypeVar("T")
P = ParamSpec("P")

# A call during a swap may meet both models: so often it is answered anew, to be of one.
_TRIES_AT_ONE_MODEL = 3
# Notes of one stay times tasks; what is older than so many scores is not shown.
_ENCOUNTER_ROWS = 200


class Pipeline:
    """Of one ingress replica. Reads the database itself (no hop); writes through the store deployment."""

    def __init__(self, scorer: ScorerClient, store: StoreClient, reader: Store) -> None:
        self.model = ModelWatch(scorer)
        self._scorer = scorer
        self._store = store
        self._reader = reader
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="read")

    async def _read(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def ping_store(self) -> None:
        """Raise StoreUnavailableError unless the database answers."""
        await self._read(self._reader.ping)

    async def score(self, jobs: Sequence[NoteJob], context: RequestContext) -> Answers:
        """Each note's recorded predictions, or its problem. Raises StoreUnavailableError for all.

        An answer that is given was recorded before; what explains it is not recorded at all.
        """
        for _ in range(_TRIES_AT_ONE_MODEL):
            model = (await self.model.current()).identity
            notes, other = await self._score_by(model, jobs, context)
            if other is None:
                break
            self.model.expire()
            if all(each.problem or _is_of(other, each.unwrap().predictions) for each in notes):
                model = other
                break
        return Answers(model, await self._explain(jobs, notes, model, context))

    async def _score_by(
        self, model: ModelIdentity, jobs: Sequence[NoteJob], context: RequestContext
    ) -> tuple[list[Outcome[AnsweredNote]], ModelIdentity | None]:
        """The answers of `model` from the store and of whatever is loaded for the rest; that, when it is another."""
        ids = [[prediction_id(job.note_key, t.name, t.version, model.bundle_sha256) for t in job.tasks] for job in jobs]
        every_id = [each for own in ids for each in own]
        found = await self._read(lambda: self._reader.find(every_id))
        missing = [tuple(t for t, i in zip(job.tasks, own, strict=True) if i not in found)
                   for job, own in zip(jobs, ids, strict=True)]  # fmt: skip
        to_score = [place for place, tasks in enumerate(missing) if tasks]
        scored = await self._score_missing([(jobs[p], missing[p]) for p in to_score], context)

        new: dict[int, NewNote] = {}
        problems: dict[int, Problem] = {}
        other: ModelIdentity | None = None
        for place, outcome in zip(to_score, scored, strict=True):
            if outcome.problem is not None:
                problems[place] = outcome.problem
                _count_failed(outcome.problem.code)
                continue
            scores = outcome.unwrap()
            new[place] = _new_note(jobs[place], missing[place], scores, context.source)
            if scores.model.bundle_sha256 != model.bundle_sha256:
                other = scores.model
        again = {
            place: _seen_again(job, own, found, context.source)
            for place, (job, own) in enumerate(zip(jobs, ids, strict=True))
            if place not in new and place not in problems and job.version is not None and job.version.known
        }
        recorded = await self._record(new, again, jobs, ids, found, problems, context)

        results: list[Outcome[AnsweredNote]] = []
        for place, (job, own) in enumerate(zip(jobs, ids, strict=True)):
            if place in problems:
                results.append(Outcome(problem=problems[place]))
                continue
            by_task = {found[each].task: found[each] for each in own if each in found}
            by_task.update((each.task, each) for each in recorded.get(place, ()))
            results.append(Outcome(AnsweredNote(tuple(by_task[task.name] for task in job.tasks))))
        return results, other

    async def _score_missing(
        self, work: Sequence[tuple[NoteJob, tuple[Task, ...]]], context: RequestContext
    ) -> list[Outcome[RiskScores]]:
        if not work:
            return []
        return await self._scorer.score([_to_score(job, tasks) for job, tasks in work], context.left_s)

    async def _explain(
        self,
        jobs: Sequence[NoteJob],
        notes: list[Outcome[AnsweredNote]],
        model: ModelIdentity,
        context: RequestContext,
    ) -> list[Outcome[AnsweredNote]]:
        """The answers, with their passages where a job asks for them; as many at once as there are scorers."""
        free = asyncio.Semaphore(self._scorer.replicas)

        async def one(job: NoteJob, note: Outcome[AnsweredNote]) -> Outcome[AnsweredNote]:
            if note.problem is not None or not job.explain:
                return note
            async with free:
                outcome = await self._scorer.explain(_to_score(job, job.tasks), context.left_s)
            if outcome.problem is not None:
                return Outcome(problem=outcome.problem)
            explanation = outcome.unwrap()
            if explanation.bundle_sha256 != model.bundle_sha256:
                return Outcome(problem=model_changed())
            return Outcome(replace(note.unwrap(), text=job.note.text, passages=explanation.passages))

        return list(await asyncio.gather(*(one(job, note) for job, note in zip(jobs, notes, strict=True))))

    async def _record(
        self,
        new: dict[int, NewNote],
        again: dict[int, NewNote],
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
        audit = context.audit(answered)
        # Shielded: once begun, a commit ends whether or not the client still listens.
        notes = new | again
        committed = await asyncio.shield(self._store.commit(list(notes.values()), [audit]))
        for place, job in enumerate(jobs):
            if place not in notes and place not in problems:  # the store counts what it is given
                _count_resent(job.note.note_type, found[ids[place][0]].model_version)
        return {place: result.predictions for place, result in zip(notes, committed, strict=True)}

    async def get(self, prediction: str, context: RequestContext) -> StoredPrediction | None:
        """One prediction of a patient's note, its reading recorded. Raises StoreUnavailableError."""
        stored = await self._read(lambda: self._reader.get_assessment(prediction))
        if stored is not None:
            await self._store.commit((), [context.audit([stored.id], "read")])
        return stored

    async def search(self, query: SearchQuery, context: RequestContext) -> SearchPage:
        """A page of predictions, its reading recorded. Raises StoreUnavailableError."""
        page = await self._read(lambda: self._reader.search(query))
        read = tuple(each.id for each in page.predictions)
        await self._store.commit((), [context.audit(read, "search")])
        return page

    async def newest_of_encounter(
        self, subject: str, encounter: str, context: RequestContext
    ) -> list[StoredPrediction]:
        """The newest standing prediction of each task of one patient's encounter, their showing recorded.

        Subject and encounter are literal references. Raises StoreUnavailableError.
        """
        query = SearchQuery(subjects=(subject,), encounters=(encounter,), count=_ENCOUNTER_ROWS)
        page = await self._read(lambda: self._reader.search(query))
        newest: dict[str, StoredPrediction] = {}
        for stored in page.predictions:
            if not (stored.superseded or stored.retracted) and stored.payload.get("note_type_match"):
                newest.setdefault(stored.task, stored)
        if newest:
            shown = tuple(each.id for each in newest.values())
            await self._store.commit((), [context.audit(shown)])
        return list(newest.values())

    async def read(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work(transaction, …)`, which only reads, in a thread of this process. Raises StoreUnavailableError."""
        return await self._read(lambda: self._reader.read(work, *args, **kwargs))

    async def write(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work(transaction, …)` at the store's writer. Raises ServiceError."""
        return await self._store.run(work, *args, **kwargs)

    async def record_feedback(self, entries: Sequence[NewFeedback]) -> RecordedFeedback:
        """What people did with cards. Raises StoreUnavailableError."""
        return await self._store.record_feedback(entries)


def _to_score(job: NoteJob, tasks: Sequence[Task]) -> NoteToScore:
    # The scorer needs the text alone; what it does not get, it cannot leak.
    bare = ClinicalNote(note_id="", text=job.note.text, note_type=job.note.note_type)
    return NoteToScore(bare, tuple(task.name for task in tasks))


def _is_of(model: ModelIdentity, predictions: Sequence[StoredPrediction]) -> bool:
    return all(each.bundle_sha256 == model.bundle_sha256 for each in predictions)


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


def _seen_again(job: NoteJob, ids: Sequence[str], found: dict[str, StoredPrediction], source: str) -> NewNote:
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


def _count_resent(note_type: str | None, version: str) -> None:
    from monitoring import metrics

    metrics.notes_resent_total.labels(metrics.note_type_label(note_type, NOTE_TYPES), version).inc()


def _count_failed(code: str) -> None:
    from monitoring import metrics

    metrics.notes_failed_total.labels(code).inc()
