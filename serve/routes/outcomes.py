"""`POST /v1/outcomes`: labels that a hospital gives itself. `GET /v1/outcomes/coverage`: how many stays have one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import Response

from fhir_adapters.errors import FhirInputError
from fhir_adapters.json_body import parse_json_object
from fhir_adapters.outcomes.elements import canonical_name, checked_name, refuse_future, to_ms
from lang1.hospital_record import EXCLUDING
from lang1.tasks import Task, TaskRegistry
from serve.document_reading import problem_of
from serve.errors import Problem, ServiceError
from serve.http.answers import json_response, problem_json
from serve.http.body import JSON_TYPES, check_content_type, read_body
from serve.outcome import Outcome
from serve.outcomes.context import LabelContext, label_context
from serve.outcomes.coverage import coverage, coverage_json
from serve.outcomes.given import GivenChange, GivenOutcome, record_given
from serve.outcomes.intake import count_labels
from serve.services import Services

ExclusionCode = Literal["not-inpatient", "left-out-service", "newborn", "bad-times", "died", "no-value"]
assert set(ExclusionCode.__args__) == {reason.code for reason in EXCLUDING}  # type: ignore[attr-defined]


class OutcomeIn(BaseModel):
    """What came of one stay for one task: exactly one of `option`, `excluded` and `withdrawn`."""

    model_config = ConfigDict(extra="forbid")

    encounter: str = Field(min_length=1, max_length=1024)
    """As the notes name it: `Encounter/<id>`, or an identifier as `system|value`."""
    subject: str | None = Field(default=None, min_length=1, max_length=1024)
    task: str = Field(min_length=1, max_length=64)
    option: Annotated[int, Field(strict=True, ge=0)] | Annotated[str, Field(strict=True)] | None = None
    """The option's code, or its index."""
    excluded: ExclusionCode | None = None
    """Why the task asks nothing of this stay; `no-value` for a reason of the hospital's own."""
    withdrawn: Literal[True] | None = None
    """Take back what was given: the label of the rule comes back."""
    occurred_at: AwareDatetime | None = None
    """When the outcome was there to be read, with its offset."""

    @model_validator(mode="after")
    def _one_of(self) -> OutcomeIn:
        if sum(each is not None for each in (self.option, self.excluded, self.withdrawn)) != 1:
            raise ValueError("exactly one of option, excluded and withdrawn")
        return self


class OutcomesCall(BaseModel):
    """Body of `POST /v1/outcomes`."""

    model_config = ConfigDict(extra="forbid")

    outcomes: list[OutcomeIn] = Field(min_length=1)


_SCHEMA = OutcomesCall.model_json_schema(ref_template="#/components/schemas/{model}")


def router(services: Services) -> APIRouter:
    """The `/v1/outcomes` routes."""
    routes = APIRouter(prefix="/v1/outcomes", tags=["programs"])
    settings = services.settings

    @routes.post(
        "",
        summary="Record what came of stays",
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}},
    )
    async def record(request: Request) -> Response:
        context = services.context(request)
        check_content_type(request, JSON_TYPES)
        body = await read_body(request, settings.max_body_bytes)
        registry = await services.pipeline.model.registry()
        labels = label_context(settings, registry)

        def parse() -> list[Outcome[GivenOutcome]]:
            return [_given(each, registry, labels) for each in _rows(body, settings.max_outcomes_per_call)]

        read = await asyncio.to_thread(parse)
        good = [outcome.unwrap() for outcome in read if outcome.problem is None]
        changes: Iterator[GivenChange] = iter(())
        if good:
            done = await asyncio.shield(
                services.pipeline.write(record_given, labels.record_of(context.source), good, labels)
            )
            count_labels(done.labels, registry)
            changes = iter(done.changes)
        return json_response(
            {
                "results": [
                    {"status": next(changes)} if outcome.problem is None else {"error": problem_json(outcome.problem)}
                    for outcome in read
                ]
            }
        )

    @routes.get(
        "/coverage",
        summary="How many stays have a label, by task",
        openapi_extra={"parameters": [{"name": name, "in": "query", "required": False, "schema": {"type": "string"}}
                                      for name in ("discharged_from", "discharged_before")]},
    )  # fmt: skip
    async def covered(request: Request) -> Response:
        registry = await services.pipeline.model.registry()
        since, until = (_time_of(request.query_params, name) for name in ("discharged_from", "discharged_before"))
        found = await services.pipeline.read(coverage, label_context(settings, registry), since, until)
        return json_response(coverage_json(found, registry))

    return routes


