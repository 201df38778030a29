"""Settings of the write-back."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class OutboxSettings(BaseModel):
    """Where scores go."""

    model_config = ConfigDict(frozen=True)

    sink: Literal["none", "risk-assessment", "observation", "document-report"] = Field(
        default="none", description="What scores are written back as. `none`: no write-back."
    )
    write_unmatched_types: bool = Field(
        default=False, description="Also write back a risk whose task was not trained on the note's type."
    )
