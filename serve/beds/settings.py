"""Settings of the bed forecast."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

MAX_HORIZON_DAYS = 14


class BedSettings(BaseModel):
    """How beds are counted and forecast."""

    model_config = ConfigDict(frozen=True)

    beds_units_file: Path | None = Field(
        default=None,
        description="YAML file with the hospital's units: staffed beds, order on the page, and holidays. "
        "Unset: units as the encounters name them, without staffed beds.",
    )
    beds_horizon_days: int = Field(
        default=7, ge=1, le=MAX_HORIZON_DAYS, description="Days that a forecast covers when the caller names none."
    )
    beds_census_hour: int = Field(
        default=24,
        ge=1,
        le=24,
        description="Hour of the hospital's clock at which beds are counted and a forecast day ends; 24 is midnight.",
    )
    beds_history_days: int = Field(
        default=180, ge=14, le=1100, description="Days of past stays that the forecast is fitted on."
    )
    beds_refit_hours: float = Field(
        default=12.0, gt=0, le=168, description="Hours after which the forecast is fitted on the history again."
    )
    beds_longest_stay_days: int = Field(
        default=365,
        ge=30,
        le=3650,
        description="An encounter open for longer is taken for one that nobody closed: left out, with a warning.",
    )
    beds_stale_minutes: int = Field(
        default=60,
        ge=1,
        le=1440,
        description="Minutes without any encounter update after which the forecast warns that its data are stale.",
    )
    beds_refresh_s: int = Field(
        default=300, ge=15, le=86_400, description="Seconds between the reloads of the page `/beds`."
    )
