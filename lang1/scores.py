"""From option logits to calibrated risks: the only place where a logit becomes a probability.

Probability of an option = softmax over the logits of the option letters alone (paper, Appendix H), after the task's
calibrator has moved them. Training and serving both call `scores_from_logits`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lang1.errors import ScoringError
from lang1.tasks import Task

Finite = Annotated[float, Field(allow_inf_nan=False)]


class RiskLevel(StrEnum):
    """Where the adverse probability stands against the task's operating thresholds."""

    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Calibrator(_Frozen):
    """Vector scaling of option logits: z'_k = scale * z_k + offset_k. Identity by default; K offsets or none.

    For a binary task this is Platt scaling of the logit difference; with no offsets it is temperature scaling.
    """

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    offsets: tuple[Finite, ...] = ()

    def apply(self, logits: Sequence[float]) -> list[float]:
        offsets = self.offsets or (0.0,) * len(logits)
        return [self.scale * z + offset for z, offset in zip(logits, offsets, strict=True)]


class OperatingThresholds(_Frozen):
    """Adverse probabilities from which a risk is called moderate or high; chosen on validation data by capacity."""

    moderate: Annotated[float, Field(ge=0, le=1)]
    high: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _check(self) -> OperatingThresholds:
        if self.moderate > self.high:
            raise ValueError(f"moderate {self.moderate} must not be above high {self.high}")
        return self

    def level(self, adverse_probability: float) -> RiskLevel:
        if adverse_probability >= self.high:
            return RiskLevel.HIGH
        return RiskLevel.MODERATE if adverse_probability >= self.moderate else RiskLevel.LOW


@dataclass(frozen=True, slots=True)
class RiskScore:
    """One task's answer for one note. `probabilities` has one entry an option, in option order, and sums to 1."""

    task: str
    probabilities: tuple[float, ...]
    adverse_probability: float
    """Sum over the task's adverse options: the probability of the positive option for a binary task."""
    risk_level: RiskLevel
    note_type_match: bool
    """False when the task was not trained on this note's type: the number is shown, and marked."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model answered. `demo` marks every answer as a test (HTEST)."""

    name: str
    version: str
    bundle_sha256: str
    demo: bool


@dataclass(frozen=True, slots=True)
class RiskScores:
    """All risks of one note, in registry order, and how much of the note was read."""

    risks: tuple[RiskScore, ...]
    model: ModelIdentity
    note_tokens: int
    """Tokens of the note that the model read."""
    dropped_tokens: int
    """Tokens cut from the end of the note; 0 when it was read whole."""

    @property
    def truncated(self) -> bool:
        return self.dropped_tokens > 0


def softmax(logits: Sequence[float]) -> tuple[float, ...]:
    """Softmax in double precision. Raises ScoringError for logits that are not finite."""
    if not all(math.isfinite(z) for z in logits):
        raise ScoringError("the model gave logits that are not finite; nothing was stored; check the bundle and device")
    top = max(logits)
    weights = [math.exp(z - top) for z in logits]
    total = math.fsum(weights)
    return tuple(w / total for w in weights)


def score_from_logits(
    task: Task,
    logits: Sequence[float],
    note_type: str | None,
    calibrator: Calibrator,
    thresholds: OperatingThresholds,
) -> RiskScore:
    """One task's score from its K option logits. Raises ScoringError for NaN or infinite logits."""
    probabilities = softmax(calibrator.apply(logits))
    adverse = min(1.0, math.fsum(probabilities[i] for i in task.adverse_options))
    return RiskScore(
        task=task.name,
        probabilities=probabilities,
        adverse_probability=adverse,
        risk_level=thresholds.level(adverse),
        note_type_match=task.trained_on(note_type),
    )


def scores_from_logits(
    tasks: Sequence[Task],
    logits: Mapping[str, Sequence[float]],
    note_type: str | None,
    calibrators: Mapping[str, Calibrator],
    thresholds: Mapping[str, OperatingThresholds],
) -> tuple[RiskScore, ...]:
    """Every task's score, in the given order. A task without a calibrator is left as the model gave it."""
    identity = Calibrator()
    return tuple(
        score_from_logits(
            task, logits[task.name], note_type, calibrators.get(task.name, identity), thresholds[task.name]
        )
        for task in tasks
    )
