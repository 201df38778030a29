"""Settings of the write-back."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class OutboxSettings(BaseModel):
    """Where scores go, and how they get there."""

    model_config = ConfigDict(frozen=True)

    sink: Literal["none", "risk-assessment", "observation", "document-report"] = Field(
        default="none", description="What scores are written back as, at `fhir_base_url`. `none`: no write-back."
    )
    write_unmatched_types: bool = Field(
        default=False, description="Also write back a risk whose task was not trained on the note's type."
    )
    write_mode: Literal["conditional-create", "update-as-create"] = Field(
        default="conditional-create",
        description="How a resource is made once: `POST` with `If-None-Exist`, or `PUT` of an id of ours where the "
        "server lets clients choose ids.",
    )
    write_concurrency: int = Field(default=4, ge=1, le=64, description="Resources that are written at once.")
    write_tries: int = Field(
        default=8, ge=1, le=100, description="Tries at a resource before it is a dead letter; outages do not count."
    )
    write_retry_base_s: float = Field(
        default=1.0,
        gt=0,
        le=3600,
        description="Longest wait before the second try; it doubles with each, and a random part of it is waited.",
    )
    write_retry_max_s: float = Field(default=300.0, gt=0, le=86_400, description="Longest wait between two tries.")
    write_probe_s: float = Field(
        default=5.0,
        gt=0,
        le=3600,
        description="Pause after several writes in a row failed, until one write is tried; it doubles up to 12 times "
        "this while the server stays away.",
    )
    write_lease_s: float = Field(
        default=60.0,
        ge=1,
        le=3600,
        description="Time after which another writer takes over what a lost one held; a living one renews it.",
    )

    @model_validator(mode="after")
    def _needs_a_server(self) -> OutboxSettings:
        # The server's setting stands in the class that this one is part of.
        if self.sink != "none" and not getattr(self, "fhir_base_url", None):
            raise ValueError(f"sink {self.sink} needs fhir_base_url, the server that is written to")
        return self
