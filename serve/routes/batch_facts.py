"""The entries of a batch that are no notes: facts of stays, each answered alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhir_adapters.batch import BatchEntry
from fhir_adapters.bundles import BatchAnswer
from fhir_adapters.errors import FhirInputError
from fhir_adapters.operation_outcome import issue, outcome_of_issues
from serve.auth.caller import Caller
from serve.document_reading import problem_of
from serve.errors import Problem, ServiceError
from serve.http.answers import problem_outcome
from serve.note_job import RequestContext
from serve.outcome import Outcome
from serve.outcomes.intake import Deletion, FactReceipt, take_in
from serve.services import Services

_CREATED = "201"
_OK = "200"


def is_fact(entry: BatchEntry) -> bool:
    """Whether an entry brings a fact, or takes one back."""
    return entry.resource is not None or entry.deleted is not None


def refusal(entry: BatchEntry, caller: Caller) -> Problem | None:
    """Why the caller may not do what an entry asks for; None where it may, or where the entry is wrong anyway."""
    if entry.error is not None or caller.allows(entry.type, entry.interaction):
        return None
    return Problem(
        403,
        "forbidden",
        f"the token has no scope for this entry; ask for system/{entry.type}.{entry.interaction}",
        expression=f"Bundle.entry[{entry.index}]",
    )


async def take_in_entries(
    services: Services, entries: Sequence[BatchEntry], context: RequestContext
) -> list[BatchAnswer]:
    """Answers of entries that are facts, in order. All good ones are recorded together, or none; never raises
    ServiceError: that is each entry's own answer.
    """
    if not entries:
        return []
    wanted: list[dict[str, Any] | Deletion] = [
        Deletion(entry.type, entry.deleted) if entry.deleted is not None else entry.resource or {} for entry in entries
    ]
    try:
        receipts = await take_in(services.pipeline, wanted, context.source, services.settings)
    except ServiceError as error:
        receipts = [Outcome(problem=error.problem)] * len(entries)
    return [_answer(entry, receipt) for entry, receipt in zip(entries, receipts, strict=True)]


def _answer(entry: BatchEntry, receipt: Outcome[FactReceipt]) -> BatchAnswer:
    if receipt.problem is not None:
        return BatchAnswer(
            status=str(receipt.problem.status),
            outcome=problem_outcome(inside(receipt.problem, f"Bundle.entry[{entry.index}].resource")),
        )
    taken = receipt.unwrap()
    words = list(taken.notes)
    if taken.change == "older":
        words.append("a newer version of this resource is kept already")
    issues = [issue("information", "informational", each) for each in words]
    return BatchAnswer(
        status=_CREATED if taken.change == "created" else _OK, outcome=outcome_of_issues(issues) if issues else None
    )


def inside(problem: Problem, prefix: str) -> Problem:
    """The problem of a resource as one of the Bundle that it came in."""
    if problem.status >= 500:
        return problem
    error = FhirInputError(problem.message, code=problem.code, status=problem.status, expression=problem.expression)
    return problem_of(error.at(prefix))
