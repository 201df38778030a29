"""What an answer says while scores are recorded and cannot be written back yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fhir_adapters.operation_outcome import operation_outcome
from serve.errors import ServiceError
from serve.outbox.letters import is_delayed


async def write_back_notice(
    read: Callable[..., Awaitable[Any]], sink: str, predictions: Sequence[str]
) -> dict[str, Any] | None:
    """An informational OperationOutcome for an answer with these predictions; None where nothing is delayed.

    `read` is `Pipeline.read`. Never raises: an answer that stands does not fail for a remark.
    """
    if sink == "none" or not predictions:
        return None
    try:
        delayed = await read(is_delayed, tuple(predictions))
    except ServiceError:
        return None
    if not delayed:
        return None
    return operation_outcome(
        "information",
        "informational",
        "the scores are recorded and queued; writing them to the EHR is delayed and goes on by itself",
    )
