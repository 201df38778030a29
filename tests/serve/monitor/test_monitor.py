"""The monitor on what the database holds: the same findings as a replay, whatever happens between two runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lang1.hospital_record import LabelPolicy
from lang1.tasks import TaskRegistry
from monitoring.cohorts import DAY_S, WEEK_S
from monitoring.history import History
from monitoring.replay import MonitorState, advance, begin, reference_of_first_weeks
from serve.monitor.recorded import recorded_history
from serve.monitor.run import Judged, judge
from serve.monitor.state import read_state, save_state
from serve.outcomes.context import LabelContext
from serve.outcomes.joined import LabelledPrediction
from serve.store.core import Store
from tests.monitoring.streams import READMISSION, START_S, STAY, VERSION, Hospital, simulate
from tests.serve.monitor.recorded_rows import BUNDLE, keep

REGISTRY = TaskRegistry([READMISSION, STAY])
CONTEXT = LabelContext(
    tasks=tuple(REGISTRY.values()), policy=LabelPolicy(), timezone="UTC", feed_lag_ms=0, denials_final_after_days=None
)
WEEKS = 4


@pytest.fixture(scope="module")
def history() -> History:
    return simulate(
        Hospital(7, 120, 40, tasks=(READMISSION, STAY), shown=0.3, score_shift={STAY.name: (60, 0.6)},
                 outcome={READMISSION.name: (40, lambda z: z + 1.2)})
    )  # fmt: skip


def run(store: Store, days: float) -> Judged:
    return judge(
        store, REGISTRY, BUNDLE, None, CONTEXT, now_s=START_S + days * DAY_S, history_days=400, reference_weeks=WEEKS
    )


def findings(state: MonitorState) -> object:
    """What was found and when. Labels that came late are read in another order than scores were written."""
    return (
        [(alarm.week, alarm.kind, alarm.signal) for alarm in state.alarms],
        {key: (stream.state.labels, stream.state.events) for key, stream in state.calibration.items()},
        [(each.task, each.exposure, each.month, each.quality.events) for each in state.quality],
    )


def test_it_finds_what_a_replay_finds_and_a_stop_between_changes_nothing(store: Store, history: History) -> None:
    store.write(keep, history)
    whole = run(store, 170)
    assert whole.state is not None
    assert {alarm.kind for alarm in whole.state.alarms} >= {"drift", "calibration"}

    # As recorded: notes are known by their scores alone.
    profile, until_s = reference_of_first_weeks(whole.history, WEEKS) if whole.history else pytest.fail("no history")
    replayed = begin(history, profile, reference_until_s=until_s)
    while replayed.clock_s < START_S + 170 * DAY_S:
        replayed = advance(replayed, history, profile, min(START_S + 170 * DAY_S, replayed.clock_s + WEEK_S))
    assert findings(whole.state)[1:] == findings(replayed)[1:]  # type: ignore[index]

    for days in (50, 75, 76.5, 170):
        part = run(store, days)
        assert part.state is not None
        store.write(save_state, BUNDLE, part.state.model_dump(mode="json"))
    assert findings(MonitorState.model_validate(store.read(read_state, BUNDLE))) == findings(whole.state)


def test_before_the_reference_weeks_are_over_there_is_nothing_to_judge(store: Store, history: History) -> None:
    store.write(keep, history)
    early = run(store, 20)
    assert early.history is not None
    assert early.state is None


def test_another_bundle_and_an_empty_database_are_no_history(store: Store, history: History) -> None:
    assert run(store, 100) == Judged()
    store.write(keep, history)
    found = judge(
        store, REGISTRY, "c" * 64, None, CONTEXT, now_s=START_S + 100 * DAY_S, history_days=400, reference_weeks=WEEKS
    )
    assert found == Judged()


ROW = LabelledPrediction(
    prediction_id="p", time_ms=round(START_S * 1000), encounter="Encounter/1", subject="Patient/1",
    task=READMISSION.name, model_version=VERSION, bundle_sha256=BUNDLE, note_type=READMISSION.note_types[0],
    probabilities=(0.7, 0.3), note_tokens=300, dropped_tokens=4, option=1, reason=None, excluded=False,
    known_ms=round((START_S + DAY_S) * 1000), recorded_ms=round((START_S + 9 * DAY_S) * 1000), discharged_ms=None,
    shown_ms=None,
)  # fmt: skip


def test_an_outcome_counts_from_when_it_was_recorded() -> None:
    found = recorded_history([ROW], REGISTRY, BUNDLE)
    assert found is not None
    each = found.tasks[READMISSION.name]
    assert each.known_s.tolist() == [START_S + 9 * DAY_S]
    assert found.notes.truncated.tolist() == [True]


def test_a_score_that_its_task_asks_nothing_of_leaves_the_label_to_the_next_one() -> None:
    late = replace(ROW, prediction_id="q", option=None, excluded=True, reason="after-end")
    good = replace(ROW, prediction_id="r", time_ms=ROW.time_ms + 1000)
    found = recorded_history([late, good], REGISTRY, BUNDLE)
    assert found is not None
    assert found.tasks[READMISSION.name].labelable.tolist() == [False, True]


def test_an_open_outcome_has_no_label() -> None:
    found = recorded_history([replace(ROW, option=None, reason="not-over")], REGISTRY, BUNDLE)
    assert found is not None
    each = found.tasks[READMISSION.name]
    assert each.labelable.all()
    assert np.isinf(each.known_s).all()
