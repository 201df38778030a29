"""Settings of outcomes."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator


class OutcomeSettings(BaseModel):
    """How facts of the EHR become labels."""

    model_config = ConfigDict(frozen=True)

    hospital_timezone: str = Field(
        default="UTC",
        description="IANA name of the hospital's time zone, as `America/New_York`: its days are counted.",
    )
    outcome_mapping_file: Path | None = Field(
        default=None,
        description="YAML file with what the hospital's codes mean (classes, dispositions, services, payers' words) "
        "and the `rules` of its labels. Unset: HL7, NUBC and SNOMED CT codes, and the rules' defaults.",
    )
    outcome_feed_lag_hours: float = Field(
        default=24.0,
        ge=0,
        le=720,
        description="The feed of encounters is taken to be complete until this long before the newest stay it told of; "
        "nobody is called not readmitted before that.",
    )
    max_outcomes_per_call: int = Field(
        default=1000, ge=1, le=100_000, description="Most outcomes in one `POST /v1/outcomes`."
    )
    record_of_source: dict[str, str] = Field(
        default_factory=dict,
        description='Sending systems that use another one\'s ids, as a JSON object: `{"registrar": "ehr"}`. Facts and '
        "scores meet only within one system's ids.",
    )

    @field_validator("outcome_mapping_file")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None:
            from fhir_adapters.outcomes.mapping import MappingFileError, load_outcome_mapping

            try:
                load_outcome_mapping(value)
            except MappingFileError as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("hospital_timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("hospital_timezone is not an IANA name such as Europe/Paris") from None
        return value
