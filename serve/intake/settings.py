"""Settings of what the service fetches itself."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class IntakeSettings(BaseModel):
    """Notifications, polling and bulk export."""

    model_config = ConfigDict(frozen=True)

    notifications: bool = Field(
        default=False, description="Take Subscription notifications at `POST /fhir/$notification`; needs fhir_base_url."
    )
    poll_every_s: float | None = Field(
        default=None, ge=1, description="Seconds between searches for new notes at fhir_base_url. Unset: no polling."
    )

    @property
    def has_intake(self) -> bool:
        """Whether anything is fetched by the service itself."""
        return self.notifications or self.poll_every_s is not None
