"""The monitor's clock: from recorded history and a saved state to the next state.

`advance` does what fell due between the state's clock and `now`: weekly windows of drift, cohorts of labels for the
calibration test, calendar months of realised quality. It only looks at what was known at the moment that it judges,
so a replay of years, a nightly run and a run that was stopped half-way give the same state. The state is JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from lang1.discrimination import soft_auroc
from monitoring.calibration_eprocess import ALARM_E_VALUE, CalibrationState, Direction, feed
from monitoring.cohorts import (
    WEEK_S,
    Maturity,
    calibration_cohort_s,
    date_of,
    day_start_s,
    label_coverage,
    maturity,
    month_bounds_s,
    month_of,
    week_start_s,
)
from monitoring.drift import (
    MIN_WINDOW_NOTES,
    DriftState,
    Reading,
    judge,
    note_readings,
    score_readings,
)
from monitoring.errors import MonitorInputError
from monitoring.history import History, TaskHistory
from monitoring.quality import MIN_EVENTS, Quality, Status, estimated_auroc, quality_by_subgroup, realised_quality
from monitoring.reference import (
    ReferenceProfile,
    ScoreSample,
    build_reference,
)

MAX_WINDOW_WEEKS = 8
"""Notes of so many weeks are gathered for a window of 500; older ones are left out."""
NOTES_STREAM = "notes"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Alarm(_Frozen):
    """One alarm, at the moment it begins."""

    time_s: float
    week: str
    kind: Literal["drift", "calibration", "quality"]
    signal: str
    detail: str


class Week(_Frozen):
    """One week's window: readings of the streams that had enough notes, and the label-free estimates (advisory)."""

    week: str
    notes: int
    readings: tuple[Reading, ...] = ()
    estimated_auroc: dict[str, float] = Field(default_factory=dict)


class Point(_Frozen):
    """log10 of the e-value of a calibration stream at the end of what was fed in a week."""

    week: str
    log10_e: float
    labels: int


class CalibrationStream(_Frozen):
    """The calibration test of one task, exposure and direction, and its course by weeks."""

    state: CalibrationState
    points: tuple[Point, ...] = ()


class MonthQuality(_Frozen):
    """Realised quality of a month's predictions, once mature."""

    task: str
    exposure: str
    month: str
    published_s: float
    open_outcomes: int
    """Not final when it was read: at most 1%, or the rest of a claims cohort at its limit."""
    quality: Quality
    subgroups: dict[str, Quality] = Field(default_factory=dict)


class MonitorState(_Frozen):
    """All that the monitor remembers. `clock_s`: everything due until then is done."""

    format_version: Literal[1] = 1
    model_version: str
    began_s: float
    clock_s: float
    reference_until_s: float | None = None
    """End of the weeks that served as reference, where no profile was given: their AUROC is then the baseline."""
    baselines: dict[str, float] = Field(default_factory=dict)
    drift: DriftState = DriftState()
    window_from_s: dict[str, float] = Field(default_factory=dict)
    weeks: tuple[Week, ...] = ()
    calibration: dict[str, CalibrationStream] = Field(default_factory=dict)
    calibrated_until_s: dict[str, float] = Field(default_factory=dict)
    """By task: predictions before this time have been given to the calibration test."""
    quality: tuple[MonthQuality, ...] = ()
    alarms: tuple[Alarm, ...] = ()


def exposure_name(shown: bool) -> str:
    """Outcomes are kept apart by whether the score was shown: one that was acted on changes what it predicts."""
    return "shown" if shown else "not shown"


def begin(history: History, profile: ReferenceProfile, *, reference_until_s: float | None = None) -> MonitorState:
    """The state before anything is judged. Raises MonitorInputError when profile and history are of two versions."""
    if profile.model_version != history.model_version:
        raise MonitorInputError(
            "the reference profile is of another model version than the predictions; give that version's profile"
        )
    start_s = week_start_s(history.start_s) if reference_until_s is None else reference_until_s
    return MonitorState(
        model_version=history.model_version, began_s=start_s, clock_s=start_s, reference_until_s=reference_until_s
    )


