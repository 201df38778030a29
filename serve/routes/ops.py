"""`/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.responses import Response

from serve.backlog import publish_backlog
from serve.errors import ServiceError
from serve.http.answers import json_response
from serve.services import Services


def router(services: Services) -> APIRouter:
    """The routes of those who run the service."""
    routes = APIRouter(tags=["operations"])

    @routes.get("/livez", summary="The process is up")
    async def livez() -> Response:
        return json_response({"status": "up"})

    @routes.get("/readyz", summary="A scorer is loaded and the store answers; 503 otherwise")
    async def readyz() -> Response:
        scorer, store = await asyncio.gather(
            services.pipeline.model.refresh(), services.pipeline.ping_store(), return_exceptions=True
        )
        checks = {"scorer": _state(scorer), "store": _state(store)}
        ready = all(state == "ready" for state in checks.values())
        return json_response({"status": "ready" if ready else "not ready", "checks": checks}, 200 if ready else 503)

    @routes.get("/metrics", summary="Prometheus metrics of this node, summed over its processes")
    async def metrics_page() -> Response:
        from monitoring import metrics

        await publish_backlog(services.pipeline, services.settings)
        return Response(await asyncio.to_thread(metrics.exposition), headers={"Content-Type": metrics.CONTENT_TYPE})

    return routes


def _state(result: object) -> str:
    if isinstance(result, ServiceError):
        return result.problem.code
    return "exception" if isinstance(result, BaseException) else "ready"
