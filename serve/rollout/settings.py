"""Settings of the registry and of rollouts."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class RolloutSettings(BaseModel):
    """Where the models come from, and what sends a challenger back."""

    model_config = ConfigDict(frozen=True)

    registry: Path | None = Field(
        default=None,
        description="Folder of the model registry (`lang1 registry init`), on a local disk or NFS. Set: its champion "
        "is served, `bundle` is ignored, and rollouts are possible. The service needs the right to write to it.",
    )
    rollout_follow_s: float = Field(
        default=2.0, ge=0.1, le=60, description="Seconds between two looks at the registry's channels."
    )
    challenger_replicas: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Processes for the challenger; they hold no model while there is none. Unset: as many as scorers.",
    )
    challenger_timeout_s: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="Seconds that a challenger may take for an answer; then the champion answers, in what is left of "
        "the deadline. Never more than half of what is left.",
    )
    shadow_share: float = Field(
        default=100.0,
        gt=0,
        le=100,
        description="Percent of newly scored notes that the other model scores too, after the answer, while a rollout "
        "is under way.",
    )
    shadow_max_queued: int = Field(
        default=256, ge=1, le=100_000, description="Notes that may wait for it in one process; more are dropped."
    )
    guard_every_s: float = Field(
        default=10.0, ge=0.2, le=600, description="Seconds between two looks of the guard, which ends bad rollouts."
    )
    guard_false_alarm: float = Field(
        default=0.01,
        gt=0,
        le=0.5,
        description="Chance that the guard ends a rollout whose challenger is within all bounds, over its whole life.",
    )
    guard_score_shift: float = Field(
        default=0.5,
        gt=0,
        le=3,
        description="Mean difference of the two models' logits, on the same notes and beyond what the gate expected, "
        "from which a task counts as shifted (0.5: odds times 1.65).",
    )
    guard_min_pairs: int = Field(
        default=50, ge=10, le=100_000, description="Encounters scored by both models before a shift can end a rollout."
    )
    guard_failures: float = Field(
        default=0.01, gt=0, lt=1, description="Share of a challenger's notes that may fail, before the guard ends it."
    )
    guard_slow_s: float = Field(
        default=2.0, gt=0, le=300, description="Seconds from which a canary's answer counts as slow."
    )
    guard_slow: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="Share of a canary's notes that may be slow, while the champion's are not.",
    )
    guard_away_s: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="Seconds without any answer of the challenger after which the guard ends the rollout.",
    )

    @property
    def resolved_registry(self) -> Path | None:
        return None if self.registry is None else self.registry.expanduser().absolute()