def reference_of_first_weeks(history: History, weeks: int) -> tuple[ReferenceProfile, float]:
    """Profile of the first weeks, and the time at which they end. Raises MonitorInputError for too few notes."""
    end_s = week_start_s(history.start_s) + weeks * WEEK_S
    scores = {
        name: (each.task, ScoreSample(each.probabilities[each.between(0, end_s)]))
        for name, each in history.tasks.items()
    }
    profile = build_reference(
        scores, history.notes_between(0, end_s), model_version=history.model_version, source=f"first {weeks} weeks"
    )
    return profile, end_s


def advance(state: MonitorState, history: History, profile: ReferenceProfile, now_s: float) -> MonitorState:
    """The state at `now_s`, from any earlier state of the same history. Times are seconds since 1970."""
    if now_s < state.clock_s:
        raise MonitorInputError("the state is of a later time than the one asked for; give a later time")
    before = len(state.alarms)
    after = _advance_drift(state, history, profile, now_s)
    baselines = _baselines(state, history, profile)
    for name, each in history.tasks.items():
        after = _advance_calibration(after, each, now_s)
        after = _advance_quality(after, each, now_s, *baselines.get(name, (None, math.inf)))
    published = sorted(
        after.quality[len(state.quality) :], key=lambda entry: (entry.published_s, entry.task, entry.exposure)
    )
    begun = sorted(after.alarms[before:], key=lambda alarm: (alarm.time_s, alarm.kind, alarm.signal))
    return after.model_copy(
        update={
            "clock_s": now_s,
            "alarms": (*state.alarms, *begun),
            "quality": (*state.quality, *published),
            "baselines": {name: value for name, (value, ripe_s) in baselines.items() if ripe_s <= now_s},
        }
    )


def _advance_drift(state: MonitorState, history: History, profile: ReferenceProfile, now_s: float) -> MonitorState:
    drift, from_s = state.drift, dict(state.window_from_s)
    weeks: list[Week] = []
    alarms: list[Alarm] = []
    end_s = week_start_s(state.clock_s) + WEEK_S
    while end_s <= now_s:
        week = date_of(end_s - WEEK_S)
        readings, estimates = _window(history, profile, from_s, end_s)
        judged, drift, begun = judge(readings, drift)
        if notes := len(history.notes_between(end_s - WEEK_S, end_s)):
            weeks.append(Week(week=week, notes=notes, readings=judged, estimated_auroc=estimates))
        for reading in judged:
            if reading.signal in begun:
                detail = f"effect {reading.effect:.3f}, bound {reading.min_effect:g}, two windows running"
                alarms.append(Alarm(time_s=end_s, week=week, kind="drift", signal=reading.signal, detail=detail))
        end_s += WEEK_S
    return state.model_copy(
        update={
            "drift": drift,
            "window_from_s": from_s,
            "weeks": (*state.weeks, *weeks),
            "alarms": (*state.alarms, *alarms),
        }
    )


def _window(
    history: History, profile: ReferenceProfile, from_s: dict[str, float], end_s: float
) -> tuple[list[Reading], dict[str, float]]:
    """Readings and label-free estimates of the streams with 500 notes by `end_s`; moves `from_s` on."""
    readings: list[Reading] = []
    estimates: dict[str, float] = {}
    oldest_s = end_s - MAX_WINDOW_WEEKS * WEEK_S

    def start_s(stream: str) -> float:
        return max(from_s.get(stream, end_s - WEEK_S), oldest_s)

    notes = history.notes_between(start_s(NOTES_STREAM), end_s)
    enough = {NOTES_STREAM: len(notes) >= MIN_WINDOW_NOTES}
    if enough[NOTES_STREAM]:
        readings += note_readings(notes, profile.notes)
    for name, each in history.tasks.items():
        if name in profile.tasks:
            rows = each.between(start_s(name), end_s)
            enough[name] = rows.stop - rows.start >= MIN_WINDOW_NOTES
            if enough[name]:
                readings += score_readings(each.task, each.probabilities[rows], profile.tasks[name])
                estimates[name] = estimated_auroc(each.adverse[rows])
    from_s.update({stream: end_s if here else start_s(stream) for stream, here in enough.items()})
    return readings, estimates


