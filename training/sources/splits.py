"""Which split a note's label belongs to: periods by the day that the stay ends, and shares by stay or patient.

A stay has one period, so its admission note of December and its discharge summary of January go together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lang1.label_rules import Rows, Times

TEMPORAL = "temporal_"
SHARED = ("train", "val", "test")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Period(_Frozen):
    """Days, both included. An open end is None."""

    first_day: date | None = None
    last_day: date | None = None

    @model_validator(mode="after")
    def _check(self) -> Period:
        if self.first_day and self.last_day and self.last_day < self.first_day:
            raise ValueError("last_day is before first_day")
        return self

    def holds(self, days: Times) -> NDArray[np.bool_]:
        """(n,): which of these days are in the period."""
        inside = ~np.isnat(days)
        if self.first_day:
            inside &= days >= np.datetime64(self.first_day)
        if self.last_day:
            inside &= days <= np.datetime64(self.last_day)
        return inside


class SplitPlan(_Frozen):
    """`temporal` sets by name (`temporal_2024`), then `shares` of what is left of `period` to train, val and test."""

    period: Period = Period()
    """Of train, val and test together. Days outside it and of no temporal set are left out."""
    temporal: dict[Annotated[str, Field(pattern=r"^temporal_[a-z0-9_]{1,40}$")], Period] = Field(default_factory=dict)
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)

    @model_validator(mode="after")
    def _check(self) -> SplitPlan:
        if any(share < 0 for share in self.shares) or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError("shares are of train, val and test and add up to 1")
        if any(period.first_day is None for period in self.temporal.values()):
            raise ValueError("a temporal period needs a first_day")
        return self


class Splits(_Frozen):
    """How notes are split. `tasks` gives a task a plan of its own (the paper's denial periods)."""

    plan: SplitPlan = SplitPlan()
    tasks: dict[str, SplitPlan] = Field(default_factory=dict)
    temporal_years: tuple[Annotated[int, Field(ge=1900, le=2999)], ...] = ()
    """Short for `plan.temporal`: each year is a set `temporal_<year>`."""
    unit: Literal["stay", "patient"] = "stay"
    """What goes whole to train, val or test. The paper draws notes; by patient nobody is in two of them."""
    seed: int = 3407

    def of(self, task: str) -> SplitPlan:
        """The task's own plan, or the one of all tasks with its temporal years spelled out."""
        if task in self.tasks:
            return self.tasks[task]
        years = {
            f"{TEMPORAL}{year}": Period(first_day=date(year, 1, 1), last_day=date(year, 12, 31))
            for year in self.temporal_years
        }
        return self.plan.model_copy(update={"temporal": {**years, **self.plan.temporal}})


def unit_shares(units: Sequence[str], seed: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each unit, the same in every run and for every plan: shares of plans nest."""
    known: dict[str, float] = {}
    drawn = np.empty(len(units))
    for row, unit in enumerate(units):
        if unit not in known:
            digest = hashlib.blake2b(f"{seed}:{unit}".encode(), digest_size=8).digest()
            known[unit] = int.from_bytes(digest, "big") / 2**64
        drawn[row] = known[unit]
    return drawn


def split_names(plan: SplitPlan, days: Times, drawn: NDArray[np.float64]) -> NDArray[np.str_]:
    """The split (n,) of stays that end on `days`, "" for none. A temporal set goes before the shares."""
    bounds = np.cumsum(plan.shares)[:2]
    names = np.array(SHARED, dtype="<U48")[np.searchsorted(bounds, drawn, side="right")]
    names[~plan.period.holds(days)] = ""
    for name, period in plan.temporal.items():
        names[period.holds(days)] = name
    return names


def held_out_rank(names: NDArray[np.str_]) -> Rows:
    """How far a split (n,) is from training: 0 none, 1 train, 2 val, 3 test, 4 a temporal set."""
    rank = np.zeros(len(names), dtype=np.int64)
    for place, name in enumerate(SHARED):
        rank[names == name] = place + 1
    rank[np.char.startswith(names, TEMPORAL)] = len(SHARED) + 1
    return rank


def settle(by_task: Mapping[str, NDArray[np.str_]]) -> tuple[NDArray[np.int64], dict[str, NDArray[np.bool_]]]:
    """What a note may be used for, from every task's split of it (n,).

    Returns the note's rank (n,), the highest of all tasks, and for each task whether its own split is of that rank: a
    note of one task's test period never carries another task's training label.
    """
    ranks = {task: held_out_rank(names) for task, names in by_task.items()}
    highest = np.max(np.stack(list(ranks.values())), axis=0)
    return highest, {task: (rank == highest) & (rank > 0) for task, rank in ranks.items()}
