"""`POST /v1/score` and `GET /v1/model`: plain JSON for programs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from fhir_adapters.json_body import parse_json_object
from lang1.errors import NoteError, UnknownTaskError
from lang1.notes import ClinicalNote, check_scorable, clean_text
from lang1.scores import ModelIdentity, RiskScore, RiskScores
from lang1.tasks import Task, TaskRegistry
from serve.errors import Problem, ServiceError
from serve.http.answers import json_response, problem_json
from serve.http.body import JSON_TYPES, at_once_or_in_thread, check_content_type, read_body
from serve.note_job import AnsweredNote, NoteJob
from serve.outcome import Outcome
from serve.services import Services
from serve.store.records import StoredPrediction, note_key, text_sha256


class NoteIn(BaseModel):
    """One note. `id` comes back with its answer; `note_type` is a LOINC code."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(min_length=1, max_length=256)
    text: str
    note_type: str | None = Field(default=None, max_length=32)


class ScoreCall(BaseModel):
    """Body of `POST /v1/score`. No `tasks` means all."""

    model_config = ConfigDict(extra="forbid", strict=True)

    notes: list[NoteIn] = Field(min_length=1)
    tasks: list[str] | None = Field(default=None, min_length=1)
    explain: bool = False
    """Also answer the passages of each note that moved each risk most. Scores every note up to 25 times more."""


def router(services: Services) -> APIRouter:
    """The `/v1` routes."""
    routes = APIRouter(prefix="/v1", tags=["programs"])
    settings = services.settings

    @routes.post(
        "/score",
        summary="Score up to 64 notes",
        openapi_extra={"requestBody": {"required": True, "content": {
            "application/json": {"schema": ScoreCall.model_json_schema(ref_template="#/components/schemas/{model}")}}}},
    )  # fmt: skip
    async def score(request: Request) -> Response:
        context = services.context(request)
        check_content_type(request, JSON_TYPES)
        body = await read_body(request, settings.max_body_bytes)
        registry = await services.pipeline.model.registry()

        def parse() -> tuple[ScoreCall, list[Outcome[NoteJob]]]:
            call = _parse(body, settings.max_notes_per_call)
            tasks = registry.select(call.tasks)
            return call, [
                _job(note, tasks, call.explain, settings.max_text_chars, context.source) for note in call.notes
            ]

        try:
            call, jobs = await at_once_or_in_thread(body, parse)
        except UnknownTaskError as error:
            raise ServiceError(Problem(404, "not-found", str(error))) from None
        answers = await services.pipeline.score(
            [outcome.unwrap() for outcome in jobs if outcome.problem is None], context
        )
        scored = iter(answers.notes)
        results = [
            _result(
                note.id,
                next(scored) if outcome.problem is None else Outcome(problem=outcome.problem),
                registry,
                answers.model,
            )
            for note, outcome in zip(call.notes, jobs, strict=True)
        ]
        return _answer(answers.model, results)

    @routes.get("/model", summary="Card, versions, thresholds and tasks of the loaded model")
    async def model(request: Request) -> Response:
        loaded = await services.pipeline.model.refresh()
        return json_response(
            {
                "model": _identity(loaded.identity),
                "base": loaded.base,
                "created": loaded.created,
                "demo": loaded.identity.demo,
                "max_note_tokens": loaded.max_note_tokens,
                "tasks": [_task(task, loaded.thresholds.get(task.name)) for task in loaded.tasks],
                "card": loaded.card,
            }
        )

    return routes


def _parse(body: bytes, max_notes: int) -> ScoreCall:
    value = parse_json_object(body)
    try:
        call = ScoreCall.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise ServiceError(_shape_problem(first["type"], first["loc"])) from None
    if len(call.notes) > max_notes:
        raise ServiceError(Problem(422, "too-long", f"a call takes {max_notes} notes, got {len(call.notes)}; split it"))
    return call


def _shape_problem(kind: str, location: tuple[int | str, ...]) -> Problem:
    # A name that the model does not know is the caller's words and may be anything: it is not repeated.
    known = {*ScoreCall.model_fields, *NoteIn.model_fields}
    path = ".".join(str(part) for part in location if isinstance(part, int) or part in known) or "the body"
    if kind == "missing":
        return Problem(422, "required", f"{path} is required; send it", expression=path)
    if kind == "extra_forbidden":
        return Problem(422, "structure", f"{path} has a member that is not known; known: {', '.join(sorted(known))}")
    return Problem(422, "value", f"{path}: {kind.replace('_', ' ')}; see the schema at /openapi.json", expression=path)


