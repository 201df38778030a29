"""Settings of the monitor."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class MonitorSettings(BaseModel):
    """How often and against what the monitor judges."""

    model_config = ConfigDict(frozen=True)

    monitor_every_s: float | None = Field(
        default=3600.0,
        ge=1,
        description="Seconds between two runs of the monitor, which also makes the labels that time alone makes "
        "(30 days without a return). Unset: no monitor; its alert then fires.",
    )
    monitor_reference_weeks: int = Field(
        default=8,
        ge=2,
        le=52,
        description="First weeks of a model's own scores that serve as reference where its bundle carries no profile.",
    )
    monitor_history_days: int = Field(
        default=400,
        ge=250,
        le=3650,
        description="Days of scores that a run reads; older ones are judged and done.",
    )
