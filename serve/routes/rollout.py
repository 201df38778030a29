"""`/v1/models` and `/v1/rollout`: what the registry holds, where the rollout stands, and moving it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Literal, get_args

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from fhir_adapters.json_body import parse_json_object
from lang1.registry import (
    Channels,
    NotRegisteredError,
    Registry,
    RegistryError,
    RolloutRefusedError,
    WordsError,
    rollout,
)
from serve.auth.caller import Caller, caller_of
from serve.errors import Problem, ServiceError
from serve.http.answers import json_response
from serve.http.body import JSON_TYPES, check_content_type, read_body
from serve.services import Services

Action = Literal["shadow", "approve", "canary", "advance", "promote", "rollback"]
_LOG_LINES: Final = 20
_GUARD_TIMEOUT_S: Final = 2.0
_MAX_ACTOR_CHARS: Final = 200
_MAX_BODY_BYTES: Final = 64 * 1024


class RolloutMove(BaseModel):
    """Body of `POST /v1/rollout`. `reason` goes to the log: nothing of a patient belongs there."""

    model_config = ConfigDict(extra="forbid", strict=True)

    action: Action
    bundle: str | None = Field(default=None, pattern=r"^[0-9a-f]{8,64}$")
    """Hash, or its first 8 digits or more; for `shadow` and `approve`."""
    reason: str = Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")


def router(services: Services) -> APIRouter:
    """The routes of those who roll models out."""
    routes = APIRouter(prefix="/v1", tags=["rollout"])
    settings = services.settings

    async def with_registry(work: Callable[[Registry], Any]) -> Any:
        folder = settings.resolved_registry
        if folder is None:
            raise ServiceError(_without_registry())
        try:
            return await asyncio.to_thread(lambda: work(Registry.open(folder)))
        except RegistryError as error:
            raise ServiceError(_problem(error)) from None

    @routes.get("/models", summary="The models of the registry, and the channels in which they stand")
    async def models(request: Request) -> Response:
        if settings.registry is None:
            loaded = (await services.pipeline.model.refresh()).identity
            only = {"name": loaded.name, "version": loaded.version, "bundle_sha256": loaded.bundle_sha256,
                    "demo": loaded.demo, "channels": ["champion"]}  # fmt: skip
            return json_response({"models": [only]})
        return json_response({"models": await with_registry(_models)})

    @routes.get("/rollout", summary="Channels, stage, counts, the guard's evidence and the last lines of the log")
    async def state(request: Request) -> Response:
        found = await with_registry(_state)
        loaded = (await services.pipeline.model.refresh()).identity.bundle_sha256
        arms = services.pipeline.arms
        challenger = arms.challenger_model if arms is not None else None
        found["loaded"] = {
            "champion": loaded,
            "challenger": None if challenger is None else challenger.bundle_sha256,
        }
        found["guard"] = await _summary(services)
        return json_response(found)

    @routes.post(
        "/rollout",
        summary="Move the rollout",
        openapi_extra={"requestBody": {"required": True, "content": {
            "application/json": {"schema": RolloutMove.model_json_schema()}}}},
    )  # fmt: skip
    async def move(request: Request) -> Response:
        check_content_type(request, JSON_TYPES)
        asked = _parse(await read_body(request, min(_MAX_BODY_BYTES, settings.max_body_bytes)))
        actor = _actor(caller_of(request))
        channels = await with_registry(lambda registry: _move(registry, asked, actor))
        return json_response({"channels": channels.model_dump(mode="json")})

    return routes


def _parse(body: bytes) -> RolloutMove:
    try:
        move = RolloutMove.model_validate(parse_json_object(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        known = [str(part) for part in first["loc"] if part in RolloutMove.model_fields]
        where = ".".join(known) or "the body"
        mend = f"actions: {', '.join(get_args(Action))}" if where == "action" else "see the schema at /openapi.json"
        code = "required" if first["type"] == "missing" else "value"
        raise ServiceError(
            Problem(422, code, f"{where}: {first['type'].replace('_', ' ')}; {mend}", expression=where)
        ) from None
    if move.action in ("shadow", "approve") and move.bundle is None:
        raise ServiceError(
            Problem(422, "required", f"{move.action} needs a bundle; send its hash", expression="bundle")
        )
    return move


def _actor(caller: Caller) -> str:
    name = caller.user or caller.client or caller.source
    # Whatever a provider calls its clients must not keep them from rolling back.
    return "".join(each if each.isprintable() else "?" for each in name)[:_MAX_ACTOR_CHARS]


def _move(registry: Registry, move: RolloutMove, actor: str) -> Channels:
    bundle = None if move.bundle is None else registry.find(move.bundle)
    if move.action == "shadow" and bundle is not None:
        rollout.start_shadow(registry, bundle, actor=actor, reason=move.reason)
    elif move.action == "approve" and bundle is not None:
        rollout.approve(registry, bundle, actor=actor, reason=move.reason)
    else:
        moves: dict[str, Callable[..., Channels]] = {
            "canary": rollout.start_canary,
            "advance": rollout.advance,
            "promote": rollout.promote,
            "rollback": rollout.rollback,
        }
        moves[move.action](registry, actor=actor, reason=move.reason)
    return registry.channels()


def _models(registry: Registry) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "version": each.version, "bundle_sha256": each.sha256, "demo": each.demo,
         "created": each.created, "added": each.added.isoformat(), "added_by": each.added_by,
         "channels": list(each.channels), "gate": each.gate}
        for each in registry.listed()
    ]  # fmt: skip


def _state(registry: Registry) -> dict[str, Any]:
    channels = registry.channels()
    challenger = channels.challenger
    return {
        "channels": channels.model_dump(mode="json"),
        "canary_steps": list(registry.description.canary_steps),
        "approval": {
            "needed": registry.description.require_approval,
            "by": None if challenger is None else rollout.approved_by(registry, challenger),
        },
        "log": [each.model_dump(mode="json", exclude={"channels"}) for each in registry.log()[-_LOG_LINES:]],
    }


async def _summary(services: Services) -> dict[str, Any]:
    """Of the guard; empty while it does not answer."""
    arms = services.pipeline.arms
    if arms is None:
        return {}
    try:
        async with asyncio.timeout(_GUARD_TIMEOUT_S):
            return await arms.summary()
    except Exception:
        return {}


def _without_registry() -> Problem:
    return Problem(501, "not-supported", "this service has no registry; set the setting `registry` to a folder")


def _problem(error: RegistryError) -> Problem:
    if isinstance(error, NotRegisteredError):
        return Problem(404, "not-found", str(error))
    if isinstance(error, WordsError):
        return Problem(422, "value", str(error))
    if isinstance(error, RolloutRefusedError):
        return Problem(409, "conflict", str(error))
    return Problem(503, "transient", str(error), retry_after_s=5)
