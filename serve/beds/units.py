"""The hospital's list of units: staffed beds in the order of the page, and days that count as Sundays.

units:
  Cardiology: 24
  Intensive care: {staffed_beds: 12}
holidays: [2026-12-25, 2027-01-01]
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from serve.errors import SettingsError

UnitName = Annotated[str, StringConstraints(min_length=1, max_length=80, strip_whitespace=True)]


class HospitalUnits(BaseModel):
    """Unit to staffed beds, in display order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    units: dict[UnitName, Annotated[int, Field(ge=0, le=5000)]] = Field(default_factory=dict)
    holidays: frozenset[date] = frozenset()

    @field_validator("units", mode="before")
    @classmethod
    def _beds_of_mappings(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {
            name: beds["staffed_beds"] if isinstance(beds, dict) and set(beds) == {"staffed_beds"} else beds
            for name, beds in value.items()
        }


def load_units(path: Path | None) -> HospitalUnits:
    """The units file, or no units for None. Raises SettingsError naming what is wrong."""
    if path is None:
        return HospitalUnits()
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"beds_units_file {path}: cannot be read as YAML ({type(error).__name__})") from None
    try:
        return HospitalUnits.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"beds_units_file {path}: {where or 'top level'}: {first['msg']}") from None
