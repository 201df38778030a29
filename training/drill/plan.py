"""What a drill plays: the hospital, its days, how much is scored, and when what changes."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lang1.errors import Lang1Error
from training.synth.config import SynthConfig
from training.synth.scenarios import NoteTemplate, PayerPolicy
from training.synth.timeline import with_stays_a_day


class DrillError(Lang1Error):
    """The drill cannot go on; the message says where it stood."""

    code = "exception"


class DrillPlan(BaseModel):
    """A drill. Days are those of the synthetic hospital; the clock of the machine is not looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 20_260
    first_day: date = date(2023, 1, 2)
    template_day: date = date(2024, 7, 1)
    """A new note template, from then on."""
    policy_day: date = date(2025, 1, 6)
    """Payers judge by new rules, from then on."""
    last_day: date = date(2026, 6, 28)
    stays_a_day: float = Field(default=800, gt=0)
    """Of the whole health system. Case-control holdouts draw from all of them: deaths are rare."""
    watched_a_day: float = Field(default=30, gt=0)
    """Stays a day of the patients whose notes are all scored: what two CPU cores can do for years in minutes."""
    live_share: float = Field(default=0.05, gt=0, le=1)
    """Of the watched stays, the share whose notes go through the service over HTTP."""
    rollout_share: float = Field(default=0.25, gt=0, le=1)
    """The same while a rollout is under way."""
    template_size: float = Field(default=0.3, gt=0, le=1)
    """Share of the notes that use the new template."""
    policy_size: float = Field(default=0.5, gt=0, le=1)
    stage_weeks: int = Field(default=1, ge=1)
    """Weeks that shadow and each canary step last."""
    wait_weeks: int = Field(default=16, ge=0)
    """Between an alarm and the job that it asks for: labels of the changed time must be mature to learn from and to
    judge on."""
    cool_down_weeks: int = Field(default=8, ge=1)
    """Between a job that ended without a challenger and the next."""
    most_jobs: int = Field(default=2, ge=1)
    """Jobs without a challenger, after which the drill gives up."""

    @model_validator(mode="after")
    def _check(self) -> DrillPlan:
        if not self.first_day < self.template_day < self.policy_day < self.last_day:
            raise ValueError("first_day, template_day, policy_day and last_day must follow one another")
        return self

    def hospital(self) -> SynthConfig:
        """The synthetic hospital of this plan, with as many patients as give the stays a day."""
        config = SynthConfig(
            patients=1,
            seed=self.seed,
            mean_words=280,
            contrast_rate=0.35,
            first_year=self.first_day.year,
            last_year=self.last_day.year,
            warm_up_years=4,
            temporal_years=(),
            scenarios=(
                NoteTemplate(first_day=self.template_day, size=self.template_size, late=()),
                PayerPolicy(first_day=self.policy_day, size=self.policy_size),
            ),
        )
        return with_stays_a_day(config, self.stays_a_day)

    def mondays(self) -> list[date]:
        """Of every whole week that is played."""
        first = self.first_day + timedelta(days=-self.first_day.weekday() % 7)
        weeks = (self.last_day - first).days // 7
        return [first + timedelta(weeks=week) for week in range(weeks)]


def load_plan(path: Path | None) -> DrillPlan:
    """The plan of a YAML file, or the shipped one. Raises DrillError naming the key."""
    if path is None:
        return DrillPlan()
    try:
        return DrillPlan.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DrillError(f"{path.name}: cannot be read as YAML ({type(error).__name__})") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DrillError(f"{path.name}: {'.'.join(map(str, first['loc'])) or 'plan'}: {first['msg']}") from None
