"""Answering notes by one model: from the store what is recorded, from its scorers the rest, which is recorded first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from lang1.note_types import NOTE_TYPES
from lang1.scores import ModelIdentity, RiskScores
from lang1.tasks import Task
from serve.errors import Problem, model_changed
from serve.explaining import Explanation
from serve.handles import StoreClient
from serve.note_job import AnsweredNote, NoteJob, RequestContext
from serve.note_records import is_of, new_note, seen_again, to_score
from serve.outcome import Outcome
from serve.scorer import NoteToScore
from serve.store.records import NewNote, StoredPrediction, prediction_id

Find = Callable[[Iterable[str]], Awaitable[dict[str, StoredPrediction]]]


class Scorer(Protocol):
    """The scorers of one model."""

    @property
    def replicas(self) -> int: ...

    async def score(self, notes: Sequence[NoteToScore], deadline_s: float) -> list[Outcome[RiskScores]]: ...

    async def explain(self, note: NoteToScore, deadline_s: float) -> Outcome[Explanation]: ...


def ids_of(job: NoteJob, model: ModelIdentity) -> list[str]:
    """Ids of a note's predictions by a model, in task order."""
    return [prediction_id(job.note_key, t.name, t.version, model.bundle_sha256) for t in job.tasks]


class Answering:
    """Of one pipeline."""

    def __init__(self, find: Find, store: StoreClient) -> None:
        self._find = find
        self._store = store

    async def recorded_by(self, jobs: Sequence[NoteJob], model: ModelIdentity) -> list[bool]:
        """Whether each note is answered in the store by a model, with all its tasks."""
        ids = [ids_of(job, model) for job in jobs]
        found = await self._find([each for own in ids for each in own])
        return [all(each in found for each in own) for own in ids]

    async def score(
        self, scorer: Scorer, model: ModelIdentity, jobs: Sequence[NoteJob], context: RequestContext
    ) -> tuple[list[Outcome[AnsweredNote]], ModelIdentity | None]:
        """The answers of `model` from the store and of whatever `scorer` has loaded for the rest; that, when it is
        another. Raises StoreUnavailableError for all.
        """
        ids = [ids_of(job, model) for job in jobs]
        found = await self._find([each for own in ids for each in own])
        missing = [tuple(t for t, i in zip(job.tasks, own, strict=True) if i not in found)
                   for job, own in zip(jobs, ids, strict=True)]  # fmt: skip
        to_do = [place for place, tasks in enumerate(missing) if tasks]
        scored = await _score_missing(scorer, [(jobs[p], missing[p]) for p in to_do], context)

        new: dict[int, NewNote] = {}
        problems: dict[int, Problem] = {}
        other: ModelIdentity | None = None
        for place, outcome in zip(to_do, scored, strict=True):
            if outcome.problem is not None:
                problems[place] = outcome.problem
                continue
            scores = outcome.unwrap()
            new[place] = new_note(jobs[place], missing[place], scores, context.source)
            if scores.model.bundle_sha256 != model.bundle_sha256:
                other = scores.model
        again = {
            place: seen_again(job, own, found, context.source)
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
            predictions = tuple(by_task[task.name] for task in job.tasks)
            of = other if other is not None and is_of(other, predictions) else model
            results.append(Outcome(AnsweredNote(predictions, of, fresh=place in new)))
        return results, other

    async def explain(
        self, scorer: Scorer, jobs: Sequence[NoteJob], notes: Sequence[Outcome[AnsweredNote]], model: ModelIdentity,
        context: RequestContext,
    ) -> list[Outcome[AnsweredNote]]:  # fmt: skip
        """The answers, with their passages where a job asks for them; as many at once as there are scorers."""
        free = asyncio.Semaphore(scorer.replicas)

        async def one(job: NoteJob, note: Outcome[AnsweredNote]) -> Outcome[AnsweredNote]:
            if note.problem is not None or not job.explain:
                return note
            async with free:
                outcome = await scorer.explain(to_score(job, job.tasks), context.left_s)
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


async def _score_missing(
    scorer: Scorer, work: Sequence[tuple[NoteJob, tuple[Task, ...]]], context: RequestContext
) -> list[Outcome[RiskScores]]:
    if not work:
        return []
    return await scorer.score([to_score(job, tasks) for job, tasks in work], context.left_s)


def _count_resent(note_type: str | None, version: str) -> None:
    from monitoring import metrics

    metrics.notes_resent_total.labels(metrics.note_type_label(note_type, NOTE_TYPES), version).inc()
