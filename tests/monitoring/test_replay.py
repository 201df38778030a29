"""The monitor over simulated history: restarts, late labels and their traps, and drift that only labels show."""

from __future__ import annotations

import numpy as np
import pytest

from lang1.tasks import Horizon, Task
from monitoring.calibration_eprocess import CalibrationState, Direction, feed
from monitoring.cohorts import month_bounds_s
from monitoring.errors import MonitorInputError
from monitoring.history import EXCLUDED, NO_LABEL, History
from monitoring.quality import Status
from monitoring.reference import ReferenceProfile, ScoreSample, build_reference
from monitoring.replay import (
    MonitorState,
    advance,
    begin,
    calibration_key,
    coverage_by_week,
    exposure_name,
    reference_of_first_weeks,
    replay,
)
from tests.monitoring.streams import (
    DAY_S,
    DENIAL,
    MEAN_LOGIT,
    READMISSION,
    START_S,
    STAY,
    VERSION,
    Floats,
    Hospital,
    simulate,
)


def validation_profile(tasks: tuple[Task, ...]) -> ReferenceProfile:
    """From a hospital of another seed: what a bundle would carry."""
    history = simulate(Hospital(seed=999, days=70, tasks=tasks))
    scores = {name: (each.task, ScoreSample(each.probabilities, each.label)) for name, each in history.tasks.items()}
    return build_reference(scores, history.notes, model_version=VERSION, source="validation")


def key(task: Task, direction: Direction = Direction.UNDERSTATED, *, shown: bool = False) -> str:
    return calibration_key(task.name, exposure_name(shown), direction)


def test_a_restart_anywhere_gives_the_same_state() -> None:
    hospital = Hospital(
        7, 200, 60, tasks=(READMISSION, STAY, DENIAL), shown=0.5,
        score_shift={STAY.name: (120, 0.5)}, outcome={READMISSION.name: (90, lambda z: z + 1.0)},
    )  # fmt: skip
    history = simulate(hospital)
    profile, until_s = reference_of_first_weeks(history, 6)
    start = begin(history, profile, reference_until_s=until_s)
    whole = replay(history, profile, start)
    assert {alarm.kind for alarm in whole.alarms} >= {"drift", "calibration"}
    stopped = start
    for day in (43.3, 44.0, 91.7, 130.01, 230.0):
        stopped = advance(stopped, history, profile, START_S + day * DAY_S)
        stopped = MonitorState.model_validate_json(stopped.model_dump_json())
    assert advance(stopped, history, profile, whole.clock_s) == whole
    with pytest.raises(MonitorInputError, match="later time"):
        advance(whole, history, profile, START_S)


def known_by(history: History, now_s: float) -> History:
    """The history as it was recorded by then."""
    from dataclasses import replace

    cut = {}
    for name, each in history.tasks.items():
        final = each.known_s <= now_s
        cut[name] = replace(
            each, known_s=np.where(final, each.known_s, np.inf), label=np.where(final, each.label, NO_LABEL)
        )
    return replace(history, tasks=cut)


def test_a_live_monitor_that_does_not_know_the_future_says_the_same() -> None:
    history = simulate(Hospital(8, 150, 60, tasks=(READMISSION, STAY, DENIAL)))
    profile, until_s = reference_of_first_weeks(history, 6)
    live = begin(history, profile, reference_until_s=until_s)
    for day in range(49, 300, 7):
        now_s = START_S + day * DAY_S
        live = advance(live, known_by(history, now_s), profile, now_s)
    start = begin(history, profile, reference_until_s=until_s)
    assert live == advance(start, history, profile, live.clock_s)


TRAPS = (READMISSION, DENIAL, STAY)


@pytest.mark.parametrize("task", TRAPS, ids=lambda task: task.name)
def test_early_labels_fool_a_naive_reading_and_no_published_metric(task: Task) -> None:
    """Early positives (readmission), early approvals (denial), short stays: all from a perfectly calibrated model."""
    history = simulate(Hospital(9, 120, 150, tasks=(task,)))
    profile = validation_profile((task,))
    state, each, trapped = begin(history, profile), history.tasks[task.name], False
    for day in range(7, 300, 7):
        now_s = START_S + day * DAY_S
        # Naive: whatever is known today, in the order in which it came in.
        known = np.flatnonzero(each.known_s <= now_s)
        known = known[np.argsort(each.known_s[known], kind="stable")]
        for direction in Direction:
            fresh = CalibrationState(direction=direction)
            trapped |= day < 60 and feed(fresh, each.adverse[known], each.happened[known]).alarmed
        state = advance(state, known_by(history, now_s), profile, now_s)
        assert not state.alarms
        for entry in state.quality:
            assert entry.published_s <= now_s
    assert trapped, "the simulated trap is none"
    published = [entry for entry in state.quality if entry.quality.status is Status.PUBLISHED]
    assert len(published) >= 3
    for entry in published:
        low, high = (np.searchsorted(each.time_s, bound) for bound in month_bounds_s(entry.month))
        expected, events = each.adverse[low:high].sum(), entry.quality.events
        assert events is not None
        # 4 SD of chance and the open 1%, which are adverse in the worst case.
        assert abs(events - expected) <= 4 * np.sqrt(expected) + 0.01 * (high - low)
        assert entry.open_outcomes <= 0.01 * (high - low) + 1


