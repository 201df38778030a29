"""Which notes a job holds out, trains on, validates with and tests on: by time, task by task, without texts.

   train ............ | recent: train, val, test | holdout | not mature yet ...... as of
Each task has its own windows, because denials are known half a year after the note and returns after five weeks.
No label of a task is learned from or after its holdout; no note that is held out for one task is read for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lang1.tasks import TaskRegistry
from monitoring.cohorts import DAY_S, date_of
from training.dataset import TEST, TRAIN, VALIDATION
from training.retraining.errors import TooLittleDataError
from training.retraining.holdout import Drawn, draw
from training.retraining.maturity import mature_labels
from training.retraining.source import Floats, Ints, Labels, NoteRows
from training.retraining.spec import HoldoutPlan, TrainingPlan

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Windows:
    """Of one task, seconds since 1970 UTC: the holdout is [start_s, end_s)."""

    start_s: float
    end_s: float

    @property
    def days(self) -> tuple[str, str]:
        """First and last day."""
        return date_of(self.start_s), date_of(self.end_s - 1)


@dataclass(frozen=True, slots=True)
class Periods:
    """What is held out, and (n,) rows of a source to learn from with their split and, for each task, labels (n,)."""

    windows: Mapping[str, Windows]
    held_out: Drawn
    rows: Ints
    split: npt.NDArray[np.str_]
    labels: Mapping[str, Labels]
    seen: Flags
    """(of held_out.rows): the patient has notes among those to learn from."""
    waiting: Mapping[str, int]
    """Task to notes whose labels are not mature."""


def find_windows(
    rows: NoteRows, registry: TaskRegistry, as_of_s: float, days: int, not_before_s: Mapping[str, float]
) -> tuple[dict[str, Windows], dict[str, Flags], dict[str, int]]:
    """Each task's holdout window, which notes have a mature label (N,), and how many wait for one.

    not_before_s: where a task's window begins at the earliest: the champion was trained on what is older.
    Raises TooLittleDataError.
    """
    windows, usable, waiting = {}, {}, {}
    for name, task in registry.items():
        found = mature_labels(task, rows, as_of_s)
        if found.until_s is None:
            raise TooLittleDataError(
                f"{name}: no week of labels is mature as of {date_of(as_of_s)}; wait, or look at the outcome feed"
            )
        start_s = max(found.until_s - days * DAY_S, not_before_s.get(name, -np.inf))
        if start_s >= found.until_s:
            raise TooLittleDataError(
                f"{name}: mature labels end {date_of(found.until_s - 1)}, and the champion was trained on notes up to "
                f"{date_of(start_s - 1)}; wait for later ones"
            )
        windows[name] = Windows(start_s, found.until_s)
        usable[name], waiting[name] = found.usable, found.waiting
    return windows, usable, waiting


def draw_holdout(
    rows: NoteRows,
    registry: TaskRegistry,
    windows: Mapping[str, Windows],
    usable: Mapping[str, Flags],
    plan: HoldoutPlan,
) -> Drawn:
    """The notes that are held out."""
    inside = {
        name: usable[name] & (rows.authored_s >= each.start_s) & (rows.authored_s < each.end_s)
        for name, each in windows.items()
    }
    return draw(inside, rows.labels, rows.drawn, registry, max_events=plan.max_events,
                controls_per_case=plan.controls_per_case)  # fmt: skip


def plan_periods(
    rows: NoteRows,
    registry: TaskRegistry,
    as_of_s: float,
    holdout: HoldoutPlan,
    training: TrainingPlan,
    not_before_s: Mapping[str, float],
) -> Periods:
    """All of a job's notes. Raises TooLittleDataError when validation or test would have too few events of a task."""
    windows, usable, waiting = find_windows(rows, registry, as_of_s, holdout.days, not_before_s)
    held_out = draw_holdout(rows, registry, windows, usable, holdout)
    free = ~_barred(rows, held_out.rows, forbid_patients=holdout.patients == "forbid")
    eligible, recent = {}, {}
    for name, each in windows.items():
        here = usable[name] & free & (rows.authored_s < each.start_s)
        if training.days is not None:
            here &= rows.authored_s >= each.start_s - training.days * DAY_S
        eligible[name] = here
        recent[name] = here & (rows.authored_s >= each.start_s - training.recent_days * DAY_S)
    split = _splits(rows, windows, training)
    labels: dict[str, Labels] = {}
    for name in registry:
        kept = np.where(split == TRAIN, eligible[name], recent[name])
        labels[name] = np.where(kept, rows.labels[name], -1).astype(np.int8)
    any_label = np.logical_or.reduce([each >= 0 for each in labels.values()])
    limits = {TRAIN: training.max_notes, VALIDATION: training.max_validation_notes, TEST: training.max_validation_notes}
    chosen = np.sort(
        np.concatenate([_limited(np.flatnonzero(any_label & (split == name)), rows.drawn, limit)
                        for name, limit in limits.items()])
    )  # fmt: skip
    found = {name: each[chosen] for name, each in labels.items()}
    _check_counts(registry, split[chosen], found, training.min_events)
    seen = np.isin(rows.patient[held_out.rows], rows.patient[chosen])
    return Periods(windows, held_out, chosen, split[chosen], found, seen, waiting)


def _barred(rows: NoteRows, held_out: Ints, *, forbid_patients: bool) -> Flags:
    """Notes that are not learned from: of a held-out stay, and of a held-out patient from the first such note on."""
    first_s = np.full(int(rows.patient.max(initial=-1)) + 1, np.inf)
    np.minimum.at(first_s, rows.patient[held_out], rows.authored_s[held_out])
    first_of = first_s[rows.patient]
    barred = np.isfinite(first_of) if forbid_patients else rows.authored_s >= first_of
    barred |= np.isin(rows.encounter, rows.encounter[held_out])
    return np.asarray(barred)


def _splits(rows: NoteRows, windows: Mapping[str, Windows], plan: TrainingPlan) -> npt.NDArray[np.str_]:
    """A split for each stay (N,): recent ones are shared out by a number of the stay's own, older ones train."""
    since_s = min(each.start_s for each in windows.values()) - plan.recent_days * DAY_S
    latest_s = np.full(int(rows.encounter.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(latest_s, rows.encounter, rows.authored_s)
    recent = latest_s[rows.encounter] >= since_s
    # Other digits of the stay's number than those that order the holdout.
    share = np.modf(rows.drawn * 2**20)[0]
    split = np.full(len(rows), TRAIN, dtype="<U8")
    split[recent & (share < plan.validation_share + plan.test_share)] = TEST
    split[recent & (share < plan.validation_share)] = VALIDATION
    return split


def _limited(rows: Ints, drawn: Floats, limit: int | None) -> Ints:
    """At most `limit` of the rows, whole stays in the order of their numbers."""
    if limit is None or len(rows) <= limit:
        return rows
    share = np.modf(drawn[rows] * 2**24)[0]
    return rows[np.argsort(share, kind="stable")[:limit]]


def _check_counts(
    registry: TaskRegistry, split: npt.NDArray[np.str_], labels: Mapping[str, Labels], min_events: int
) -> None:
    for part in (TRAIN, VALIDATION, TEST):
        for name, task in registry.items():
            here = labels[name][(split == part) & (labels[name] >= 0)]
            events = int(np.isin(here, task.adverse_options).sum())
            if min(events, len(here) - events) < min_events:
                raise TooLittleDataError(
                    f"{name}: {events} events and {len(here) - events} others in {part}, {min_events} of each are "
                    "needed; wait for more mature labels, or give more days"
                )
