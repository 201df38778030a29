"""`GET /fhir/RiskAssessment…` and what the service says about itself."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fhir_adapters.bundles import searchset_bundle
from fhir_adapters.capability import DEFAULT_RESOURCES, ServedResource, capability_statement
from fhir_adapters.definitions import conformance_resources
from lang1 import __version__
from lang1.tasks import TaskRegistry
from serve.errors import Problem, ServiceError
from serve.fhir_notes import stored_to_record, stored_to_risk_assessment
from serve.http.answers import fhir_response
from serve.routes.fhir_search import PARAMETERS, SHAPING, page_links, parse_search
from serve.services import Services

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DEFINITIONS = ("OperationDefinition", "StructureDefinition", "CodeSystem")


def router(services: Services) -> APIRouter:
    """The FHIR routes that read."""
    routes = APIRouter(prefix="/fhir", tags=["EHR"])
    settings = services.settings
    base = settings.resolved_public_base_url
    started = services.started

    async def registry() -> TaskRegistry:
        return await services.pipeline.model.registry()

    @routes.get("/RiskAssessment/{assessment_id}", summary="Read one RiskAssessment")
    async def read(assessment_id: str, request: Request) -> Response:
        context = services.context(request)
        # Every id is a UUID: another string need not, and for a NUL must not, reach the database.
        stored = await services.pipeline.get(assessment_id, context) if _UUID.fullmatch(assessment_id) else None
        if stored is None:
            raise _not_found("RiskAssessment")
        record = stored_to_record(stored)
        resource = stored_to_risk_assessment(stored, await registry(), settings)
        return fhir_response(resource, headers={"ETag": f'W/"{record.version}"'})

    @routes.get(
        "/RiskAssessment",
        summary="Search RiskAssessments, newest first",
        openapi_extra={"parameters": [{"name": name, "in": "query", "required": False, "schema": {"type": "string"}}
                                      for name in (*PARAMETERS, *SHAPING)]},
    )  # fmt: skip
    async def search(request: Request) -> Response:
        context = services.context(request)
        parameters = request.query_params.multi_items()
        page = await services.pipeline.search(parse_search(parameters), context)
        tasks = await registry()
        links = page_links(base, parameters, page.after)
        resources = [stored_to_risk_assessment(each, tasks, settings) for each in page.predictions]
        bundle = searchset_bundle(
            resources, total=page.total, self_url=links.self_url, next_url=links.next_url, base_url=base
        )
        return fhir_response(bundle)

    @routes.get("/metadata", summary="CapabilityStatement")
    async def metadata() -> Response:
        statement = capability_statement(
            await registry(),
            software_version=__version__,
            url=base,
            date=started,
            resources=_served(),
            smart=bool(settings.auth_issuers),
        )
        return fhir_response(statement)

    async def definitions(kind: str) -> list[dict[str, Any]]:
        every = conformance_resources(await registry(), version=__version__, date=started)
        return [each for each in every if each["resourceType"] == kind]

    def add(kind: str) -> None:
        async def one(definition_id: str) -> Response:
            for each in await definitions(kind):
                if each.get("id") == definition_id:
                    return fhir_response(each)
            raise _not_found(kind)

        async def every(request: Request) -> Response:
            wanted = request.query_params.get("url")
            found = [each for each in await definitions(kind) if wanted in (None, each["url"])]
            return fhir_response(searchset_bundle(found, total=len(found), self_url=f"{base}/{kind}", base_url=base))

        routes.add_api_route(
            f"/{kind}/{{definition_id}}", one, methods=["GET"], summary=f"Read one {kind}", name=f"read {kind}"
        )
        routes.add_api_route(f"/{kind}", every, methods=["GET"], summary=f"All of {kind}", name=f"list {kind}")

    for kind in _DEFINITIONS:
        add(kind)
    return routes


def _served() -> list[ServedResource]:
    """The routes' resources: the adapters' own list, with the search parameters that this service really takes."""
    served = [each for each in DEFAULT_RESOURCES if each.type != "RiskAssessment"]
    return [
        *served,
        ServedResource("RiskAssessment", interactions=("read", "search-type"), search_parameters=PARAMETERS),
        *(ServedResource(kind, interactions=("read", "search-type")) for kind in _DEFINITIONS),
    ]


def _not_found(kind: str) -> ServiceError:
    return ServiceError(Problem(404, "not-found", f"no such {kind} here"))
