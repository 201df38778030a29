"""What becomes of a resource that was fetched or sent: notes are scored; other types have takers of their own."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fhir_adapters.entered_in_error import MistakenDocument
from fhir_adapters.errors import FhirInputError
from fhir_adapters.parameters import ScoreRequest, parse_score_request
from serve.document_reading import DocumentReader, problem_of
from serve.errors import Problem, ServiceError
from serve.intake.settings import NOTE_RESOURCE
from serve.note_job import NoteJob, RequestContext
from serve.outcome import Outcome
from serve.pipeline import Pipeline
from serve.retraction import retract, retract_mistaken
from serve.settings import Settings

SCORED = "scored"
RETRACTED = "entered-in-error"
GONE = "deleted"
# The hospital's own rules kept the note out: nothing is wrong that an operator could mend.
_BY_POLICY = frozenset({"business-rule", "suppressed"})


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one resource: a word for it, and the problem where it could not be taken in."""

    code: str
    problem: Problem | None = None

    @classmethod
    def failed(cls, problem: Problem) -> Taken:
        return cls(problem.code, problem)

    @property
    def may_retry(self) -> bool:
        """Whether the same resource may be taken in later."""
        return self.problem is not None and self.problem.status >= 500

    @property
    def is_dead(self) -> bool:
        """Whether it never can be, and somebody should know."""
        return self.problem is not None and not self.may_retry and self.problem.code not in _BY_POLICY


class TakeIn(Protocol):
    """Takes resources of one type. Answers in their order; never raises."""

    async def __call__(self, resources: Sequence[dict[str, Any]], context: RequestContext) -> list[Taken]: ...

    async def gone(self, reference: str, context: RequestContext) -> Taken:
        """The resource `Type/id` was deleted. Again: no change."""
        ...


class TakeInNotes:
    """Scores DocumentReferences; takes back the scores of those entered in error."""

    def __init__(self, pipeline: Pipeline, settings: Settings) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._reader = DocumentReader(settings)

    async def __call__(self, resources: Sequence[dict[str, Any]], context: RequestContext) -> list[Taken]:
        try:
            read = await asyncio.gather(*(self._read(each, context) for each in resources))
            jobs = [each.unwrap() for each in read if isinstance(each, Outcome) and each.problem is None]
            answers = iter((await self._pipeline.score(jobs, context)).notes if jobs else ())
        except ServiceError as error:
            return [Taken.failed(error.problem)] * len(resources)
        taken: list[Taken] = []
        for each in read:
            if isinstance(each, Taken):
                taken.append(each)
            else:
                problem = each.problem or next(answers).problem
                taken.append(Taken(SCORED) if problem is None else Taken.failed(problem))
        return taken

    async def _read(self, resource: dict[str, Any], context: RequestContext) -> Outcome[NoteJob] | Taken:
        if await retract_mistaken(self._pipeline, resource, context):
            return Taken(RETRACTED)
        registry = await self._pipeline.model.registry()

        def parse() -> ScoreRequest:
            return parse_score_request(resource, registry)

        try:
            # In a thread: checking a resource takes milliseconds, and other work shares this loop.
            request = await asyncio.to_thread(parse)
        except FhirInputError as error:
            return Outcome(problem=problem_of(error))
        return await self._reader.read(request, context)

    async def gone(self, reference: str, context: RequestContext) -> Taken:
        """A note that was deleted: its scores are taken back, unless the hospital deletes what it archives."""
        if self._settings.retract_deleted:
            try:
                await retract(self._pipeline, MistakenDocument(reference, None), context)
            except ServiceError as error:
                return Taken.failed(error.problem)
        return Taken(GONE)


def takers(pipeline: Pipeline, settings: Settings) -> dict[str, TakeIn]:
    """The taker of each resource type: notes, and the facts that outcomes are made of."""
    from serve.outcomes.intake import fact_takers  # which imports this module

    return {NOTE_RESOURCE: TakeInNotes(pipeline, settings), **fact_takers(pipeline, settings)}


def own_context(settings: Settings, source: str) -> RequestContext:
    """The context of work that nobody asked for in a request; the clock starts now."""
    return RequestContext(source, str(uuid.uuid4()), deadline=time.monotonic() + settings.deadline_s)


def intake_source(settings: Settings) -> str:
    """The name of `fhir_base_url` as a source."""
    return settings.intake_source or settings.source
