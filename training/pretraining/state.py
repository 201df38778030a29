"""Where a run is: all of it but the weights and the moments."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from training.pretraining.mixing import Skips

Natural = Annotated[int, Field(ge=0)]


class RunState(BaseModel):
    """The state after `step` optimizer steps. The learning rate is a function of `step`."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    step: Natural = 0
    next_sample: Natural = 0
    """The first sample of the next batch; see `mixing`."""
    tokens: Natural = 0
    """Tokens that gradients were taken on, those of skipped steps left out."""
    losses: list[float] = []
    """The spike detector's window."""
    best_validation: float | None = None
    validations_without_gain: Natural = 0


class Rollbacks(BaseModel):
    """What a run has gone back on: kept beside the checkpoints, because it outlives each of them."""

    model_config = ConfigDict(extra="forbid")

    skipped: list[tuple[int, int]] = []
    """Ranges [first, end) of samples."""

    @property
    def skips(self) -> Skips:
        return Skips(tuple(self.skipped))
