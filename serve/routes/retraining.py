"""`/v1/retraining`: who asked for a retrained model; asking for one, as a person or by an alert."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from fhir_adapters.json_body import parse_json_object
from serve.auth.caller import caller_of
from serve.errors import Problem, ServiceError
from serve.http.answers import json_response
from serve.http.body import JSON_TYPES, check_content_type, read_body
from serve.retraining import requests
from serve.retraining.alerts import MAX_BODY_BYTES, NotificationIn, asking, read_notification
from serve.retraining.loop import DAY_MS
from serve.retraining.metrics import publish
from serve.retraining.requests import MAX_REASON_CHARS, Answer, NewRequest
from serve.services import Services

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100


class RetrainingCall(BaseModel):
    """Body of `POST /v1/retraining`."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON_CHARS)]
    """Why, in a few words; nothing of a patient."""


class RequestOut(BaseModel):
    """One request."""

    id: str
    origin: Literal["alert", "person", "schedule"]
    asked_by: str
    reason: str
    alerts: list[dict[str, str]]
    model_version: str
    bundle_sha256: str
    """Of the model that was loaded then."""
    asked_at: AwareDatetime
    status: Literal["requested", "running", "done", "failed", "held"]
    tries: int
    started_at: AwareDatetime | None
    """Of the present or last try."""
    finished_at: AwareDatetime | None
    code: str | None
    """How the last try ended."""


class RequestsOut(BaseModel):
    """The newest requests, and whether a job is started for them."""

    starts_jobs: bool
    requests: list[RequestOut]


class AskedOut(BaseModel):
    """What became of asking: `requested`; `joined` an open request; `cooling`: one was made lately; `nothing` to do."""

    outcome: Literal["requested", "joined", "cooling", "nothing"]
    request: str | None = None
    """Id of the request."""


def _body(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def router(services: Services) -> APIRouter:
    """The `/v1/retraining` routes."""
    routes = APIRouter(prefix="/v1/retraining", tags=["operations"])
    settings, pipeline = services.settings, services.pipeline

    async def ask(new: NewRequest) -> Answer:
        cooldown_ms = round(settings.retraining_cooldown_days * DAY_MS)
        answer = await pipeline.write(requests.ask, new, cooldown_ms)
        publish(await pipeline.read(requests.counted))
        return answer

    async def new_request(origin: requests.Origin, by: str, reason: str, found: Any = ()) -> NewRequest:
        model = (await pipeline.model.current()).identity
        return NewRequest(str(uuid.uuid4()), origin, by, reason, model.version, model.bundle_sha256, found)

    @routes.get("", summary="The newest requests for a retrained model", response_model=RequestsOut)
    async def listed(
        limit: Annotated[
            str | None,
            # Read as text, so that the error can say what is wrong.
            WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}),
            Query(description=f"How many, newest first; {DEFAULT_LIMIT} by default."),
        ] = None,
    ) -> Response:
        found = await pipeline.read(requests.listed, _limit(limit))
        return _json(RequestsOut(starts_jobs=settings.retraining_spec is not None, requests=list(map(_out, found))))

    @routes.post("", summary="Ask for a retrained model", response_model=AskedOut, openapi_extra=_body(RetrainingCall))
    async def asked(request: Request) -> Response:
        check_content_type(request, JSON_TYPES)
        body = parse_json_object(await read_body(request, min(MAX_BODY_BYTES, settings.max_body_bytes)))
        try:
            call = RetrainingCall.model_validate(body)
        except ValidationError:
            words = f"send an object with reason alone, 1 to {MAX_REASON_CHARS} characters, nothing of a patient"
            raise ServiceError(Problem(422, "value", words, expression="reason")) from None
        caller = caller_of(request)
        answer = await ask(await new_request("person", caller.user or caller.source, call.reason))
        return _json(AskedOut(outcome=answer.outcome, request=answer.id))

    @routes.post(
        "/alerts", summary="Alertmanager's webhook: drift, calibration and quality ask for a retrained model",
        response_model=AskedOut, openapi_extra=_body(NotificationIn),
    )  # fmt: skip
    async def alerted(request: Request) -> Response:
        check_content_type(request, JSON_TYPES)
        body = parse_json_object(await read_body(request, min(MAX_BODY_BYTES, settings.max_body_bytes)))
        notification = read_notification(body)
        model = (await pipeline.model.current()).identity
        found = asking(notification.alerts, model.version)
        if not found.alerts:
            return _json(AskedOut(outcome="nothing"))
        new = await new_request("alert", caller_of(request).source, found.reason, found.alerts)
        answer = await ask(new)
        return _json(AskedOut(outcome=answer.outcome, request=answer.id))

    return routes


def _json(model: BaseModel) -> Response:
    return json_response(model.model_dump(mode="json"))


def _limit(given: str | None) -> int:
    if given is None:
        return DEFAULT_LIMIT
    if not (given.isascii() and given.isdigit() and len(given) <= 4 and 1 <= int(given) <= MAX_LIMIT):
        raise ServiceError(Problem(422, "value", f"limit must be a whole number from 1 to {MAX_LIMIT}; correct it"))
    return int(given)


def _out(request: requests.Request) -> RequestOut:
    return RequestOut(
        id=request.id,
        origin=request.origin,
        asked_by=request.asked_by,
        reason=request.reason,
        alerts=[dict(each) for each in request.alerts],
        model_version=request.model_version,
        bundle_sha256=request.bundle_sha256,
        asked_at=_time(request.created_ms),
        status=request.status,
        tries=request.attempts,
        started_at=None if request.started_ms is None else _time(request.started_ms),
        finished_at=None if request.finished_ms is None else _time(request.finished_ms),
        code=request.code,
    )


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
