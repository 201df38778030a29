"""Conformance resources generated from the registry: the operation, the extensions, and the code systems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fhir_adapters import canonical
from fhir_adapters.parameters import EXPLAIN, INCLUDE_PRELIMINARY, INCLUDE_SUPERSEDED, PARAMETERS
from fhir_adapters.risk_assessment import outcome_code
from lang1.tasks import Task

_PARAMETER_TYPES: Final = {"resource": "DocumentReference", "valueCode": "code", "valueBoolean": "boolean"}
_PARAMETER_TEXT: Final = {
    "document": "The note: text, HTML, RTF, C-CDA or PDF with a text layer, as attachment data or url.",
    "task": "A task to score; repeats. Absent means all of them.",
    INCLUDE_SUPERSEDED: "Also score a document whose status is superseded.",
    INCLUDE_PRELIMINARY: "Also score a document whose docStatus is preliminary.",
    EXPLAIN: "Also quote, in the rationale of each main prediction, the passages of the note that moved it most, with "
    "their effects in percentage points. Scores the note up to 25 times more; nothing of it is recorded.",
}
# URL of each extension: (value type, title, what it says).
_EXTENSIONS: Final = {
    canonical.NOTE_TYPE_MATCH_EXTENSION: (
        "boolean",
        "Note type match",
        "Whether the task was trained on notes of this type. When false the probability is unproven for this note.",
    ),
    canonical.TRUNCATED_EXTENSION: ("boolean", "Note truncated", "Whether the end of the note was not read."),
    canonical.DROPPED_TOKENS_EXTENSION: (
        "integer",
        "Dropped tokens",
        "How many of the model's tokens were cut from the end of the note; 0 when it was read whole.",
    ),
    canonical.PRELIMINARY_NOTE_EXTENSION: (
        "boolean",
        "Preliminary note",
        "Whether the note was preliminary (unsigned) when it was scored.",
    ),
}


def conformance_resources(registry: Mapping[str, Task], *, version: str, date: str) -> list[dict[str, Any]]:
    """Every generated definition: operation, extensions, task and outcome code systems; `date` is a FHIR dateTime."""
    return [
        operation_definition(version=version, date=date),
        *structure_definitions(version=version, date=date),
        code_system(registry, version=version, date=date),
        outcome_code_system(registry, version=version, date=date),
    ]


def operation_definition(*, version: str, date: str) -> dict[str, Any]:
    """The R4 OperationDefinition of `DocumentReference/$score`, its parameters from `parameters.PARAMETERS`."""
    inputs = [
        {
            "name": name,
            "use": "in",
            "min": 1 if element == "resource" else 0,
            "max": "*" if repeats else "1",
            "documentation": _PARAMETER_TEXT[name],
            "type": _PARAMETER_TYPES[element],
        }
        for name, (element, repeats) in PARAMETERS.items()
    ]
    output = {
        "name": "return",
        "use": "out",
        "min": 1,
        "max": "1",
        "documentation": "A collection of RiskAssessments, one a task.",
        "type": "Bundle",
    }
    return {
        "resourceType": "OperationDefinition",
        "id": "DocumentReference-score",
        "url": canonical.SCORE_OPERATION,
        "version": version,
        "name": "Score",
        "title": "Score a clinical note",
        "status": "active",
        "kind": "operation",
        "date": date,
        "description": "Scores one clinical note and answers one RiskAssessment a task.",
        # The scores are recorded: asking again gives the stored answer, but the first call writes.
        "affectsState": True,
        "code": "score",
        "resource": ["DocumentReference"],
        "system": False,
        "type": True,
        "instance": False,
        "parameter": [*inputs, output],
    }


def structure_definitions(*, version: str, date: str) -> list[dict[str, Any]]:
    """The R4 StructureDefinitions of the extensions that a RiskAssessment carries."""
    return [_extension(url, *facts, version=version, date=date) for url, facts in _EXTENSIONS.items()]


def code_system(registry: Mapping[str, Task], *, version: str, date: str) -> dict[str, Any]:
    """The CodeSystem of tasks: a task's name is its code."""
    concepts = [
        {"code": task.name, "display": task.title, "definition": task.description} for task in registry.values()
    ]
    return _code_system(canonical.TASK_SYSTEM, "Lang1Task", "Lang1 tasks", concepts, [], version, date)


def outcome_code_system(registry: Mapping[str, Task], *, version: str, date: str) -> dict[str, Any]:
    """The CodeSystem of outcomes: every option of every task, with its task, its place and whether it is adverse."""
    concepts = [
        {
            "code": outcome_code(task, option),
            "display": option.display,
            "property": [
                {"code": "task", "valueCode": task.name},
                {"code": "order", "valueInteger": index},
                {"code": "adverse", "valueBoolean": index in task.adverse_options},
            ],
        }
        for task in registry.values()
        for index, option in enumerate(task.options)
    ]
    properties = [
        {"code": "task", "type": "code", "description": "The task that has this outcome as an option."},
        {"code": "order", "type": "integer", "description": "Its place among the task's options, from 0."},
        {"code": "adverse", "type": "boolean", "description": "Whether it counts as the risk."},
    ]
    return _code_system(canonical.OUTCOME_SYSTEM, "Lang1Outcome", "Lang1 outcomes", concepts, properties, version, date)


def _code_system(
    url: str, name: str, title: str, concepts: list[Any], properties: list[Any], version: str, date: str
) -> dict[str, Any]:
    system = {
        "resourceType": "CodeSystem",
        "id": url.rsplit("/", 1)[1],
        "url": url,
        "version": version,
        "name": name,
        "title": title,
        "status": "active",
        "date": date,
        "caseSensitive": True,
        "content": "complete",
        "count": len(concepts),
    }
    return {**system, **({"property": properties} if properties else {}), "concept": concepts}


def _extension(url: str, value_type: str, title: str, says: str, *, version: str, date: str) -> dict[str, Any]:
    elements: list[dict[str, Any]] = [
        {"id": "Extension", "path": "Extension", "short": title, "definition": says, "min": 0, "max": "1"},
        {"id": "Extension.extension", "path": "Extension.extension", "max": "0"},
        {"id": "Extension.url", "path": "Extension.url", "fixedUri": url},
        {"id": "Extension.value[x]", "path": "Extension.value[x]", "min": 1, "type": [{"code": value_type}]},
    ]
    return {
        "resourceType": "StructureDefinition",
        "id": url.rsplit("/", 1)[1],
        "url": url,
        "version": version,
        "name": title.title().replace(" ", ""),
        "title": title,
        "status": "active",
        "date": date,
        "description": says,
        "fhirVersion": canonical.FHIR_VERSION,
        "kind": "complex-type",
        "abstract": False,
        "context": [{"type": "element", "expression": "RiskAssessment"}],
        "type": "Extension",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Extension",
        "derivation": "constraint",
        "differential": {"element": elements},
    }
