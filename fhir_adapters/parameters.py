"""The input of `$score`: a DocumentReference, or Parameters holding one and options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from fhir_adapters.document_reference import NotePolicy, ParsedDocument, parse_document_reference
from fhir_adapters.errors import FhirInputError
from fhir_adapters.r4 import check_resource_type
from lang1.tasks import Task, TaskRegistry

DOCUMENT: Final = "document"
TASK: Final = "task"
INCLUDE_SUPERSEDED: Final = "includeSuperseded"
INCLUDE_PRELIMINARY: Final = "includePreliminary"
EXPLAIN: Final = "explain"
# Name of each parameter: (the value element it needs, or "resource"; whether it repeats).
PARAMETERS: Final[dict[str, tuple[str, bool]]] = {
    DOCUMENT: ("resource", False),
    TASK: ("valueCode", True),
    INCLUDE_SUPERSEDED: ("valueBoolean", False),
    INCLUDE_PRELIMINARY: ("valueBoolean", False),
    EXPLAIN: ("valueBoolean", False),
}


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One document and what is asked about it. `tasks` is in registry order; the includes are None where not given."""

    document: ParsedDocument
    tasks: tuple[Task, ...]
    include_superseded: bool | None = None
    include_preliminary: bool | None = None
    explain: bool = False

    def policy(self, default: NotePolicy) -> NotePolicy:
        """The service's policy with what this request asked for. Security labels are not the caller's to waive."""
        asked = default
        if self.include_superseded is not None:
            asked = replace(asked, include_superseded=self.include_superseded)
        if self.include_preliminary is not None:
            asked = replace(asked, include_preliminary=self.include_preliminary)
        return asked


def parse_score_request(body: dict[str, Any], registry: TaskRegistry) -> ScoreRequest:
    """A DocumentReference (all tasks, no options) or Parameters.

    Raises FhirInputError: what `parse_document_reference` raises; 422 invalid for an unknown parameter, one given twice
    or with the wrong value type; 422 required without a document; 404 not-found for an unknown task.
    """
    check_resource_type(body, "DocumentReference", "Parameters")
    if body["resourceType"] == "DocumentReference":
        return ScoreRequest(parse_document_reference(body), registry.select(None))
    given = _values(body)
    documents = given[DOCUMENT]
    if not documents:
        raise FhirInputError(
            "Parameters has no parameter named document; send the DocumentReference in it",
            code="required",
            expression="Parameters.parameter",
        )
    return ScoreRequest(
        document=parse_document_reference(documents[0]),
        tasks=_tasks(given[TASK], registry),
        include_superseded=_one(given[INCLUDE_SUPERSEDED]),
        include_preliminary=_one(given[INCLUDE_PRELIMINARY]),
        explain=bool(_one(given[EXPLAIN])),
    )


def _values(body: dict[str, Any]) -> dict[str, list[Any]]:
    entries = body.get("parameter", [])
    if not isinstance(entries, list) or not set(body) <= {"resourceType", "id", "meta", "parameter"}:
        raise _invalid("Parameters", "is not Parameters with a list named parameter")
    given: dict[str, list[Any]] = {name: [] for name in PARAMETERS}
    for index, entry in enumerate(entries):
        where = f"Parameters.parameter[{index}]"
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name not in PARAMETERS:
            raise _invalid(where, f"has a name that $score does not take (it takes {', '.join(PARAMETERS)})")
        element, repeats = PARAMETERS[name]
        if set(entry) != {"name", element}:
            raise _invalid(where, f"is {name} and needs {element} and nothing else")
        value = entry[element]
        wanted = {"resource": dict, "valueCode": str, "valueBoolean": bool}[element]
        if not isinstance(value, wanted):
            raise _invalid(where, f"is {name} and its {element} is of another JSON type")
        if given[name] and not repeats:
            raise _invalid(where, f"gives {name} a second time")
        given[name].append(value)
    return given


def _tasks(names: list[str], registry: TaskRegistry) -> tuple[Task, ...]:
    for name in names:
        if name not in registry:
            raise FhirInputError(
                f"a task parameter names no task of this service; known: {', '.join(registry)}",
                code="not-found",
                expression="Parameters.parameter.where(name='task')",
            )
    return registry.select(names or None)


def _one(values: list[Any]) -> bool | None:
    return values[0] if values else None


def _invalid(where: str, complaint: str) -> FhirInputError:
    return FhirInputError(f"{where} {complaint}; correct it", code="invalid", expression=where)
