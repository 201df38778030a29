"""Settings of outcomes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class OutcomeSettings(BaseModel):
    """How facts of the EHR become labels."""

    model_config = ConfigDict(frozen=True)

    hospital_timezone: str = Field(
        default="UTC",
        description="IANA name of the hospital's time zone, as `America/New_York`: its days are counted.",
    )
