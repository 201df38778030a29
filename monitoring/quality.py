"""Does the model still rank, and how well are its probabilities kept? On mature cohorts alone.

AUROC is of the adverse probability against the adverse outcome, so that events and non-events can be counted, and the
same for binary and multi-class tasks. Intervals are clustered by patient: a patient's encounters are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from lang1.calibration import calibration_line, expected_calibration_error, perfect_ece_bound
from lang1.discrimination import delong_interval, soft_auroc

Floats = npt.NDArray[np.float64]

MIN_EVENTS = 100
"""Of events and of non-events: with fewer an AUROC's interval is wider than any change worth acting on."""
AUROC_MARGIN = 0.02
PERFECT_ECE_DRAWS = 300


class Status(StrEnum):
    """What can be said of a cohort."""

    PUBLISHED = "published"
    INSUFFICIENT = "insufficient"
    IMMATURE = "immature"


class AurocInterval(BaseModel):
    """AUROC with its 95% interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float


class Quality(BaseModel):
    """Realised quality of one task in one cohort (or a subgroup of it). Figures are None unless published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Status
    encounters: int
    events: int | None = None
    non_events: int | None = None
    auroc: AurocInterval | None = None
    baseline_auroc: float | None = None
    alarm: bool = False
    """The interval's upper bound is under the baseline less AUROC_MARGIN."""
    ece: float | None = None
    ece_perfect_99th: float | None = None
    """What a perfectly calibrated model of this size exceeds in 1% of samples: the only yardstick for an ECE."""
    calibration_intercept: float | None = None
    calibration_slope: float | None = None


def realised_quality(
    adverse: npt.ArrayLike,
    happened: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    encounters: int | None = None,
    baseline_auroc: float | None = None,
) -> Quality:
    """Quality of n labelled encounters of a mature cohort; "insufficient" under 100 events or 100 non-events.

    adverse (n,) predicted probabilities; happened (n,) bool; patients (n,) codes; `encounters` of the cohort, with
    those that have no label.
    """
    p, y = np.asarray(adverse, dtype=np.float64), np.asarray(happened, dtype=np.bool_)
    events, non_events = int(y.sum()), int((~y).sum())
    count = len(p) if encounters is None else encounters
    if min(events, non_events) < MIN_EVENTS:
        return Quality(
            status=Status.INSUFFICIENT,
            encounters=count,
            events=events,
            non_events=non_events,
            baseline_auroc=baseline_auroc,
        )
    interval = AurocInterval(**asdict(delong_interval(p, y, patients)))
    intercept, slope = calibration_line(p, y)
    return Quality(
        status=Status.PUBLISHED,
        encounters=count,
        events=events,
        non_events=non_events,
        auroc=interval,
        baseline_auroc=baseline_auroc,
        alarm=baseline_auroc is not None and interval.high < baseline_auroc - AUROC_MARGIN,
        ece=expected_calibration_error(p, y),
        ece_perfect_99th=perfect_ece_bound(p, draws=PERFECT_ECE_DRAWS),
        calibration_intercept=intercept,
        calibration_slope=slope,
    )


def quality_by_subgroup(
    adverse: npt.ArrayLike, happened: npt.ArrayLike, patients: npt.ArrayLike, subgroups: Mapping[str, npt.ArrayLike]
) -> dict[str, Quality]:
    """ "column=level" to the quality of its rows. subgroups: column name to (n,) levels. Reported, never alarmed on."""
    p, y, who = np.asarray(adverse), np.asarray(happened), np.asarray(patients)
    found = {}
    for name, column in subgroups.items():
        levels = np.asarray(column)
        for level in np.unique(levels).tolist():
            rows = levels == level
            found[f"{name}={level}"] = realised_quality(p[rows], y[rows], who[rows])
    return found


def estimated_auroc(adverse: npt.ArrayLike) -> float:
    """AUROC of probabilities (n,) if each were true: the label-free, confidence-based estimate. Advisory.

    It moves with the mix of patients and is blind to a change of what follows from a note (concept drift); only labels
    show that.
    """
    p = np.asarray(adverse, dtype=np.float64)
    return soft_auroc(p, p)