def calibration_key(task: str, exposure: str, direction: Direction) -> str:
    """Name of a calibration stream."""
    return f"{task}/{exposure}/{direction}"


def _due_cohorts(each: TaskHistory, from_s: float, now_s: float) -> Iterator[tuple[slice, float, float]]:
    """(rows, end, release) of the calibration cohorts that are due, in order of prediction, until one that is not.

    In that order, and not as they mature: which cohort matures first depends on its outcomes.
    """
    length_s = calibration_cohort_s(each.task)
    released_s = -math.inf
    while from_s + length_s <= now_s:
        end_s = from_s + length_s
        rows = each.between(from_s, end_s)
        released_s = max(released_s, _maturity(each, rows, end_s).released_s)
        if released_s > now_s:
            return
        yield rows, end_s, released_s
        from_s = end_s


def _maturity(each: TaskHistory, rows: slice, end_s: float) -> Maturity:
    members = each.labelable[rows]
    return maturity(each.task, end_s, each.discharged_s[rows][members], each.known_s[rows][members])


def _advance_calibration(state: MonitorState, each: TaskHistory, now_s: float) -> MonitorState:
    name = each.task.name
    until_s = state.calibrated_until_s.get(name, day_start_s(state.began_s))
    streams: dict[str, CalibrationStream] = {}
    alarms: list[Alarm] = []
    for rows, end_s, released_s in _due_cohorts(each, until_s, now_s):
        until_s, week = end_s, date_of(week_start_s(released_s))
        # What comes in after a cohort is read stays out: a later run must not see other labels.
        missing = each.known_s[rows] > released_s
        asked = each.labelable[rows] & ((each.label[rows] >= 0) | missing)
        for shown, direction in product((False, True), Direction):
            chosen = asked & (each.shown[rows] == shown)
            if not chosen.any():
                continue
            key = calibration_key(name, exposure_name(shown), direction)
            stream = streams.get(key) or state.calibration.get(key)
            before = stream.state if stream else CalibrationState(direction=direction)
            after = feed(before, each.adverse[rows][chosen], each.happened[rows][chosen], missing[chosen])
            points = tuple(point for point in (stream.points if stream else ()) if point.week != week)
            point = Point(week=week, log10_e=after.log10_e, labels=after.labels)
            streams[key] = CalibrationStream(state=after, points=(*points, point))
            if after.alarmed and not before.alarmed:
                detail = f"e-value over {ALARM_E_VALUE:,.0f} at label {after.alarm_at_label}: risks are {direction}"
                alarms.append(Alarm(time_s=released_s, week=week, kind="calibration", signal=key, detail=detail))
    return state.model_copy(
        update={
            "calibration": {**state.calibration, **streams},
            "calibrated_until_s": {**state.calibrated_until_s, name: until_s},
            "alarms": (*state.alarms, *alarms),
        }
    )


def _baselines(state: MonitorState, history: History, profile: ReferenceProfile) -> dict[str, tuple[float, float]]:
    """Task to (baseline AUROC, since when it is known): the profile's, or that of the reference weeks once mature."""
    found = {name: (each.adverse_auroc, 0.0) for name, each in profile.tasks.items() if each.adverse_auroc is not None}
    if state.reference_until_s is None:
        return found
    for name, each in history.tasks.items():
        if name not in found:
            rows = each.between(0, state.reference_until_s)
            ripe_s = _maturity(each, rows, state.reference_until_s).published_s
            known = each.labelable[rows] & (each.label[rows] >= 0) & (each.known_s[rows] <= ripe_s)
            happened = each.happened[rows][known]
            if min(happened.sum(), (~happened).sum()) >= MIN_EVENTS:
                found[name] = (soft_auroc(each.adverse[rows][known], happened), ripe_s)
    return found


