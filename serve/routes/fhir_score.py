"""`POST /fhir/DocumentReference/$score` and `POST /fhir` (a batch Bundle)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fhir_adapters.batch import NOTE_TYPE, BatchEntry, parse_batch
from fhir_adapters.bundles import BatchAnswer, batch_response_bundle, collection_bundle
from fhir_adapters.json_body import parse_json_object
from fhir_adapters.outcomes.facts import FACT_TYPES
from fhir_adapters.parameters import ScoreRequest, parse_score_request
from lang1.tasks import TaskRegistry
from serve.auth.caller import caller_of
from serve.document_reading import DocumentReader, problem_of
from serve.fhir_notes import answer_to_risk_assessments
from serve.http.answers import fhir_response, problem_outcome
from serve.http.body import FHIR_TYPES, at_once_or_in_thread, check_content_type, read_body
from serve.note_job import AnsweredNote, NoteJob, RequestContext
from serve.outbox.notice import write_back_notice
from serve.outcome import Outcome
from serve.retraction import retract_mistaken, retract_mistaken_entries
from serve.routes.batch_facts import inside, is_fact, refusal, take_in_entries
from serve.services import Services

_FHIR_BODY = {"requestBody": {"required": True, "content": {"application/fhir+json": {"schema": {"type": "object"}}}}}


def router(services: Services) -> APIRouter:
    """The FHIR routes that score."""
    routes = APIRouter(prefix="/fhir", tags=["EHR"])
    settings = services.settings
    reader = DocumentReader(settings)

    async def body_of(request: Request) -> bytes:
        check_content_type(request, FHIR_TYPES)
        return await read_body(request, settings.max_body_bytes)

    @routes.post("/DocumentReference/$score", summary="Score one note", openapi_extra=_FHIR_BODY)
    async def score(request: Request) -> Response:
        context = services.context(request)
        body = await body_of(request)
        registry = await services.pipeline.model.registry()

        resource = await at_once_or_in_thread(body, lambda: parse_json_object(body))
        await retract_mistaken(services.pipeline, resource, context)

        def parse() -> ScoreRequest:
            return parse_score_request(resource, registry)

        job = (await reader.read(await at_once_or_in_thread(body, parse), context)).unwrap()
        (outcome,) = (await services.pipeline.score([job], context)).notes
        return fhir_response(await _collection(outcome.unwrap(), registry))

    @routes.post(
        "", summary="Score the notes and take in the facts of stays of a batch Bundle", openapi_extra=_FHIR_BODY
    )
    async def batch(request: Request) -> Response:
        context = services.context(request)
        body = await body_of(request)
        registry = await services.pipeline.model.registry()

        bundle = await at_once_or_in_thread(body, lambda: parse_json_object(body))

        def parse() -> list[BatchEntry]:
            return parse_batch(bundle, registry, max_entries=settings.max_batch_entries, other_types=FACT_TYPES)

        entries = await at_once_or_in_thread(body, parse)
        caller = caller_of(request)
        refused = {entry.index: problem for entry in entries if (problem := refusal(entry, caller)) is not None}
        facts = [entry for entry in entries if is_fact(entry) and entry.index not in refused]
        notes = [entry for entry in entries if not is_fact(entry) and entry.index not in refused]
        answers = {
            index: BatchAnswer(status=str(problem.status), outcome=problem_outcome(problem))
            for index, problem in refused.items()
        }
        # First what is known of stays: a note that cannot be scored now is sent again with all of its batch.
        taken = await take_in_entries(services, facts, context)
        answers |= {entry.index: answer for entry, answer in zip(facts, taken, strict=True)}
        if notes:
            if caller.allows(NOTE_TYPE, "c"):
                await retract_mistaken_entries(services.pipeline, bundle, context)
            scored = await _score(notes, context)
            answers |= {
                entry.index: await _entry_answer(answer, registry) for entry, answer in zip(notes, scored, strict=True)
            }
        return fhir_response(batch_response_bundle([answers[entry.index] for entry in entries]))

    async def _score(entries: Sequence[BatchEntry], context: RequestContext) -> list[Outcome[AnsweredNote]]:
        read = await asyncio.gather(*(_read(entry, context) for entry in entries))
        good = [outcome.unwrap() for outcome in read if outcome.problem is None]
        scored = iter((await services.pipeline.score(good, context)).notes)
        return [next(scored) if outcome.problem is None else Outcome(problem=outcome.problem) for outcome in read]

    async def _read(entry: BatchEntry, context: RequestContext) -> Outcome[NoteJob]:
        if entry.error is not None:
            return Outcome(problem=problem_of(entry.error))
        assert entry.request is not None
        outcome = await reader.read(entry.request, context)
        if outcome.problem is None:
            return outcome
        return Outcome(problem=inside(outcome.problem, f"Bundle.entry[{entry.index}].resource"))

    async def _collection(answer: AnsweredNote, registry: TaskRegistry) -> dict[str, Any]:
        """The RiskAssessments, and word of it when their write-back is delayed."""
        resources = answer_to_risk_assessments(answer, registry, settings)
        ids = [each.id for each in answer.predictions]
        notice = await write_back_notice(services.pipeline.read, settings.sink, ids)
        if notice is not None:
            resources.append(notice)
        return collection_bundle(resources, base_url=settings.resolved_public_base_url)

    async def _entry_answer(answer: Outcome[AnsweredNote], registry: TaskRegistry) -> BatchAnswer:
        if answer.problem is not None:
            return BatchAnswer(status=str(answer.problem.status), outcome=problem_outcome(answer.problem))
        return BatchAnswer(status="200", resource=await _collection(answer.unwrap(), registry))

    return routes
