"""`POST /fhir/DocumentReference/$score` and `POST /fhir` (a batch Bundle)."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fhir_adapters.batch import BatchEntry, parse_batch
from fhir_adapters.bundles import BatchAnswer, batch_response_bundle, collection_bundle
from fhir_adapters.errors import FhirInputError
from fhir_adapters.json_body import parse_json_object
from fhir_adapters.parameters import ScoreRequest, parse_score_request
from lang1.tasks import TaskRegistry
from serve.document_reading import DocumentReader, problem_of
from serve.errors import Problem
from serve.fhir_notes import answer_to_risk_assessments
from serve.http.answers import fhir_response, problem_outcome
from serve.http.body import FHIR_TYPES, at_once_or_in_thread, check_content_type, read_body
from serve.note_job import AnsweredNote, NoteJob, RequestContext
from serve.outcome import Outcome
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

        def parse() -> ScoreRequest:
            return parse_score_request(parse_json_object(body), registry)

        job = (await reader.read(await at_once_or_in_thread(body, parse), context)).unwrap()
        (outcome,) = (await services.pipeline.score([job], context)).notes
        return fhir_response(_collection(outcome.unwrap(), registry))

    @routes.post("", summary="Score the notes of a batch Bundle", openapi_extra=_FHIR_BODY)
    async def batch(request: Request) -> Response:
        context = services.context(request)
        body = await body_of(request)
        registry = await services.pipeline.model.registry()

        def parse() -> list[BatchEntry]:
            return parse_batch(parse_json_object(body), registry, max_entries=settings.max_batch_entries)

        entries = await at_once_or_in_thread(body, parse)
        read = await asyncio.gather(*(_read(entry, context) for entry in entries))
        good = [outcome.unwrap() for outcome in read if outcome.problem is None]
        scored = iter((await services.pipeline.score(good, context)).notes)
        answers: list[Outcome[AnsweredNote]] = [
            next(scored) if outcome.problem is None else Outcome(problem=outcome.problem) for outcome in read
        ]
        return fhir_response(batch_response_bundle([_entry_answer(answer, registry) for answer in answers]))

    async def _read(entry: BatchEntry, context: RequestContext) -> Outcome[NoteJob]:
        if entry.error is not None:
            return Outcome(problem=problem_of(entry.error))
        assert entry.request is not None
        outcome = await reader.read(entry.request, context)
        if outcome.problem is None:
            return outcome
        return Outcome(problem=_inside(outcome.problem, f"Bundle.entry[{entry.index}].resource"))

    def _collection(answer: AnsweredNote, registry: TaskRegistry) -> dict[str, Any]:
        resources = answer_to_risk_assessments(answer, registry, settings)
        return collection_bundle(resources, base_url=settings.resolved_public_base_url)

    def _entry_answer(answer: Outcome[AnsweredNote], registry: TaskRegistry) -> BatchAnswer:
        if answer.problem is not None:
            return BatchAnswer(status=str(answer.problem.status), outcome=problem_outcome(answer.problem))
        return BatchAnswer(status="200", resource=_collection(answer.unwrap(), registry))

    return routes


def _inside(problem: Problem, prefix: str) -> Problem:
    error = FhirInputError(problem.message, code=problem.code, status=problem.status, expression=problem.expression)
    return problem_of(error.at(prefix))
