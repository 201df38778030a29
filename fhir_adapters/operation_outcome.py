"""OperationOutcome (R4): how every FHIR route says what went wrong."""

from __future__ import annotations

from typing import Any, Literal

from fhir_adapters.errors import FhirInputError
from lang1.errors import Lang1Error

Severity = Literal["fatal", "error", "warning", "information"]


def operation_outcome(severity: Severity, code: str, diagnostics: str, expression: str | None = None) -> dict[str, Any]:
    """An OperationOutcome with one issue. `code` is an R4 IssueType, `expression` a FHIRPath into what was sent."""
    return outcome_of_issues([issue(severity, code, diagnostics, expression)])


def issue(severity: Severity, code: str, diagnostics: str, expression: str | None = None) -> dict[str, Any]:
    """One OperationOutcome.issue."""
    one: dict[str, Any] = {"severity": severity, "code": code, "diagnostics": diagnostics}
    if expression is not None:
        one["expression"] = [expression]
    return one


def outcome_of_issues(issues: list[dict[str, Any]]) -> dict[str, Any]:
    """An OperationOutcome of ready issues (at least one)."""
    return {"resourceType": "OperationOutcome", "issue": issues}


def outcome_from_error(error: Lang1Error) -> dict[str, Any]:
    """The OperationOutcome of any error of this project, whose messages hold no content (`lang1.errors`)."""
    expression = error.expression if isinstance(error, FhirInputError) else None
    return operation_outcome("error", error.code, str(error), expression)
