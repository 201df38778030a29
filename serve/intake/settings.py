"""Settings of what the service fetches itself."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, field_validator

from fhir_adapters.outcomes.facts import FACT_TYPES

NOTE_RESOURCE: Final = "DocumentReference"
_OURS: Final = frozenset({"_lastUpdated", "_sort", "_count", "_format"})


class IntakeSettings(BaseModel):
    """Notifications, polling and what becomes of a resource that cannot be had."""

    model_config = ConfigDict(frozen=True)

    notifications: bool = Field(
        default=False, description="Take Subscription notifications at `POST /fhir/$notification`; needs fhir_base_url."
    )
    subscription_topics: tuple[str, ...] = Field(
        default=(),
        description="Topics (canonical URLs) and subscriptions (references) whose notifications are taken, as a JSON "
        "list. Unset: any that an authorised sender names.",
    )
    gap_wait_s: float = Field(
        default=10,
        ge=0,
        le=3600,
        description="Seconds that a missing event of a subscription may still arrive by itself; then what changed "
        "since the last good event is searched for.",
    )
    poll_every_s: float | None = Field(
        default=None, ge=1, description="Seconds between searches for new notes at fhir_base_url. Unset: no polling."
    )
    poll_types: tuple[str, ...] = Field(
        default=(NOTE_RESOURCE,),
        description=f"Resource types to search for, as a JSON list: {NOTE_RESOURCE}, {', '.join(FACT_TYPES)}.",
    )
    poll_search: str = Field(
        default="",
        description=f"Further search parameters for {NOTE_RESOURCE}, as in a URL: "
        "`category=clinical-note&status=current`.",
    )
    poll_since: str | None = Field(
        default=None,
        pattern=r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2}))?$",
        description="FHIR date or instant from which the first search reads. Unset: from the first start. Later starts "
        "go on where the search ended.",
    )
    poll_overlap_s: float = Field(
        default=120,
        ge=0,
        le=86_400,
        description="Seconds that a search reads again: resources may turn up later than their `_lastUpdated` says.",
    )
    retract_deleted: bool = Field(
        default=True, description="Mark the scores of a note that was deleted at fhir_base_url as entered in error."
    )
    intake_source: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Name of fhir_base_url as a source of notes, part of the idempotency key. Where the same system "
        "also posts notes, the name that it has there. Unset: the value of `source`.",
    )
    intake_concurrency: int = Field(
        default=8, ge=1, le=256, description="Resources that are fetched and scored at once by the service itself."
    )
    intake_retry_s: float = Field(
        default=5,
        gt=0,
        le=3600,
        description="Seconds before a resource that could not be had is tried again; three times as long after each "
        "try, an hour at most, eight tries. A FHIR server that is down costs no try.",
    )
    intake_keep_days: int = Field(
        default=30, ge=1, le=3650, description="Days that is kept what was taken in, by reference, to know it again."
    )

    @property
    def has_intake(self) -> bool:
        """Whether anything is fetched by the service itself."""
        return self.notifications or self.poll_every_s is not None

    @property
    def poll_parameters(self) -> tuple[tuple[str, str], ...]:
        """`poll_search` as names and values."""
        return tuple(parse_qsl(self.poll_search, keep_blank_values=True))

    @field_validator("poll_types")
    @classmethod
    def _known_types(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = (NOTE_RESOURCE, *FACT_TYPES)
        if not value or not set(value) <= set(known) or len(set(value)) != len(value):
            raise ValueError(f"poll_types takes each of {', '.join(known)} at most once")
        return value

    @field_validator("poll_search")
    @classmethod
    def _search_parameters(cls, value: str) -> str:
        try:
            pairs = parse_qsl(value, keep_blank_values=True, strict_parsing=bool(value))
        except ValueError:
            raise ValueError("poll_search is not name=value&name=value; write it as in a URL") from None
        if taken := sorted({name for name, _ in pairs} & _OURS):
            raise ValueError(f"poll_search gives {', '.join(taken)}, which polling sets itself; leave it out")
        return value
