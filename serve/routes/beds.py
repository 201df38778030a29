"""`GET /v1/beds/forecast`, and the page `/beds` that shows it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from serve.beds.answer import BedForecastOut, ModelOut
from serve.beds.board import BedBoard
from serve.beds.settings import MAX_HORIZON_DAYS
from serve.errors import Problem, ServiceError
from serve.services import Services

_STATIC = Path(__file__).parent.parent / "beds" / "static"
_MEDIA_TYPES = {"beds.css": "text/css", "beds.js": "text/javascript", "chart.js": "text/javascript"}
_MAX_UNITS = 200
PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def router(services: Services) -> APIRouter:
    """The bed board's routes. Raises SettingsError for settings that cannot be used."""
    routes = APIRouter(tags=["beds"])
    settings = services.settings
    board = BedBoard(services.beds, settings, settings.hospital_timezone)

    @routes.get(
        "/v1/beds/forecast", summary="Expected occupancy and departures by unit and day", response_model=BedForecastOut
    )
    async def forecast(
        request: Request,
        unit: Annotated[list[str] | None, Query(description="Name of a unit; repeats. None means all.")] = None,
        days: Annotated[
            str | None,
            # Read as text, so that the error can say what is wrong.
            WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_HORIZON_DAYS}),
            Query(description="Days ahead; by default the setting beds_horizon_days."),
        ] = None,
    ) -> Response:
        _refuse_other_parameters(request)
        if unit is not None and len(unit) > _MAX_UNITS:
            raise ServiceError(Problem(422, "too-long", f"unit: at most {_MAX_UNITS} may be named; send fewer"))
        count = _days(days, settings.beds_horizon_days)
        answer = await board.forecast(datetime.now(UTC), count, unit, await _identity(services))
        return Response(answer.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})

    @routes.get("/beds", summary="The bed board, an HTML page", response_class=Response, responses={
        200: {"content": {"text/html": {}}, "description": "The page; it asks for the forecast itself."}})  # fmt: skip
    async def page() -> Response:
        return Response(_read("beds.html"), headers=PAGE_HEADERS, media_type="text/html")

    @routes.get("/beds/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        media_type = _MEDIA_TYPES.get(name)
        if media_type is None:
            raise ServiceError(Problem(404, "not-found", "no such file of the page /beds"))
        # Asked for again after a new version was installed.
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return Response(_read(name), headers=headers, media_type=media_type)

    return routes


def _read(name: str) -> bytes:
    return (_STATIC / name).read_bytes()


def _refuse_other_parameters(request: Request) -> None:
    # A misspelt filter must not answer the whole hospital as if it were the unit.
    if set(request.query_params) - {"unit", "days"}:
        raise ServiceError(Problem(422, "value", "only the parameters unit and days are known; remove the others"))


def _days(given: str | None, default: int) -> int:
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and len(given) <= 4 and 1 <= int(given) <= MAX_HORIZON_DAYS):
        raise ServiceError(
            Problem(422, "value", f"days must be a whole number from 1 to {MAX_HORIZON_DAYS}; correct it")
        )
    return int(given)


async def _identity(services: Services) -> ModelOut | None:
    try:
        identity = (await services.pipeline.model.current()).identity
    except ServiceError:
        # The scores are in the record: no scorer is needed for a forecast.
        return None
    return ModelOut(name=identity.name, version=identity.version, demo=identity.demo)
