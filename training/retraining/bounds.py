"""What a challenger must show: the gate's bounds, each with the reason for its default."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Bounds(BaseModel):
    """Bounds of the gate. All tests are one-sided at `confidence`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    auroc_margin: Annotated[float, Field(gt=0, lt=0.5)] = 0.02
    """The lower bound of the AUROC difference, challenger less champion, must be above minus this on every task."""
    confidence: Annotated[float, Field(ge=0.9, lt=1)] = 0.975
    min_events: Annotated[int, Field(ge=10)] = 1000
    """Adverse outcomes, and as many others, that a task needs. With fewer the gate holds."""
    resamples: Annotated[int, Field(ge=200)] = 2000
    """Of the bootstrap."""
    seed: Annotated[int, Field(ge=0)] = 3407
    intercept_tolerance: Annotated[float, Field(gt=0)] = round(math.log(1.25), 4)
    """Of calibration in the large, on the logit: a quarter more or less in the odds, as the monitor's test has it."""
    slope_low: Annotated[float, Field(gt=0)] = 0.8
    slope_high: Annotated[float, Field(gt=0)] = 1.25
    brier_margin: Annotated[float, Field(ge=0)] = 0.01
    """The Brier score fails when it exceeds the champion's by more than this share of it, beyond accident."""
    subgroup_min_events: Annotated[int, Field(ge=10)] = 100
    """Of events and of non-events, under which a subgroup is reported and not judged."""
    subgroup_max_drop: Annotated[float, Field(gt=0)] = 0.05
    """A subgroup fails when its AUROC fell by more than this, beyond accident (Bonferroni over subgroups)."""
    subgroup_min_auroc: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """A subgroup fails when its AUROC is, beyond accident, under this."""
    min_class_rows: Annotated[int, Field(ge=2)] = 30
    """Rows of a class of a multi-class task, under which it is left out of the mean of AUROCs, and named."""
    max_shared_notes: Annotated[int, Field(ge=0)] = 0
    """Holdout notes that the challenger may have been trained on."""

    @model_validator(mode="after")
    def _check(self) -> Bounds:
        if self.slope_low >= self.slope_high:
            raise ValueError("slope_low must be below slope_high")
        return self
