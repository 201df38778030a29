"""`POST /fhir/$notification`: what a FHIR server's subscription tells, recorded before it is answered."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fhir_adapters.json_body import parse_json_object
from fhir_adapters.operation_outcome import operation_outcome
from fhir_adapters.subscriptions import parse_notification
from serve.errors import Problem, ServiceError
from serve.http.answers import fhir_response
from serve.http.body import FHIR_TYPES, at_once_or_in_thread, check_content_type, read_body
from serve.intake.inbox import Inbox
from serve.intake.take_in import intake_source, takers
from serve.services import Services

_FHIR_BODY = {"requestBody": {"required": True, "content": {"application/fhir+json": {"schema": {"type": "object"}}}}}


def router(services: Services) -> APIRouter:
    """The route of Subscriptions R4 Backport, channel `rest-hook`."""
    routes = APIRouter(prefix="/fhir", tags=["EHR"])
    settings = services.settings
    inbox = Inbox(settings, services.pipeline, takers(services.pipeline, settings))

    @routes.post("/$notification", summary="Take a Subscription's notification", openapi_extra=_FHIR_BODY)
    async def notify(request: Request) -> Response:
        if not settings.notifications:
            raise ServiceError(
                Problem(404, "not-found", "notifications are not taken here; set the setting notifications, or poll")
            )
        # Whoever tells of them, the notes are those of the FHIR server: so they have its name as their source.
        context = replace(services.context(request), source=intake_source(settings))
        check_content_type(request, FHIR_TYPES)
        body = await read_body(request, settings.max_body_bytes)
        notification = await at_once_or_in_thread(body, lambda: parse_notification(parse_json_object(body)))
        inbox.check_allowed(notification)
        recorded = await inbox.take(notification, context)
        return fhir_response(
            operation_outcome("information", "informational", f"taken in; {recorded.queued} resources to be fetched")
        )

    return routes
