"""Drift: distances against oracles, silence in quiet years, and what a shift takes to be found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from monitoring.drift import (
    HOLM_LEVEL,
    MIN_EFFECT,
    MIN_SQUARED_MMD,
    MIN_WINDOW_NOTES,
    DriftState,
    Reading,
    hidden_reading,
    holm,
    judge,
    ks_distance,
    mix_distance,
    mmd,
    note_readings,
    psi,
    score_readings,
)
from monitoring.reference import NoteSample, ScoreSample, build_reference, hidden_reference, sketch
from tests.monitoring.streams import DENIAL, STAY, Hospital, simulate


def test_ks_agrees_with_scipy_within_the_sketchs_error() -> None:
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.1, 0.3):
        reference, window = rng.normal(size=9001), rng.normal(shift, 1, 700)
        made = sketch(reference)
        distance, p_value = ks_distance(window, made)
        oracle = stats.ks_2samp(window, reference, method="asymp")
        assert abs(distance - oracle.statistic) <= made.error + 1e-12
        assert p_value >= oracle.pvalue * 0.5  # never much smaller than the exact sample's


def test_ks_with_ties_and_atoms_agrees_too() -> None:
    rng = np.random.default_rng(1)
    reference = np.minimum(511, rng.normal(400, 120, 5000).round())
    window = np.minimum(511, rng.normal(400, 120, 800).round())
    distance, _ = ks_distance(window, sketch(reference))
    assert abs(distance - stats.ks_2samp(window, reference).statistic) <= 1 / 500 + 1e-12
    assert ks_distance(np.full(600, 7.0), sketch(np.full(2000, 7.0))) == (0.0, 1.0)


def test_psi_is_zero_for_the_reference_and_grows_with_a_shift() -> None:
    rng = np.random.default_rng(2)
    reference = rng.normal(size=20_000)
    made = sketch(reference)
    assert psi(reference, made) < 0.002
    assert psi(rng.normal(0.5, 1, 5000), made) > 0.15
    assert np.isfinite(psi(np.full(500, 99.0), made))


def test_holm_is_step_down() -> None:
    assert holm([0.004, 0.03, 0.001], 0.01) == [True, False, True]
    assert holm([0.004, 0.0051, 0.001, 0.0034], 0.01) == [False, False, True, False]
    assert holm([], 0.01) == [] and holm([float("nan")], 0.01) == [False]


def test_mix_distance_agrees_with_scipy() -> None:
    distance, p_value = mix_distance({"a": 60, "b": 40}, {"a": 500, "b": 500})
    oracle = stats.chi2_contingency([[60, 40], [500, 500]], correction=False)
    assert distance == pytest.approx(0.1) and p_value == pytest.approx(oracle.pvalue)
    assert mix_distance({"a": 600, "new": 1}, {"a": 5000})[1] == 1.0  # one odd note is no test
    assert mix_distance({"a": 500, "new": 100}, {"a": 5000})[1] < 1e-9


def test_significance_without_effect_and_effect_without_significance_are_no_alarm() -> None:
    tiny = Reading(signal="a", notes=10**6, effect=MIN_EFFECT / 2, p_value=1e-30)
    noisy = Reading(signal="b", notes=500, effect=2 * MIN_EFFECT, p_value=HOLM_LEVEL * 1.1)
    state = DriftState()
    for _ in range(3):
        judged, state, begun = judge([tiny, noisy], state)
        assert not begun and not any(reading.flagged for reading in judged)
    assert judged[0].rejected and not judged[1].rejected


def test_two_windows_running_and_a_window_without_notes_is_no_verdict() -> None:
    drifted = Reading(signal="a", notes=500, effect=0.2, p_value=1e-12)
    calm = drifted.model_copy(update={"p_value": 0.5})
    _, state, begun = judge([drifted], DriftState())
    assert begun == () and state.alarms == ()
    _, state, begun = judge([], state)
    _, state, begun = judge([drifted], DriftState.model_validate_json(state.model_dump_json()))
    assert begun == ("a",) and state.alarms == ("a",)
    _, state, begun = judge([drifted], state)
    assert begun == () and state.alarms == ("a",)
    _, state, _ = judge([calm], state)
    assert state.alarms == ()


def notes(rng: np.random.Generator, n: int, *, mean_log: float = 5.7, cut: float = 0.05, hp: float = 0.5) -> NoteSample:
    kind = np.where(rng.random(n) < hp, "34117-2", "18842-5")
    return NoteSample(np.exp(rng.normal(mean_log, 0.4, n)).round(), rng.random(n) < cut, kind, rng.beta(1, 60, n))


@pytest.mark.parametrize(
    ("change", "signal"),
    [
        ({"mean_log": 5.9}, "notes/length"),
        ({"cut": 0.2}, "notes/truncated"),
        ({"hp": 0.7}, "notes/types"),
    ],
)
def test_a_change_of_notes_flags_its_own_signal(change: dict[str, float], signal: str) -> None:
    rng = np.random.default_rng(3)
    profile = build_reference({}, notes(rng, 8000), model_version="1", source="test")
    judged, _, _ = judge(note_readings(notes(rng, 1500, **change), profile.notes), DriftState())
    assert [reading.signal for reading in judged if reading.flagged] == [signal]
    quiet, _, _ = judge(note_readings(notes(rng, 1500), profile.notes), DriftState())
    assert len(quiet) == 4 and not any(reading.flagged for reading in quiet)


def test_mmd_sees_a_shift_of_hidden_states_and_is_quiet_without_one() -> None:
    rng = np.random.default_rng(4)
    mixing = rng.normal(size=(96, 96)) / 9
    reference = hidden_reference(rng.normal(size=(3000, 96)) @ mixing)
    assert len(reference.components) == 64 and len(reference.sample) == 500
    quiet = [hidden_reading(rng.normal(size=(500, 96)) @ mixing, reference) for _ in range(2)]
    assert all(each.effect < MIN_SQUARED_MMD / 2 and each.p_value > 0.001 for each in quiet)
    wanted = np.where(np.arange(64) < 16, 0.3, 0.0)  # in units of the features, which have unit variance
    shift = np.linalg.lstsq(np.asarray(reference.components), wanted, rcond=None)[0]
    moved = hidden_reading(rng.normal(size=(500, 96)) @ mixing + shift, reference)
    assert moved.effect > MIN_SQUARED_MMD
    assert moved.effect > 4 * max(each.effect for each in quiet) and moved.p_value < 0.001


def test_mmd_without_drift_has_uniform_p_values() -> None:
    rng = np.random.default_rng(5)
    p_values = [
        mmd(rng.normal(size=(40, 3)), rng.normal(size=(50, 3)), permutations=99, seed=seed)[1] for seed in range(100)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def weekly_alarms(hospital: Hospital, reference_weeks: int = 10) -> list[tuple[int, str]]:
    """(week after the reference, signal) of the alarms over scores alone, all tasks judged together."""
    history = simulate(hospital)
    start = history.tasks[STAY.name].time_s[0] // 86400 * 86400
    week_s = 7 * 86400.0
    end = start + reference_weeks * week_s
    scores = {
        name: (each.task, ScoreSample(each.probabilities[each.between(0, end)])) for name, each in history.tasks.items()
    }
    profile = build_reference(scores, history.notes_between(0, end), model_version="1", source="test")
    state, found = DriftState(), []
    for week in range(hospital.days // 7 - reference_weeks):
        low = end + week * week_s
        readings = list(note_readings(history.notes_between(low, low + week_s), profile.notes))
        for name, each in history.tasks.items():
            window = each.probabilities[each.between(low, low + week_s)]
            if len(window) >= MIN_WINDOW_NOTES:
                readings += score_readings(each.task, window, profile.tasks[name])
        _, state, begun = judge(readings, state)
        found += [(week, signal) for signal in begun]
    return found


def test_a_quiet_year_has_no_alarm() -> None:
    assert weekly_alarms(Hospital(seed=11, days=364)) == []


@pytest.mark.slow
def test_quiet_years_have_at_most_one_false_alarm_in_five() -> None:
    alarms = [len(weekly_alarms(Hospital(seed, 70 + 365 * 5, per_day=80))) for seed in range(20)]
    assert np.mean(alarms) <= 1.0, alarms


@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(20), marks=pytest.mark.slow)], ids=["few", "twenty"])
@pytest.mark.parametrize("per_day", [90, 150])
def test_a_score_shift_of_0_3_sd_is_found_within_three_weeks(seeds: range, per_day: int) -> None:
    for seed in seeds:
        shift = {DENIAL.name: (84, 0.3)}
        alarms = weekly_alarms(Hospital(seed, 126, per_day, tasks=(STAY, DENIAL), score_shift=shift))
        # The reference is ten weeks and the change comes two weeks after it.
        assert [signal for _, signal in alarms] == [f"score/{DENIAL.name}/yes"]
        assert alarms[0][0] - 2 + 1 <= 3


def test_probabilities_of_0_and_1_are_scores_too() -> None:
    readings = score_readings(
        DENIAL,
        np.column_stack((np.linspace(0, 1, 600), 1 - np.linspace(0, 1, 600))),
        build_reference(
            {DENIAL.name: (DENIAL, ScoreSample(np.tile([0.9, 0.1], (1000, 1))))},
            notes(np.random.default_rng(0), 1000),
            model_version="1",
            source="test",
        ).tasks[DENIAL.name],
    )
    assert len(readings) == 1 and readings[0].effect > 0.5
