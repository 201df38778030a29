"""What a synthetic hospital is made from: one frozen configuration, validated at the edge."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from training.synth.scenarios import Scenario

HospitalName = Literal["first", "second"]

SIMULATOR_VERSION = "0.1.3"
CONFIG_KEY = b"lang1.synth"
"""Key of the configuration in the metadata of notes.parquet, where a later knob is on: ceilings depend on it."""
LATER_KNOBS = ("scenarios", "warm_up_years", "true_calendar", "eras", "hospital", "prose", "held_out")
"""Knobs that came after bundles were trained. Off by default; the output is then what it was without them."""


class HeldOut(BaseModel):
    """A period whose stays are a split of their own. Names beside `temporal_...` are of no test set."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
    first_day: date
    last_day: date


class SynthConfig(BaseModel):
    """The knobs of the simulator. The output depends on these, on `SIMULATOR_VERSION` and on nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    patients: int = Field(ge=1, le=50_000_000)
    seed: int = Field(default=3407, ge=0, lt=2**63)
    mean_words: int = Field(default=380, ge=280, le=2000)
    """Mean words a note aims at. Statements of facts need about 270; the rest is text that tells nothing."""
    spread_words: float = Field(default=0.45, ge=0, le=1.5)
    """Standard deviation of the logarithm of the length aimed at."""
    max_words: int = Field(default=900, ge=300, le=20_000)
    contrast_rate: float = Field(default=0.6, ge=0, le=1)
    """Share of statements that also name a value that does not hold (formerly, per an old chart, in error)."""
    misspelling_rate: float = Field(default=0.04, ge=0, le=1)
    """Share of sentences in which two letters of one long word are swapped."""
    shuffle_rate: float = Field(default=0.3, ge=0, le=1)
    """Share of notes whose sections come in a random order, so that facts fall late."""
    first_year: int = Field(default=2013, ge=1990, le=2100)
    last_year: int = Field(default=2024, ge=1990, le=2100)
    temporal_years: tuple[int, ...] = (2024,)
    """Years held out as `temporal_<year>` splits, whoever the patient is."""
    chunk_patients: int = Field(default=2000, ge=1, le=1_000_000)
    """Patients drawn from one random stream. Part of the configuration because it is part of the output."""

    scenarios: tuple[Scenario, ...] = ()
    """What changes from some day on (`training.synth.scenarios`)."""

    warm_up_years: int = Field(default=0, ge=0, le=10)
    """Years simulated before `first_year` and left out. Without them the first years hold first stays alone, and the
    mix of patients goes on changing for about four years as some come back; a drill wants a hospital at rest."""
    true_calendar: bool = False
    """Patients grow older between stays, and the discharge summary of a stay within one day follows its H&P."""
    eras: bool = False
    """Class ratios go with the years as in the paper; without, they are those of 2024 throughout."""
    hospital: HospitalName = "first"
    """`second`: other patients, another house's notes, the same truth of how outcomes come about."""
    prose: Literal["short", "long"] = "short"
    """`long`: what lengthens notes is lists, reports, courses and paragraphs as in charts, not single sentences."""
    held_out: tuple[HeldOut, ...] = ()
    """Periods kept out of train, val and test beside `temporal_years`, by the day on which a stay ends."""

    @model_serializer(mode="wrap")
    def _without_later_knobs(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Checkpoints and caches are found by the configuration as it is written: what is off is not written.
        return {
            name: value
            for name, value in write(self).items()
            if name not in LATER_KNOBS or getattr(self, name) != type(self).model_fields[name].default
        }

    @property
    def is_plain(self) -> bool:
        """Whether this is the hospital of the first simulator, without any later knob."""
        return all(getattr(self, name) == type(self).model_fields[name].default for name in LATER_KNOBS)

    @model_validator(mode="after")
    def _check(self) -> SynthConfig:
        if self.last_year < self.first_year:
            raise ValueError(f"last_year {self.last_year} is before first_year {self.first_year}")
        if self.max_words < self.mean_words:
            raise ValueError(f"max_words {self.max_words} is below mean_words {self.mean_words}")
        for index, each in enumerate(self.scenarios):
            if not self.first_year <= each.first_day.year <= self.last_year:
                raise ValueError(
                    f"scenarios.{index}.first_day {each.first_day} is not in {self.first_year} to {self.last_year}"
                )
        return self
