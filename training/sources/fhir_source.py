"""How a FHIR export is read: the settings of `lang1 data build --fhir`."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from fhir_adapters.outcomes.mapping import OutcomeMapping
from lang1.label_rules import LabelPolicy
from training.sources.errors import MappingError
from training.sources.splits import Splits


class FhirSource(BaseModel):
    """How an export is read. `outcomes` is what the service's `outcome_mapping` file holds: one text for both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    observed_until: date
    """The last day that the export covers whole, also of encounters and claims: it decides who is censored."""
    timezone: str = "UTC"
    """Of the hospital: midnights, and dates without a time, are this zone's."""
    base_url: str | None = None
    """Of the EHR, where references are written out in full."""
    bad_rows: Literal["fail", "drop"] = "fail"
    outcomes: OutcomeMapping = OutcomeMapping()
    splits: Splits = Splits()

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("timezone must be an IANA name such as Europe/Paris") from None
        return name

    @property
    def end(self) -> datetime:
        """The midnight after the last day, on the hospital's clock."""
        return datetime.combine(self.observed_until + timedelta(days=1), time(0))

    def policy(self) -> LabelPolicy:
        return self.outcomes.rules.model_copy(update={"observed_until": self.end})


def load_fhir_source(path: Path) -> FhirSource:
    """The settings of a YAML file. Raises MappingError naming the file, the key and what is wrong with it."""
    try:
        return FhirSource.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise MappingError(f"{path}: cannot be read as YAML ({type(error).__name__}); send a UTF-8 YAML file") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise MappingError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
