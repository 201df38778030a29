"""What the service answers when it cannot answer: a status, a FHIR issue code and a mend; never note text, never an
identifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from lang1.errors import Lang1Error


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as plain data, so that it crosses a process border without a traceback.

    `status` is the HTTP status, `code` a FHIR R4 IssueType code, `retry_after_s` seconds or None, `expression` a
    FHIRPath to the element at fault or None.
    """

    status: int
    code: str
    message: str
    retry_after_s: int | None = None
    expression: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class ServiceError(Exception):
    """Base of the service's own errors; carries a Problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class SettingsError(Lang1Error):
    """A setting is wrong: names it, what was got and the mend. Refuses the start."""

    code = "invalid"


class StoreUnavailableError(ServiceError):
    """The database is locked, full or away. No score is answered that could not be recorded."""

    retry_after_s: ClassVar[int] = 5

    def __init__(self, reason: str) -> None:
        """`reason` is the name of a driver error, never its text: that quotes the statement and its values."""
        super().__init__(
            Problem(
                503,
                "no-store",
                f"the record could not be written or read ({reason}), so no score is given; send it again later",
                retry_after_s=self.retry_after_s,
            )
        )


def throttled(queued_notes: int) -> Problem:
    """The bounded queue is full."""
    return Problem(503, "throttled", f"the queue is full ({queued_notes} notes); send it again later", retry_after_s=1)


def timed_out(deadline_s: float) -> Problem:
    """The deadline passed before there was an answer."""
    return Problem(504, "timeout", f"no answer within the deadline of {deadline_s:g} s; send it again")


def scorer_away() -> Problem:
    """No scorer replica is alive."""
    return Problem(
        503, "transient", "no scorer is running; it is being restarted; send it again later", retry_after_s=5
    )


def model_changed() -> Problem:
    """Another bundle was loaded between the scores and their explanation."""
    return Problem(503, "transient", "another model was loaded meanwhile; send it again", retry_after_s=1)


def out_of_memory() -> Problem:
    """The device has no room even for one note."""
    return Problem(503, "transient", "the scoring device is out of memory; send it again later", retry_after_s=5)


def unusable_result() -> Problem:
    """NaN logits: nothing is written."""
    return Problem(500, "exception", "the model gave no usable result; nothing was stored; tell the operator")


def internal() -> Problem:
    """An error nobody planned for; its text stays inside, because it may quote a note."""
    return Problem(
        500, "exception", "internal error; nothing was stored by this call; tell the operator the request id"
    )