def _job(note: NoteIn, tasks: tuple[Task, ...], explain: bool, max_chars: int, source: str) -> Outcome[NoteJob]:
    if len(note.text) > max_chars:
        return Outcome(problem=Problem(422, "too-long", f"the text is over {max_chars} characters; send one note"))
    if any(0xD800 <= ord(character) <= 0xDFFF for character in note.id + (note.note_type or "")):
        return Outcome(problem=Problem(422, "value", "id and note_type must be valid Unicode; correct them"))
    text = clean_text(note.text)
    if not text:
        return Outcome(
            problem=Problem(422, "required", "the note is empty or white space; send the note's narrative text")
        )
    try:
        check_scorable(text)
    except NoteError as error:
        return Outcome(problem=Problem(422, error.code, str(error)))
    sha256 = text_sha256(note.text)
    # "v1": a FHIR document with the same id is another record. The type is part of the question, so of the key too.
    key = note_key(source, f"v1|{note.id}|{note.note_type or ''}", sha256)
    return Outcome(
        NoteJob(
            note=ClinicalNote(note_id="", text=text, note_type=note.note_type),
            note_key=key,
            text_sha256=sha256,
            tasks=tasks,
            payload=_payload,
            explain=explain,
        )
    )


def _payload(_id: str, risk: RiskScore, scores: RiskScores) -> dict[str, Any]:
    return {
        "probabilities": list(risk.probabilities),
        "note_type_match": risk.note_type_match,
        "risk_level": str(risk.risk_level),
        "dropped_tokens": scores.dropped_tokens,
    }


def _result(
    note_id: str, outcome: Outcome[AnsweredNote], registry: TaskRegistry, model: ModelIdentity
) -> dict[str, Any]:
    if outcome.problem is not None:
        return {"id": note_id, "error": problem_json(outcome.problem)}
    answer = outcome.unwrap()
    dropped = answer.predictions[0].payload["dropped_tokens"]
    # In a canary a call may meet both models.
    own = {} if answer.model == model else {"model": _identity(answer.model)}
    return own | {
        "id": note_id,
        "truncated": dropped > 0,
        "dropped_tokens": dropped,
        "risks": [_risk(each, registry[each.task]) | _explanation(answer, each.task) for each in answer.predictions],
    }


def _explanation(answer: AnsweredNote, task: str) -> dict[str, Any]:
    """Passages as characters [start, end) of the cleaned text, the words, and the effect on the adverse probability."""
    if answer.passages is None:
        return {}
    found = answer.passages.get(task, ())
    return {
        "explanation": [
            {"start": each.start, "end": each.end, "text": answer.text[each.start : each.end], "effect": each.effect}
            for each in found
        ]
    }


def _risk(stored: StoredPrediction, task: Task) -> dict[str, Any]:
    payload = stored.payload
    risk = {"task": stored.task, "probabilities": payload["probabilities"]}
    if task.positive_option is not None:
        risk["probability"] = payload["probabilities"][task.positive_option]
    return risk | {"note_type_match": payload["note_type_match"], "risk_level": payload["risk_level"]}


def _answer(model: ModelIdentity, results: list[dict[str, Any]]) -> Response:
    errors = [result["error"] for result in results if "error" in result]
    # A whole call that met the same overload is a failed call: clients back off on the status.
    if len(errors) == len(results) and errors[0]["status"] >= 500:
        first = errors[0]
        wait = 1 if first["code"] == "throttled" else 5 if first["status"] == 503 else None
        raise ServiceError(Problem(first["status"], first["code"], first["detail"], retry_after_s=wait))
    return json_response({"model": _identity(model), "results": results})


def _identity(identity: ModelIdentity) -> dict[str, Any]:
    return {"name": identity.name, "version": identity.version, "bundle_sha256": identity.bundle_sha256}


def _task(task: Task, thresholds: dict[str, float] | None) -> dict[str, Any]:
    return {
        "name": task.name,
        "version": task.version,
        "title": task.title,
        "description": task.description,
        "kind": task.kind,
        "options": [option.text for option in task.options],
        "note_types": list(task.note_types),
        "thresholds": thresholds,
    }