def _rows(body: bytes, limit: int) -> list[Any]:
    value = parse_json_object(body)
    rows = value.get("outcomes")
    if value.keys() - {"outcomes"}:
        raise ServiceError(Problem(422, "structure", "the body has a member that is not known; known: outcomes"))
    if not isinstance(rows, list) or not rows:
        raise ServiceError(Problem(422, "required", "outcomes is missing or empty; send a list", expression="outcomes"))
    if len(rows) > limit:
        raise ServiceError(Problem(422, "too-long", f"a call takes {limit} outcomes, got {len(rows)}; split it"))
    return rows


def _given(row: object, registry: TaskRegistry, context: LabelContext) -> Outcome[GivenOutcome]:
    try:
        given = OutcomeIn.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return Outcome(problem=_shape_problem(first["type"], first["loc"]))
    task = registry.get(given.task)
    if task is None:
        return Outcome(problem=Problem(404, "not-found", f"unknown task; known: {', '.join(registry)}"))
    option = _option(given.option, task)
    if given.option is not None and option is None:
        codes = ", ".join(each.code for each in task.options)
        words = f"option is none of the task's; send one of {codes}, or its index from 0 to {len(task.options) - 1}"
        return Outcome(problem=Problem(422, "code-invalid", words, expression="option"))
    try:
        name = canonical_name(checked_name(given.encounter, "encounter"), context.base_url)
        subject = None if given.subject is None else canonical_name(checked_name(given.subject, "subject"), None)
        if given.occurred_at is not None:
            refuse_future(given.occurred_at, "occurred_at", datetime.now(UTC))
    except FhirInputError as error:
        return Outcome(problem=problem_of(error))
    if name is None:
        return Outcome(problem=Problem(422, "value", "encounter must be Encounter/<id> or system|value; correct it"))
    occurred_ms = None if given.occurred_at is None else to_ms(given.occurred_at)
    return Outcome(GivenOutcome(name, task.name, option, given.excluded, occurred_ms, subject))


def _option(option: int | str | None, task: Task) -> int | None:
    if isinstance(option, int):
        return option if option < len(task.options) else None
    return next((index for index, each in enumerate(task.options) if each.code == option), None)


def _shape_problem(kind: str, location: tuple[int | str, ...]) -> Problem:
    # A name that the model does not know is the caller's words and may be anything: it is not repeated.
    path = str(location[0]) if location and location[0] in OutcomeIn.model_fields else None
    if kind == "missing":
        return Problem(422, "required", f"{path} is required; send it", expression=path)
    if kind == "extra_forbidden":
        known = ", ".join(OutcomeIn.model_fields)
        return Problem(422, "structure", f"the outcome has a member that is not known; known: {known}")
    if path is None:
        return Problem(422, "value", "an outcome is an object with exactly one of option, excluded and withdrawn")
    return Problem(422, "value", f"{path}: {kind.replace('_', ' ')}; see the schema at /openapi.json", expression=path)


def _time_of(parameters: Mapping[str, str], name: str) -> int | None:
    value = parameters.get(name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ServiceError(
            Problem(422, "value", f"{name} must be a time with its offset, as 2026-01-31T00:00:00Z", expression=name)
        )
    return to_ms(moment)