def test_nothing_is_published_before_maturity_and_coverage_says_how_far() -> None:
    history = simulate(Hospital(10, 60, 150, tasks=(READMISSION,)))
    profile = validation_profile((READMISSION,))
    now_s = START_S + 36 * DAY_S
    early = advance(begin(history, profile), history, profile, now_s)
    assert not early.quality and not early.calibration
    weeks = coverage_by_week(history.tasks[READMISSION.name], early.began_s, now_s)
    assert {week.status for week in weeks} == {Status.IMMATURE}
    assert all(0 < week.coverage < 1 for week in weeks[:4])
    late = advance(early, history, profile, START_S + 130 * DAY_S)
    assert {entry.month for entry in late.quality} == {"2020-01", "2020-02", "2020-03"}


def test_outcomes_are_kept_apart_by_whether_the_score_was_shown() -> None:
    """A shown risk is acted on and comes true less often: only that group's calibration may alarm."""
    history = simulate(Hospital(11, 100, 150, tasks=(READMISSION,), shown=0.5))
    each = history.tasks[READMISSION.name]
    averted = each.shown & each.happened & (np.random.default_rng(0).random(len(each.shown)) < 0.5)
    each.label[averted] = 0
    del each.__dict__["happened"]
    profile = validation_profile((READMISSION,))
    state = replay(history, profile, begin(history, profile))
    assert {alarm.signal for alarm in state.alarms} == {key(READMISSION, Direction.OVERSTATED, shown=True)}
    assert {entry.exposure for entry in state.quality} == {"shown", "not shown"}


@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(20), marks=pytest.mark.slow)], ids=["few", "twenty"])
def test_a_logit_shift_on_readmission_is_found_within_16_days_of_labels(seeds: range) -> None:
    days = []
    profile = validation_profile((READMISSION,))
    for seed in seeds:
        change = 100
        outcome = {READMISSION.name: (change, lambda z: z + 0.7)}
        history = simulate(Hospital(seed, change + 40, 150, tasks=(READMISSION,), outcome=outcome))
        state = replay(history, profile, begin(history, profile))
        found = [alarm for alarm in state.alarms if alarm.signal == key(READMISSION)]
        assert len(found) == 1
        first_label_s = START_S + (change + READMISSION.label_maturity_days) * DAY_S
        days.append((found[0].time_s - first_label_s) / DAY_S)
    assert min(days) > 0 and max(days) <= 16, days


def new_payer_rules(logit: Floats) -> Floats:
    """Denials now hang on other things: the note says less about them, and there are more."""
    return MEAN_LOGIT + 0.9 + 0.3 * (logit - MEAN_LOGIT)


@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(20), marks=pytest.mark.slow)], ids=["few", "twenty"])
def test_concept_drift_fires_calibration_while_the_estimate_without_labels_stays(seeds: range) -> None:
    profile = validation_profile((DENIAL,))
    for seed in seeds:
        history = simulate(Hospital(seed, 180, 150, tasks=(DENIAL,), outcome={DENIAL.name: (60, new_payer_rules)}))
        state = replay(history, profile, begin(history, profile))
        kinds = {(alarm.kind, alarm.signal) for alarm in state.alarms}
        assert ("calibration", key(DENIAL)) in kinds
        assert not any(kind == "drift" for kind, _ in kinds)
        estimates = np.array([week.estimated_auroc[DENIAL.name] for week in state.weeks if week.estimated_auroc])
        before, after = estimates[:8], estimates[9:]
        assert abs(before.mean() - after.mean()) < 0.015
        realised = {entry.month: entry.quality for entry in state.quality}
        for month in ("2020-04", "2020-05", "2020-06"):
            auroc = realised[month].auroc
            assert auroc is not None and auroc.value < before.mean() - 0.05
        # Three days of July: enough events for a figure in most runs, not in all.
        assert (realised["2020-07"].auroc is None) == (realised["2020-07"].status is Status.INSUFFICIENT)
        assert any(kind == "quality" for kind, _ in kinds)


def test_excluded_outcomes_are_final_and_count_in_no_metric() -> None:
    history = simulate(Hospital(12, 70, 150, tasks=(READMISSION,)))
    each = history.tasks[READMISSION.name]
    each.label[:] = EXCLUDED
    profile = validation_profile((READMISSION,))
    state = replay(history, profile, begin(history, profile))
    assert not state.calibration and {entry.quality.events for entry in state.quality} == {0}


def test_few_notes_are_gathered_over_weeks() -> None:
    history = simulate(Hospital(13, 140, 30, tasks=(DENIAL,), score_shift={DENIAL.name: (0, 1.0)}))
    assert DENIAL.horizon is Horizon.CLAIM
    profile = validation_profile((DENIAL,))
    state = replay(history, profile, begin(history, profile))
    read = [reading for week in state.weeks for reading in week.readings if reading.signal.startswith("score/")]
    assert 4 <= len(read) <= 7 and all(500 <= reading.notes < 1000 for reading in read)
    assert [alarm.signal for alarm in state.alarms if alarm.kind == "drift"] == [f"score/{DENIAL.name}/yes"]


def test_a_profile_of_another_version_is_refused() -> None:
    history = simulate(Hospital(14, 20, tasks=(DENIAL,)))
    profile = validation_profile((DENIAL,)).model_copy(update={"model_version": "2.0.0"})
    with pytest.raises(MonitorInputError, match="another model version"):
        begin(history, profile)