def _advance_quality(
    state: MonitorState, each: TaskHistory, now_s: float, baseline_auroc: float | None, baseline_since_s: float
) -> MonitorState:
    found: list[MonthQuality] = []
    alarms: list[Alarm] = []
    done = {entry.month for entry in state.quality if entry.task == each.task.name}
    for month, rows, published_s in _mature_months(each, state.began_s, now_s, done):
        for shown in (False, True):
            members = each.labelable[rows] & (each.shown[rows] == shown)
            if not members.any():
                continue
            baseline = baseline_auroc if baseline_since_s <= published_s else None
            entry = _month_quality(each, rows, members, month, published_s, shown, baseline)
            found.append(entry)
            quality = entry.quality
            if quality.alarm and quality.auroc and quality.baseline_auroc:
                detail = f"{month}: AUROC at most {quality.auroc.high:.3f}, baseline {quality.baseline_auroc:.3f}"
                signal, week = f"{entry.task}/{entry.exposure}/auroc", date_of(week_start_s(published_s))
                alarms.append(Alarm(time_s=published_s, week=week, kind="quality", signal=signal, detail=detail))
    return state.model_copy(
        update={"quality": (*state.quality, *found), "alarms": (*state.alarms, *alarms)},
    )


def _month_quality(
    each: TaskHistory,
    rows: slice,
    members: npt.NDArray[np.bool_],
    month: str,
    published_s: float,
    shown: bool,
    baseline: float | None,
) -> MonthQuality:
    known = each.known_s[rows] <= published_s
    chosen = members & known & (each.label[rows] >= 0)
    facts = (each.adverse[rows][chosen], each.happened[rows][chosen], each.patient[rows][chosen])
    return MonthQuality(
        task=each.task.name,
        exposure=exposure_name(shown),
        month=month,
        published_s=published_s,
        open_outcomes=int((members & ~known).sum()),
        quality=realised_quality(*facts, encounters=int(members.sum()), baseline_auroc=baseline),
        subgroups=quality_by_subgroup(*facts, {name: levels[rows][chosen] for name, levels in each.subgroups.items()}),
    )


def _mature_months(
    each: TaskHistory, began_s: float, now_s: float, done: set[str]
) -> Iterator[tuple[str, slice, float]]:
    """(month, rows, when published) of the calendar months that are mature by now and not done."""
    month = month_of(began_s)
    while (bounds := month_bounds_s(month))[1] <= now_s:
        rows = each.between(max(bounds[0], began_s), bounds[1])
        if month not in done and each.labelable[rows].any():
            published_s = _maturity(each, rows, bounds[1]).published_s
            if published_s <= now_s:
                yield month, rows, published_s
        month = month_of(bounds[1])


class Coverage(_Frozen):
    """How far along a week's predictions are: encounters, the share with a final outcome, and whether it is mature."""

    week: str
    encounters: int
    coverage: float
    status: Status


def coverage_by_week(each: TaskHistory, began_s: float, now_s: float) -> tuple[Coverage, ...]:
    """Label coverage of every week of predictions, as of now. A mature week is "published"."""
    found = []
    start_s = week_start_s(began_s)
    while start_s + WEEK_S <= now_s:
        rows = each.between(start_s, start_s + WEEK_S)
        members = each.labelable[rows]
        if members.any():
            ripe = _maturity(each, rows, start_s + WEEK_S)
            found.append(
                Coverage(
                    week=date_of(start_s),
                    encounters=int(members.sum()),
                    coverage=label_coverage(each.known_s[rows][members], now_s),
                    status=Status.PUBLISHED if ripe.published_s <= now_s else Status.IMMATURE,
                )
            )
        start_s += WEEK_S
    return tuple(found)


def replay(
    history: History, profile: ReferenceProfile, state: MonitorState, *, tick: Callable[[float], None] | None = None
) -> MonitorState:
    """The state at the end of history, week by week. `tick` is called with the number of weeks done."""
    end_s = week_start_s(history.end_s) + WEEK_S
    while state.clock_s < end_s:
        state = advance(state, history, profile, min(end_s, week_start_s(state.clock_s) + WEEK_S))
        if tick:
            tick(1)
    return state
