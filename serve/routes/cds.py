"""CDS Hooks 2.0: `GET /cds-services`, `POST /cds-services/{id}` and its feedback."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fhir_adapters.assessment_record import AssessmentRecord
from fhir_adapters.cds_hooks import (
    SERVICES,
    CdsRequest,
    CdsService,
    cards,
    discovery,
    indicator,
    newest_of_each_type,
    parse_cds_request,
    parse_feedback,
)
from fhir_adapters.document_reference import ParsedDocument, check_scorable_status
from fhir_adapters.errors import FhirInputError
from fhir_adapters.json_body import parse_json_object
from fhir_adapters.parameters import ScoreRequest
from lang1.tasks import TaskRegistry
from serve.document_reading import DocumentReader
from serve.ehr.cds_notes import CdsNotes
from serve.errors import Problem, ServiceError
from serve.fhir_notes import policy, stored_to_record
from serve.http.answers import json_response
from serve.http.body import JSON_TYPES, at_once_or_in_thread, check_content_type, read_body
from serve.note_job import RequestContext
from serve.services import Services
from serve.store.records import NewFeedback, feedback_id

_JSON_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


def router(services: Services) -> APIRouter:
    """The routes that an EHR calls while a person has a chart open."""
    routes = APIRouter(prefix="/cds-services", tags=["CDS Hooks"])
    settings = services.settings
    reader = DocumentReader(settings)
    notes = CdsNotes(settings)

    @routes.get("", summary="The CDS services")
    async def discover() -> Response:
        return json_response(discovery(await services.pipeline.model.registry()))

    @routes.post("/{service_id}", summary="Cards with the risks of a stay", openapi_extra=_JSON_BODY)
    async def call(service_id: str, request: Request) -> Response:
        service = _service(service_id)
        context = services.context(request, "show")
        check_content_type(request, JSON_TYPES)
        body = await read_body(request, settings.max_body_bytes)
        asked = await at_once_or_in_thread(body, lambda: parse_cds_request(parse_json_object(body), service))
        registry = await services.pipeline.model.registry()
        records = await _records(asked, service, registry, context)
        shown = cards(records, registry)
        _count({card["uuid"] for card in shown}, records)
        return json_response({"cards": shown})

    @routes.post("/{service_id}/feedback", summary="What people did with cards", openapi_extra=_JSON_BODY)
    async def feedback(service_id: str, request: Request) -> Response:
        service = _service(service_id)
        context = services.context(request)
        check_content_type(request, JSON_TYPES)
        body = await read_body(request, settings.max_body_bytes)
        entries = []
        for each in parse_feedback(parse_json_object(body)):
            at_ms = int(each.at.timestamp() * 1000)
            entries.append(
                NewFeedback(
                    feedback_id(each.card, service.id, each.outcome, at_ms), each.card, service.id, each.outcome,
                    each.reason, at_ms, context.source,
                )
            )  # fmt: skip
        recorded = await services.pipeline.record_feedback(entries)
        if None in recorded.tasks:
            place = f"feedback[{recorded.tasks.index(None)}].card"
            raise ServiceError(
                Problem(404, "not-found", "no card has this uuid; nothing was recorded", expression=place)
            )
        return json_response({})

    async def _records(
        asked: CdsRequest, service: CdsService, registry: TaskRegistry, context: RequestContext
    ) -> list[AssessmentRecord]:
        """The scores of notes sent along, scored before, or fetched. Raises ServiceError."""
        if asked.documents is not None:
            return await _scored_now(asked.documents, registry, context)
        found = await _scored_before(asked, registry, context)
        if found:
            return found
        fetched = await notes.fetch(asked, service, registry, context)
        if fetched is not None and fetched.documents is not None:
            return await _scored_now(fetched.documents, registry, context)
        message = (
            "no notes were sent, none of this encounter was scored before and they cannot be fetched; send "
            "prefetch.notes, or fhirServer (the one this service is set to) with fhirAuthorization"
        )
        raise ServiceError(Problem(412, "required", message, expression="prefetch"))

    async def _scored_now(
        documents: tuple[ParsedDocument, ...], registry: TaskRegistry, context: RequestContext
    ) -> list[AssessmentRecord]:
        requests = [
            ScoreRequest(document, tasks)
            for document in newest_of_each_type(filter(_scorable, documents))
            if (tasks := tuple(task for task in registry.values() if task.trained_on(document.note_type)))
        ]
        jobs = await asyncio.gather(*(reader.read(each, context) for each in requests))
        # A note that cannot be read has no card; $score says why.
        read = [job.unwrap() for job in jobs if job.problem is None]
        if not read:
            return []
        answers = (await services.pipeline.score(read, context)).notes
        failed = [answer.problem for answer in answers if answer.problem is not None]
        if len(failed) == len(answers):
            raise ServiceError(failed[0])
        return [
            stored_to_record(stored)
            for answer in answers
            if answer.problem is None
            for stored in answer.unwrap().predictions
        ]

    async def _scored_before(
        asked: CdsRequest, registry: TaskRegistry, context: RequestContext
    ) -> list[AssessmentRecord]:
        if asked.encounter is None:
            return []
        found = await services.pipeline.newest_of_encounter(asked.patient, asked.encounter, context)
        return [stored_to_record(each) for each in found if each.task in registry]

    def _scorable(document: ParsedDocument) -> bool:
        try:
            check_scorable_status(document, policy(settings))
        except FhirInputError:
            return False
        return True

    return routes


def _service(service_id: str) -> CdsService:
    if service_id not in SERVICES:
        raise ServiceError(Problem(404, "not-found", "no such CDS service; see GET /cds-services"))
    return SERVICES[service_id]


def _count(shown: set[str], records: list[AssessmentRecord]) -> None:
    from monitoring import metrics

    for record in records:
        if record.assessment_id in shown:
            metrics.cards_total.labels(record.task, indicator(record)).inc()
