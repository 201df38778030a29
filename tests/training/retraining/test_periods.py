"""Which notes a job holds out and learns from, on rows without texts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from lang1.tasks import BUILT_IN
from monitoring.cohorts import DAY_S, WEEK_S, week_start_s
from training.retraining.errors import TooLittleDataError
from training.retraining.holdout import draw
from training.retraining.maturity import mature_labels
from training.retraining.periods import plan_periods
from training.retraining.source import NoteRows, known_when
from training.retraining.spec import HoldoutPlan, TrainingPlan

START = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
AS_OF = START + 400 * DAY_S
HOLDOUT = HoldoutPlan(days=60, max_events=150, controls_per_case=2)
TRAINING = TrainingPlan(recent_days=90, min_events=2)


def rows(stays: int = 8000, seed: int = 1, **known: Any) -> NoteRows:
    """400 days of stays of 2,500 patients, an admission note and a discharge summary each."""
    rng = np.random.default_rng(seed)
    admitted = START + rng.random(stays) * 400 * DAY_S
    left = admitted + rng.choice([1, 3, 5, 9], stays) * DAY_S
    at = np.concatenate([np.arange(stays), np.arange(stays)])
    note_type = np.repeat([HISTORY_AND_PHYSICAL.loinc, DISCHARGE_SUMMARY.loinc], stays)
    authored = np.concatenate([admitted, left])
    labels, final = {}, {}
    for name, task in BUILT_IN.items():
        asked = np.isin(note_type, task.note_types)
        drawn = rng.integers(0, len(task.options), stays)[at]
        labels[name] = np.where(asked, drawn, -1).astype(np.int8)
        when = known.get(name, known_when(task, authored, left[at]))
        final[name] = np.where(asked, when, np.nan)
    return NoteRows(
        patient=rng.integers(0, stays // 3, stays)[at], encounter=at.astype(np.int64), note_type=note_type,
        drawn=rng.random(stays)[at], authored_s=authored, discharged_s=left[at], labels=labels, known_s=final,
    )  # fmt: skip


READMISSION, DENIAL, STAY = (BUILT_IN[name] for name in ("readmission_30d", "insurance_denial", "length_of_stay"))


def test_labels_are_read_by_whole_mature_weeks() -> None:
    given = rows()
    found = mature_labels(READMISSION, given, AS_OF)
    assert found.until_s is not None and found.until_s == week_start_s(found.until_s)
    # 37 days after the last discharge of the week.
    assert 37 * DAY_S <= AS_OF - found.until_s < (37 + 8) * DAY_S
    assert given.authored_s[found.usable].max() < found.until_s
    assert (given.labels["readmission_30d"][found.usable] >= 0).all()
    asked = (given.labels["readmission_30d"] >= 0) & (given.authored_s < AS_OF)
    assert found.waiting == asked.sum() - found.usable.sum()


def test_what_is_known_early_waits_for_its_week() -> None:
    """Returns are known on their day: read as they come, the last month would hold returns alone."""
    given = rows()
    early = given.labels["readmission_30d"] == 1
    known = np.where(early, given.authored_s + 3 * DAY_S, given.authored_s + 37 * DAY_S)
    found = mature_labels(READMISSION, rows(readmission_30d=known), AS_OF)
    recent = early & (given.authored_s > AS_OF - 30 * DAY_S) & (given.authored_s < AS_OF - 4 * DAY_S)
    assert recent.any() and not found.usable[recent].any()


def test_a_week_with_too_many_open_stays_waits() -> None:
    given = rows()
    week = (week_start_s(AS_OF - 100 * DAY_S), week_start_s(AS_OF - 100 * DAY_S) + WEEK_S)
    inside = (given.authored_s >= week[0]) & (given.authored_s < week[1])
    known = np.where(inside & (given.encounter % 20 == 0), np.inf, given.discharged_s)
    found = mature_labels(STAY, rows(length_of_stay=known), AS_OF)
    assert not found.usable[inside].any() and found.usable[given.authored_s < week[0]].any()
    few = np.where(inside & (given.encounter % 500 == 0), np.inf, given.discharged_s)
    found = mature_labels(STAY, rows(length_of_stay=few), AS_OF)
    assert found.usable[inside].any() and not found.usable[inside & (given.encounter % 500 == 0)].any()


def test_nothing_after_as_of_is_read() -> None:
    given = rows()
    early = AS_OF - 250 * DAY_S
    found = mature_labels(STAY, given, early)
    assert given.known_s["length_of_stay"][found.usable].max() <= early


def planned(given: NoteRows, **changes: Any) -> Any:
    holdout = HOLDOUT.model_copy(update=changes.pop("holdout", {}))
    training = TRAINING.model_copy(update=changes.pop("training", {}))
    return plan_periods(given, BUILT_IN, AS_OF, holdout, training, changes.pop("not_before", {}))


def test_each_task_trains_before_its_holdout_and_tests_after() -> None:
    given = rows()
    found = planned(given)
    for name in BUILT_IN:
        window = found.windows[name]
        held = found.held_out.rows[found.held_out.labels[name] >= 0]
        learned = found.rows[found.labels[name] >= 0]
        assert len(held) and len(learned)
        assert given.authored_s[held].min() >= window.start_s > given.authored_s[learned].max()
        assert given.authored_s[held].max() < window.end_s <= AS_OF
        assert window.end_s - window.start_s == 60 * DAY_S
    # Claims wait longest: their holdout is older than that of stays.
    assert found.windows["insurance_denial"].end_s < found.windows["length_of_stay"].start_s


def test_a_note_that_is_held_out_for_one_task_is_read_for_none() -> None:
    given = rows()
    found = planned(given)
    assert not np.isin(given.encounter[found.rows], given.encounter[found.held_out.rows]).any()


def test_a_patients_notes_from_the_first_held_out_on_are_not_read() -> None:
    given = rows()
    found = planned(given)
    first: dict[int, float] = {}
    for patient, at in zip(given.patient[found.held_out.rows].tolist(), given.authored_s[found.held_out.rows].tolist(),
                           strict=True):  # fmt: skip
        first[patient] = min(at, first.get(patient, np.inf))
    for patient, at in zip(given.patient[found.rows].tolist(), given.authored_s[found.rows].tolist(), strict=True):
        assert at < first.get(patient, np.inf)
    assert found.seen.any()
    known = set(given.patient[found.rows].tolist())
    assert found.seen.tolist() == [patient in known for patient in given.patient[found.held_out.rows].tolist()]


def test_patients_of_the_holdout_can_be_kept_out_of_training() -> None:
    given = rows()
    found = planned(given, holdout={"patients": "forbid"})
    assert not np.isin(given.patient[found.rows], given.patient[found.held_out.rows]).any()
    assert not found.seen.any()


def test_validation_and_test_are_recent_and_of_other_stays() -> None:
    given = rows()
    found = planned(given)
    for part in ("val", "test"):
        here = found.split == part
        for name in BUILT_IN:
            labelled = found.rows[here & (found.labels[name] >= 0)]
            assert (found.windows[name].start_s - given.authored_s[labelled]).max() <= 90 * DAY_S
    parts = {part: set(given.encounter[found.rows[found.split == part]].tolist()) for part in ("train", "val", "test")}
    assert not parts["train"] & parts["val"] and not parts["val"] & parts["test"] and not parts["train"] & parts["test"]


def test_what_the_champion_was_trained_on_is_not_held_out() -> None:
    given = rows()
    plain = planned(given).windows["length_of_stay"]
    later = planned(given, not_before={"length_of_stay": plain.start_s + 20 * DAY_S}).windows["length_of_stay"]
    assert later.start_s == plain.start_s + 20 * DAY_S and later.end_s == plain.end_s
    with pytest.raises(TooLittleDataError, match="the champion was trained on notes up to"):
        planned(given, not_before={"length_of_stay": plain.end_s})


def test_too_few_events_to_learn_from_hold() -> None:
    with pytest.raises(TooLittleDataError, match="are needed"):
        planned(rows(), training={"min_events": 5000})
    with pytest.raises(TooLittleDataError, match="no week of labels is mature"):
        plan_periods(rows(), BUILT_IN, START + 20 * DAY_S, HOLDOUT, TRAINING, {})


def test_limits_hold_and_the_same_plan_comes_again() -> None:
    given = rows()
    found = planned(given, training={"max_notes": 500, "max_validation_notes": 120})
    counts = dict(zip(*np.unique(found.split, return_counts=True), strict=True))
    assert counts == {"train": 500, "val": 120, "test": 120}
    again = planned(given, training={"max_notes": 500, "max_validation_notes": 120})
    assert np.array_equal(found.rows, again.rows) and np.array_equal(found.held_out.rows, again.held_out.rows)


def test_a_case_control_draw_is_weighted_to_its_window() -> None:
    given = rows()
    usable = {name: given.labels[name] >= 0 for name in BUILT_IN}
    found = draw(usable, given.labels, given.drawn, BUILT_IN, max_events=100, controls_per_case=2)
    for name, task in BUILT_IN.items():
        label, weight = found.labels[name], found.weights[name]
        adverse = np.isin(label, task.adverse_options)
        assert adverse.sum() == 100 and ((label >= 0) & ~adverse).sum() == 200
        events, others = found.window_counts[name]
        assert weight[adverse].sum() == pytest.approx(events)
        assert weight[(label >= 0) & ~adverse].sum() == pytest.approx(others)
        assert (weight[label < 0] == 0).all()
    # One order for all: far fewer notes than the sum of the samples.
    assert len(found.rows) < 0.8 * sum((label >= 0).sum() for label in found.labels.values())


def test_a_label_without_a_time_is_taken_by_the_calendar() -> None:
    authored, left = np.array([0.0]), np.array([5 * DAY_S])
    unknown = np.array([np.nan])
    assert known_when(READMISSION, authored, left) == (5 + 37) * DAY_S
    assert known_when(STAY, authored, left) == 5 * DAY_S
    assert known_when(STAY, authored, unknown) == 180 * DAY_S
    assert known_when(BUILT_IN["charlson_comorbidity_index"], authored, left) == 35 * DAY_S
    assert known_when(DENIAL, authored, left) == 180 * DAY_S
