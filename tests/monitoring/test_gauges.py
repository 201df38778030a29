"""Gauges say what the state says."""

from __future__ import annotations

from prometheus_client import REGISTRY

from monitoring import gauges
from monitoring.calibration_eprocess import Direction
from monitoring.replay import advance, begin, calibration_key, exposure_name, reference_of_first_weeks, replay
from tests.monitoring.streams import DAY_S, READMISSION, START_S, STAY, VERSION, Hospital, simulate


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels | {"model_version": VERSION})


def test_gauges_are_of_the_newest_readings() -> None:
    hospital = Hospital(
        7, 200, 60, tasks=(READMISSION, STAY), score_shift={STAY.name: (120, 0.5)},
        outcome={READMISSION.name: (90, lambda z: z + 1.0)},
    )  # fmt: skip
    history = simulate(hospital)
    profile, until_s = reference_of_first_weeks(history, 6)
    state = replay(history, profile, begin(history, profile, reference_until_s=until_s))
    gauges.publish(state, history, state.clock_s)

    in_alarm = set(state.drift.alarms)
    assert in_alarm
    last = {reading.signal: reading for week in state.weeks for reading in week.readings}
    for signal, reading in last.items():
        assert value("lang1_drift_statistic", signal=signal) == reading.effect
        assert value("lang1_drift_alarm", signal=signal) == (signal in in_alarm)
    key = calibration_key(READMISSION.name, exposure_name(False), Direction.UNDERSTATED)
    labels = {"task": READMISSION.name, "shown": "no", "direction": "understated"}
    assert value("lang1_calibration_evalue", **labels) == state.calibration[key].state.log10_e
    assert value("lang1_calibration_alarm", **labels) == 1
    (newest,) = [entry for entry in state.quality if entry.task == STAY.name][-1:]
    assert newest.quality.auroc is not None
    assert value("lang1_realized_auroc", task=STAY.name, shown="no", bound="low") == newest.quality.auroc.low
    half_way = advance(begin(history, profile, reference_until_s=until_s), history, profile, START_S + 100 * DAY_S)
    gauges.publish(half_way, history, half_way.clock_s)
    coverage = value("lang1_label_coverage_ratio", task=READMISSION.name)
    assert coverage is not None
    assert 0 <= coverage < 1
