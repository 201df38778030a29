"""The mapping file: which file and column of an export holds what. YAML, checked before anything is read."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lang1.charlson import IcdVersion
from lang1.label_rules import ClaimStatus, LabelPolicy
from lang1.tasks import Loinc
from training.sources.errors import MappingError
from training.sources.splits import Splits

Name = Annotated[str, Field(min_length=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Files(_Frozen):
    file: Name | tuple[Name, ...]
    """Beside the mapping file, or absolute; .csv, .csv.gz or .parquet. Several are read one after the other."""


class TimeColumn(_Frozen):
    """A column of times: ISO 8601, or of the strptime format `format`."""

    column: Name
    format: Name | None = None


class Flag(_Frozen):
    """A column and the values (case and outer spaces ignored) that mean yes."""

    column: Name
    values: Annotated[tuple[Name, ...], Field(min_length=1)]

    @field_validator("values", mode="before")
    @classmethod
    def _as_text(cls, values: Any) -> Any:
        return tuple(_plain(value) for value in values) if isinstance(values, list | tuple) else values


class NoteTypes(_Frozen):
    """The column of note types and the LOINC code of each value that is wanted; others are left out and counted."""

    column: Name
    values: Annotated[dict[Name, Loinc], Field(min_length=1)]


class Notes(_Files):
    note_id: Name
    encounter_id: Name
    patient_id: Name | None = None
    """When given, a note whose patient is not its encounter's is a bad record."""
    authored: TimeColumn
    note_type: NoteTypes
    text: Name | Annotated[tuple[Name, ...], Field(min_length=1)]
    """Several columns are joined in this order."""

    @field_validator("authored", mode="before")
    @classmethod
    def _column(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


class Stays(_Files):
    encounter_id: Name
    patient_id: Name
    admitted: TimeColumn
    discharged: TimeColumn
    disposition: Flag
    """The values that mean that the patient died."""
    inpatient: Flag | None = None
    """Without it every stay is taken for an inpatient stay."""
    left_out: Flag | None = None
    """Rehabilitation, dialysis and palliative services."""
    planned: Flag | None = None
    transferred_in: Flag | None = None
    newborn: Flag | None = None

    @field_validator("admitted", "discharged", mode="before")
    @classmethod
    def _column(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


class IcdColumn(_Frozen):
    """The ICD of every code: one `value`, or a `column` of 9, 10, ICD-9-CM, ICD-10-CM or the FHIR systems."""

    column: Name | None = None
    value: IcdVersion | None = None

    @model_validator(mode="after")
    def _check(self) -> IcdColumn:
        if (self.column is None) == (self.value is None):
            raise ValueError("give a column, or a value of 9 or 10 for all codes")
        return self


class Codes(_Files):
    encounter_id: Name
    code: Name
    icd_version: IcdColumn


class Statuses(_Frozen):
    """The column of claim statuses and what each of its values means."""

    column: Name
    values: Annotated[dict[Name, ClaimStatus], Field(min_length=1)]

    @field_validator("values", mode="before")
    @classmethod
    def _as_text(cls, values: Any) -> Any:
        return {_plain(key): value for key, value in values.items()} if isinstance(values, dict) else values


class Payers(_Files):
    encounter_id: Name
    claim_id: Name | None = None
    """Without it every record is a claim of its own."""
    status: Statuses
    decided: TimeColumn | None = None

    @field_validator("decided", mode="before")
    @classmethod
    def _column(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


class Answers(_Frozen):
    """A column of the encounters that holds a task's label, and the option code of each of its values."""

    column: Name
    values: Annotated[dict[Name, Name], Field(min_length=1)]

    @field_validator("values", mode="before")
    @classmethod
    def _as_text(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        # YAML reads a bare yes or no as a truth value, also where it is an option's code.
        return {_plain(key): _plain(value) for key, value in values.items()}


class Mapping(_Frozen):
    """A hospital's export: the files, what their columns mean, and how labels and splits are made."""

    observed_until: date
    """The last day that the export covers whole. Later outcomes are unknown, so this decides who is censored."""
    timezone: str = "UTC"
    """Of times without an offset; midnights are this zone's."""
    bad_rows: Literal["fail", "drop"] = "fail"
    notes: Notes
    encounters: Stays
    diagnoses: Codes | None = None
    claims: Payers | None = None
    labels: dict[str, Answers] = Field(default_factory=dict)
    rules: LabelPolicy = LabelPolicy()
    splits: Splits = Splits()

    @model_validator(mode="after")
    def _check(self) -> Mapping:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("timezone must be an IANA name such as Europe/Paris") from None
        if self.rules.observed_until is not None:
            raise ValueError("rules.observed_until is written at the top of the file, as observed_until")
        return self


def load_mapping(path: Path) -> Mapping:
    """The mapping of a YAML file. Raises MappingError naming the file, the key and what is wrong with it."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise MappingError(f"{path}: cannot be read as YAML ({type(error).__name__}); send a UTF-8 YAML file") from None
    try:
        return Mapping.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise MappingError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None


def fold(value: str) -> str:
    """A value as it is compared with those of the mapping: without outer spaces, in small letters."""
    return value.strip().casefold()


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int | float) else value
