"""The ingress deployment: a FastAPI app over the pipeline, with its own errors, media types and 404s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from ray import serve as ray_serve
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from fhir_adapters.errors import http_status
from lang1 import __version__
from lang1.errors import Lang1Error
from serve.auth.gate import Authenticator, Gate, let_in
from serve.auth.listening import check_listen_address
from serve.auth.routes import login_router, well_known_router
from serve.errors import Problem, ServiceError, internal
from serve.handles import ScorerClient, StoreClient
from serve.http.answers import problem_response
from serve.http.cds_cors import CdsCors
from serve.http.guard import Exposure, Guard
from serve.metrics_folder import use_metrics_folder
from serve.openapi import describe_api
from serve.pipeline import Pipeline
from serve.ray_environment import check_ray_authentication, check_ray_environment
from serve.rollout.wiring import make_arms
from serve.routes import (
    beds,
    cds,
    fhir_audit,
    fhir_read,
    fhir_score,
    notification,
    ops,
    outcomes,
    plain,
    retraining,
    rollout,
)
from serve.scorer_state import is_scorer_alive
from serve.services import Services
from serve.settings import Settings
from serve.store.core import Store


def build_api(services: Services) -> FastAPI:
    """The routes, the gate before them and the error answers, without Ray: any pipeline will do.

    Raises SettingsError for files of the authentication that cannot be used.
    """
    api = FastAPI(
        title="Lang1",
        version=__version__,
        description="Five operational risks from a clinical note.",
        redirect_slashes=False,
        # The framework's pages load scripts from a public CDN, which a hospital's network should not see.
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(let_in)],
    )
    authenticator = Authenticator(services.settings, lambda work, *args: services.pipeline.write(work, *args))
    api.add_middleware(Gate, authenticator=authenticator)
    api.include_router(ops.router(services))
    api.include_router(well_known_router(services.settings))
    if authenticator.cookies is not None:
        api.include_router(login_router(services.settings, authenticator))
    for module in (plain, fhir_score, fhir_read, fhir_audit, cds, notification, outcomes, beds, retraining, rollout):
        api.include_router(module.router(services))
    api.add_exception_handler(ServiceError, _service_error)
    api.add_exception_handler(Lang1Error, _lang1_error)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(RequestValidationError, _validation_error)
    api.add_exception_handler(Exception, _unplanned_error)
    describe_api(api, services.settings)
    return api


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return problem_response(request.url.path, error.problem)


async def _lang1_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, Lang1Error)
    expression = getattr(error, "expression", None)
    return problem_response(
        request.url.path, Problem(http_status(error), error.code, str(error), expression=expression)
    )


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = _FRAMEWORK_ERRORS.get(error.status_code, ("processing", "the request cannot be answered"))
    problem = Problem(error.status_code, code, message, headers=dict(error.headers or {}))
    return problem_response(request.url.path, problem)


async def _validation_error(request: Request, error: Exception) -> Response:
    # FastAPI's own body quotes the input.
    return problem_response(request.url.path, Problem(422, "value", "a parameter has a wrong value; see /openapi.json"))


async def _unplanned_error(request: Request, error: Exception) -> Response:
    # In the place of Starlette's text/plain. It raises the error again, and the guard says in the log where it was.
    return problem_response(request.url.path, internal())


_FRAMEWORK_ERRORS = {
    404: ("not-found", "no such route; see /openapi.json, or /fhir/metadata for FHIR"),
    405: ("not-supported", "the route does not take this method; the Allow header names those that it takes"),
}


class IngressReplica:
    """Ray Serve deployment. Ray calls `__serve_build_asgi_app__` once the handles are there."""

    def __init__(
        self,
        settings: Settings,
        scorer: Any,
        store: Any,
        started: str,
        loops: Sequence[Any] = (),
        rollout: Sequence[Any] = (),
    ) -> None:
        """`loops` are deployments that the application starts and nobody calls; `rollout` are challenger and guard."""
        check_ray_environment()
        check_ray_authentication()
        check_listen_address(settings)
        use_metrics_folder()
        application = ray_serve.get_replica_context().app_name
        reader = Store(settings.resolved_database_url, read_only=True)
        client = ScorerClient(scorer, settings.scorer_replicas, lambda: is_scorer_alive(application))
        pipeline = Pipeline(client, StoreClient(store), reader, make_arms(settings, rollout))
        self._services = Services(settings, pipeline, started)

    def __serve_build_asgi_app__(self) -> ASGIApp:  # Ray's name
        settings = self._services.settings
        return Guard(CdsCors(build_api(self._services), settings.cds_allowed_origins), Exposure.of(settings))
