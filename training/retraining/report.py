"""How a job ended, and the lines it leaves in the registry's log."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lang1.bundle import Sha256
from lang1.registry import Registry

JOB = "job"
"""Key of a log line's evidence."""


class Outcome(StrEnum):
    """How a job ended. Held: too little data to judge. Refused: nothing that was tried passed the gate."""

    SHADOW = "shadow"
    """A challenger passed and scores in the champion's shadow."""
    REGISTERED = "registered"
    """A challenger passed; the registry did not take it into shadow, or was not asked to."""
    REFUSED = "refused"
    HELD = "held"


class Tried(BaseModel):
    """One remedy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    bundle: Sha256
    sufficient: bool
    shortfalls: tuple[str, ...]
    mean_auroc: float
    """Over tasks, on the recent test notes."""
    gate: Literal["pass", "fail", "hold"] | None
    """None: not judged, because it did not suffice and a larger remedy did."""
    reasons: tuple[str, ...] = ()


class JobReport(BaseModel):
    """The end of a job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str
    as_of: str
    outcome: Outcome
    reasons: tuple[str, ...]
    champion: Sha256
    challenger: Sha256 | None = None
    tried: tuple[Tried, ...] = ()


def note_once(
    registry: Registry, action: str, job: str, *, actor: str, reason: str, bundle: str | None,
    evidence: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """A line of the registry's log, unless this job wrote it before a crash."""
    for entry in registry.log():
        if entry.action == action and entry.bundle == bundle and entry.evidence.get(JOB) == job:
            return
    registry.note(action, actor=actor, reason=reason[:2000], bundle=bundle, evidence={JOB: job, **(evidence or {})})
