"""What a synthetic hospital is made from: one frozen configuration, validated at the edge."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

SIMULATOR_VERSION = "0.1.3"


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

    @model_validator(mode="after")
    def _check(self) -> SynthConfig:
        if self.last_year < self.first_year:
            raise ValueError(f"last_year {self.last_year} is before first_year {self.first_year}")
        if self.max_words < self.mean_words:
            raise ValueError(f"max_words {self.max_words} is below mean_words {self.mean_words}")
        return self
