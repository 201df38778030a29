"""`POST /fhir/DocumentReference/$score` and `POST /fhir` (a batch Bundle)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
from serve.errors import Problem, internal
from serve.fetching import make_fetcher
from serve.fhir_notes import request_to_job, stored_to_risk_assessment
from serve.http.answers import fhir_response, problem_outcome
from serve.http.body import FHIR_TYPES, check_content_type, read_body
from serve.logs import get_logger
from serve.outcome import Outcome
from serve.pipeline import NoteJob
from serve.services import Services
from serve.store.records import StoredPrediction

_FHIR_BODY = {"requestBody": {"required": True, "content": {"application/fhir+json": {"schema": {"type": "object"}}}}}


def router(services: Services) -> APIRouter:
    """The FHIR routes that score."""
    routes = APIRouter(prefix="/fhir", tags=["EHR"])
    settings = services.settings
    fetcher = make_fetcher(settings)

    async def body_of(request: Request) -> dict[str, Any]:
        check_content_type(request, FHIR_TYPES)
        return parse_json_object(await read_body(request, settings.max_body_bytes))

    def job_of(request: ScoreRequest) -> Outcome[NoteJob]:
        try:
            return Outcome(request_to_job(request, settings, fetcher))
        except FhirInputError as error:
            return Outcome(problem=problem_of(error))

    @routes.post("/DocumentReference/$score", summary="Score one note", openapi_extra=_FHIR_BODY)
    async def score(request: Request) -> Response:
        context = services.context(request)
        body = await body_of(request)
        registry = TaskRegistry((await services.pipeline.model()).tasks)
        job = (await asyncio.to_thread(job_of, parse_score_request(body, registry))).unwrap()
        (outcome,) = await services.pipeline.score([job], context)
        return fhir_response(_collection(outcome.unwrap(), registry))

    @routes.post("", summary="Score the notes of a batch Bundle", openapi_extra=_FHIR_BODY)
    async def batch(request: Request) -> Response:
        context = services.context(request)
        body = await body_of(request)
        registry = TaskRegistry((await services.pipeline.model()).tasks)
        entries = parse_batch(body, registry, max_entries=settings.max_batch_entries)
        read = await asyncio.gather(*(_read(entry) for entry in entries))
        good = [outcome.unwrap() for outcome in read if outcome.problem is None]
        scored = iter(await services.pipeline.score(good, context))
        answers: Sequence[Outcome[tuple[StoredPrediction, ...]]] = [
            next(scored) if outcome.problem is None else Outcome(problem=outcome.problem) for outcome in read
        ]
        return fhir_response(batch_response_bundle([_entry_answer(answer, registry) for answer in answers]))

    async def _read(entry: BatchEntry) -> Outcome[NoteJob]:
        if entry.error is not None:
            return Outcome(problem=problem_of(entry.error))
        assert entry.request is not None
        try:
            outcome = await asyncio.to_thread(job_of, entry.request)
        except Exception as error:
            # One entry's surprise is its own.
            get_logger().error("reading a batch entry failed: %s", type(error).__name__)
            return Outcome(problem=internal())
        if outcome.problem is None:
            return outcome
        return Outcome(problem=_inside(outcome.problem, f"Bundle.entry[{entry.index}].resource"))

    def _collection(stored: Sequence[StoredPrediction], registry: TaskRegistry) -> dict[str, Any]:
        resources = [stored_to_risk_assessment(each, registry, settings) for each in stored]
        return collection_bundle(resources, base_url=settings.resolved_public_base_url)

    def _entry_answer(answer: Outcome[tuple[StoredPrediction, ...]], registry: TaskRegistry) -> BatchAnswer:
        if answer.problem is not None:
            return BatchAnswer(status=str(answer.problem.status), outcome=problem_outcome(answer.problem))
        return BatchAnswer(status="200", resource=_collection(answer.unwrap(), registry))

    return routes


def problem_of(error: FhirInputError) -> Problem:
    """An adapter's error as plain data."""
    return Problem(error.status, error.code, error.message, expression=error.expression)


def _inside(problem: Problem, prefix: str) -> Problem:
    error = FhirInputError(problem.message, code=problem.code, status=problem.status, expression=problem.expression)
    return problem_of(error.at(prefix))
