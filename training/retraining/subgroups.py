"""The rows of one task, and how two models compare in each part of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from lang1.paired_auroc import paired_macro_auroc, weighted_auroc
from lang1.tasks import Task
from training.retraining.bounds import Bounds

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Verdict(StrEnum):
    """Hold: too little data to say. It is never a pass."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Rows:
    """n rows of one task. labels (n,) option indices; weights (n,) to the population; patients (n,) ids; seen (n,):
    whether the patient is in the challenger's training data; parts: subgroup column to (n,) levels."""

    labels: npt.NDArray[np.int8]
    weights: Floats
    patients: npt.NDArray[Any]
    seen: Flags
    parts: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


class Subgroup(BaseModel):
    """AUROC of the adverse probability in a part of the rows; None where there are too few events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    events: int
    non_events: int
    champion: float | None = None
    challenger: float | None = None
    difference: float | None = None
    upper: float | None = None
    """Of the difference, Bonferroni-corrected."""
    verdict: Verdict | None = None


def judge_subgroups(
    challenger: Floats, champion: Floats, happened: Flags, rows: Rows, bounds: Bounds
) -> tuple[Subgroup, ...]:
    """Every level of every part, judged where it has events enough. challenger, champion, happened (n,): the adverse
    probabilities and outcome."""
    cells = [
        (f"{name}={level}", levels == level)
        for name, levels in rows.parts.items()
        for level in np.unique(levels).tolist()
    ]
    counts = [(int(happened[here].sum()), int((~happened[here]).sum())) for _, here in cells]
    judged = sum(min(each) >= bounds.subgroup_min_events for each in counts)
    # Among many subgroups one is low by accident: all of them together are allowed what one test is.
    confidence = 1 - (1 - bounds.confidence) / max(1, judged)
    return tuple(
        _judged(name, challenger[here], champion[here], happened[here], rows.weights[here], rows.patients[here],
                confidence, bounds)
        if min(count) >= bounds.subgroup_min_events
        else Subgroup(name=name, events=count[0], non_events=count[1])
        for (name, here), count in zip(cells, counts, strict=True)
    )  # fmt: skip


def _judged(
    name: str, challenger: Floats, champion: Floats, happened: Flags, weights: Floats, patients: npt.NDArray[Any],
    confidence: float, bounds: Bounds,
) -> Subgroup:  # fmt: skip
    one, other = (np.stack([1 - each, each], axis=1) for each in (challenger, champion))
    pair = paired_macro_auroc(one, other, happened.astype(np.int8), classes=(1,), groups=patients, weights=weights)
    value, error = weighted_auroc(challenger, happened, groups=patients, weights=weights)
    upper = pair.upper(confidence)
    fell = pair.difference < -bounds.subgroup_max_drop and upper < 0
    low = value + NormalDist().inv_cdf(confidence) * error < bounds.subgroup_min_auroc
    return Subgroup(
        name=name, events=int(happened.sum()), non_events=int((~happened).sum()), champion=pair.other,
        challenger=pair.one, difference=pair.difference, upper=upper,
        verdict=Verdict.FAIL if fell or low else Verdict.PASS,
    )  # fmt: skip


def subgroup_reason(task: Task, found: Subgroup, bounds: Bounds) -> str:
    """In words, for one that failed."""
    return (
        f"{task.name}, {found.name}: AUROC {found.challenger:.3f} against the champion's {found.champion:.3f} on "
        f"{found.events:,} events; a subgroup may fall by {bounds.subgroup_max_drop:g} and not under "
        f"{bounds.subgroup_min_auroc:g}"
    )
