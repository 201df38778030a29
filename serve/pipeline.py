"""A note's way through the service: find what is recorded, score what is not, record it, answer from the record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from lang1.scores import ModelIdentity
from serve.answering import Answering
from serve.handles import ScorerClient, StoreClient
from serve.model_watch import ModelWatch
from serve.note_job import AnsweredNote, Answers, NoteJob, RequestContext
from serve.note_records import is_of, to_score
from serve.outcome import Outcome
from serve.rollout.arms import Arms
from serve.rollout.shadow import Shadow
from serve.rollout.shadow_scores import NewShadowScore, record_shadow_scores
from serve.store.core import Store
from serve.store.records import NewFeedback, RecordedFeedback, SearchPage, SearchQuery, StoredPrediction
from serve.store.transaction import Transaction

T = TypeVar("T")
P = ParamSpec("P")

# A call during a swap may meet both models: so often it is answered anew, to be of one.
_TRIES_AT_ONE_MODEL = 3
# Notes of one stay times tasks; what is older than so many scores is not shown.
_ENCOUNTER_ROWS = 200


class Pipeline:
    """Of one ingress replica. Reads the database itself (no hop); writes through the store deployment."""

    def __init__(self, scorer: ScorerClient, store: StoreClient, reader: Store, arms: Arms | None = None) -> None:
        """`arms` where models come from a registry: rollouts are then possible."""
        self.model = ModelWatch(scorer)
        self.arms = arms
        self._scorer = scorer
        self._store = store
        self._reader = reader
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="read")
        self._answering = Answering(self._find, store)
        self._shadow: Shadow | None = None
        if arms is not None:
            self._shadow = Shadow(arms.settings, arms, scorer, self._record_shadow)

    async def _read(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _find(self, ids: Iterable[str]) -> dict[str, StoredPrediction]:
        return await self._read(lambda: self._reader.find(ids))

    async def _record_shadow(self, scores: Sequence[NewShadowScore]) -> int:
        return await self._store.run(record_shadow_scores, tuple(scores))

    async def ping_store(self) -> None:
        """Raise StoreUnavailableError unless the database answers."""
        await self._read(self._reader.ping)

    async def score(self, jobs: Sequence[NoteJob], context: RequestContext) -> Answers:
        """Each note's recorded predictions, or its problem. Raises StoreUnavailableError for all.

        An answer that is given was recorded before; what explains it is not recorded at all.
        """
        arms = self.arms
        taken = [] if arms is None or not arms.in_canary else await self._taken(arms, jobs, context)
        if arms is None or not taken:
            model, notes = await self._by_champion(jobs, context)
        else:
            model, notes = await self._by_both(arms, jobs, taken, context)
        if arms is not None and arms.in_canary:
            arms.count_answers(notes)
        return Answers(model, notes)

    async def _by_champion(
        self, jobs: Sequence[NoteJob], context: RequestContext, *, shadowed: bool = True
    ) -> tuple[ModelIdentity, list[Outcome[AnsweredNote]]]:
        for _ in range(_TRIES_AT_ONE_MODEL):
            model = (await self.model.current()).identity
            began = time.monotonic()
            notes, other = await self._answering.score(self._scorer, model, jobs, context)
            if self.arms is not None and self.arms.in_canary:
                fresh = sum(each.problem is None and each.unwrap().fresh for each in notes)
                self.arms.count_champion(fresh, time.monotonic() - began)
            if other is None:
                break
            self.model.expire()
            if all(each.problem or is_of(other, each.unwrap().predictions) for each in notes):
                model = other
                break
        for each in notes:
            if each.problem is not None:
                _count_failed(each.problem.code)
        if shadowed:
            self._offer(jobs, notes)
        return model, await self._answering.explain(self._scorer, jobs, notes, model, context)

    async def _taken(self, arms: Arms, jobs: Sequence[NoteJob], context: RequestContext) -> list[int]:
        """Places of the notes that the challenger answers: of its encounters, unless the champion has answered before.

        What was answered stays as it is as long as the rollout lasts, whatever the share.
        """
        places = [place for place, job in enumerate(jobs) if arms.is_challengers(job, context.source)]
        if not places:
            return []
        own = [jobs[place] for place in places]
        by_champion = await self._answering.recorded_by(own, (await self.model.current()).identity)
        challenger = arms.challenger_model
        by_challenger = [False] * len(own) if challenger is None else await self._answering.recorded_by(own, challenger)
        return [place for place, old, new in zip(places, by_champion, by_challenger, strict=True) if new or not old]

    async def _by_both(
        self, arms: Arms, jobs: Sequence[NoteJob], taken: Sequence[int], context: RequestContext
    ) -> tuple[ModelIdentity, list[Outcome[AnsweredNote]]]:
        rest = [place for place in range(len(jobs)) if place not in set(taken)]

        async def champions() -> dict[int, Outcome[AnsweredNote]]:
            if not rest:
                return {}
            _, notes = await self._by_champion([jobs[place] for place in rest], context)
            return dict(zip(rest, notes, strict=True))

        answered, by_challenger = await asyncio.gather(champions(), self._by_challenger(arms, jobs, taken, context))
        answered |= by_challenger
        # Whatever keeps the challenger from answering, the champion is there.
        if left := [place for place in taken if place not in by_challenger]:
            _, notes = await self._by_champion([jobs[place] for place in left], context, shadowed=False)
            answered |= zip(left, notes, strict=True)
        notes = [answered[place] for place in range(len(jobs))]
        models = {each.unwrap().model for each in notes if each.problem is None}
        return models.pop() if len(models) == 1 else (await self.model.current()).identity, notes

    async def _by_challenger(
        self, arms: Arms, jobs: Sequence[NoteJob], places: Sequence[int], context: RequestContext
    ) -> dict[int, Outcome[AnsweredNote]]:
        """The challenger's answers by place; those that it could not give are counted and left out."""
        refusals = {place: arms.refusal(jobs[place]) for place in places}
        able = [place for place in places if refusals[place] is None]
        answered: dict[int, Outcome[AnsweredNote]] = {}
        model = arms.challenger_model
        if able and model is not None:
            own = [jobs[place] for place in able]
            scorer = arms.scorer(model)
            notes, _ = await self._answering.score(scorer, model, own, context)
            self._offer(own, notes)
            notes = await self._answering.explain(scorer, own, notes, model, context)
            for place, note in zip(able, notes, strict=True):
                if note.problem is None:
                    answered[place] = note
                else:
                    refusals[place] = note.problem.code
        for place in places:
            if place not in answered:
                arms.count_fallback(refusals[place] or "not-loaded")
        return answered

    def _offer(self, jobs: Sequence[NoteJob], notes: Sequence[Outcome[AnsweredNote]]) -> None:
        """Hand the newly scored notes to the shadow."""
        if self._shadow is None:
            return
        for job, note in zip(jobs, notes, strict=True):
            if note.problem is None and note.unwrap().fresh:
                self._shadow.offer(job, to_score(job, job.tasks), note.unwrap())

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
        # What a challenger said before it was rolled back stays in the record, and off the chart.
        withdrawn = self.arms.following.withdrawn if self.arms is not None else frozenset()
        for stored in page.predictions:
            standing = not (stored.superseded or stored.retracted or stored.bundle_sha256 in withdrawn)
            if standing and stored.payload.get("note_type_match"):
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


def _count_failed(code: str) -> None:
    from monitoring import metrics

    metrics.notes_failed_total.labels(code).inc()
