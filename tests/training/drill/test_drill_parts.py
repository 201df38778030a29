"""The parts of the drill that need no service: plan, record, monitors, promises, page."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from lang1.tasks import BUILT_IN
from training.drill.hospital import NO_NOTE, Stays, draw_stays, write_notes
from training.drill.outcome import promises
from training.drill.plan import DrillError, DrillPlan, load_plan
from training.drill.record import HospitalRecord
from training.drill.story import DENIAL, Drill, Event, LiveStage, MonthTruth, story_html
from training.synth.config import SynthConfig

PLAN = DrillPlan(
    first_day=date(2024, 1, 1), template_day=date(2024, 5, 1), policy_day=date(2024, 8, 1), last_day=date(2024, 12, 29),
    stays_a_day=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def config() -> SynthConfig:
    return PLAN.hospital().model_copy(update={"chunk_patients": 2000})


@pytest.fixture(scope="module")
def stays(config: SynthConfig) -> Stays:
    return draw_stays(config, workers=1)


def test_a_plan_in_the_wrong_order_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("template_day: 2030-01-01\n")
    with pytest.raises(DrillError, match=r"plan\.yaml: plan: .*must follow one another"):
        load_plan(file)
    file.write_text("stays: 3\n")
    with pytest.raises(DrillError, match=r"plan\.yaml: stays: "):
        load_plan(file)


def test_the_hospital_has_the_stays_a_day_of_its_plan(stays: Stays) -> None:
    days = (PLAN.last_day - PLAN.first_day).days
    assert len(stays) / days == pytest.approx(PLAN.stays_a_day, rel=0.1)


def test_a_note_is_the_same_whichever_others_are_written(config: SynthConfig, stays: Stays) -> None:
    some = np.zeros(len(stays), dtype=np.bool_)
    some[::7] = True
    few = write_notes(config, stays, some, workers=1)
    every = write_notes(config, stays, np.ones(len(stays), dtype=np.bool_), workers=1).notes.to_pylist()
    by_id = {row["note_id"]: row for row in every}
    assert 0 < len(few.notes) < len(every)
    assert all(by_id[row["note_id"]] == row for row in few.notes.to_pylist())
    assert set(few.outcomes["encounter"].to_pylist()) == set(few.notes["encounter_id"].to_pylist())


def test_the_record_says_of_each_note_what_the_dataset_says(config: SynthConfig, stays: Stays) -> None:
    record = HospitalRecord(config, stays, 0.0, 4e12)
    rows = record.rows
    wanted = np.arange(0, len(rows), 11)
    (found, table), *rest = record.read(wanted)
    assert not rest
    assert found.tolist() == wanted.tolist()
    written = write_notes(config, stays, np.ones(len(stays), dtype=np.bool_), workers=1).notes.to_pylist()
    by_id = {row["note_id"]: row for row in written}
    for row, note in zip(found.tolist(), table.to_pylist(), strict=True):
        told = by_id[note["note_id"]]
        assert note["text"] == told["text"]
        assert rows.note_type[row] == told["note_type"]
        assert rows.authored_s[row] == told["authored"].timestamp()
        for task in BUILT_IN:
            assert rows.labels[task][row] == told[f"label_{task}"]
            assert np.isnan(rows.known_s[task][row]) == (told["note_type"] not in BUILT_IN[task].note_types)


def test_the_record_ends_with_its_day(config: SynthConfig, stays: Stays) -> None:
    until = float(np.median(stays.history_s))
    rows = HospitalRecord(config, stays, until - 30 * 86_400, until).rows
    assert len(rows)
    assert until - 30 * 86_400 <= rows.authored_s.min()
    assert rows.authored_s.max() < until


def test_who_died_has_no_discharge_summary(stays: Stays) -> None:
    died = stays.labels[:, list(BUILT_IN).index("in_hospital_mortality")] == 1
    assert died.any()
    assert (stays.summary_s[died] == NO_NOTE).all()


def test_some_patients_are_whole_patients(config: SynthConfig, stays: Stays) -> None:
    chosen = stays.of_some_patients(0.3)
    assert not set(stays.patient[chosen].tolist()) & set(stays.patient[~chosen].tolist())


def events(*more: Event) -> list[Event]:
    return [Event(day=PLAN.template_day, kind="change", text="template", mark="template"), *more]


def alarm(day: date, text: str) -> Event:
    return Event(day=day, kind="alarm", text=text)


def test_promises_are_kept_or_not() -> None:
    stage = LiveStage(stage="canary 5%", notes=10, failed=0, by_challenger=1, largest_difference=1e-6)
    truth = [MonthTruth(month=f"2024-{m:02d}", model_version=v, champion=c, best_possible=0.9)
             for m, v, c in ((7, "1", 0.8), (9, "1", 0.6), (12, "2", 0.79))]  # fmt: skip
    crowned = [("1", PLAN.first_day), ("2", date(2024, 11, 25))]
    good = events(
        alarm(PLAN.template_day + timedelta(days=14), "drift, 1: notes/length: "),
        alarm(PLAN.policy_day + timedelta(days=90), f"calibration, 1: {DENIAL}/not shown/too low: "),
        Event(day=date(2024, 11, 25), kind="rollout", text="promoted", mark="promoted"),
    )
    found = promises(PLAN, good, {}, [stage], truth, crowned)
    assert [name for name, each in found.items() if not each["kept"]] == ["the new champion is calibrated on denial"]
    bad = promises(
        PLAN, [*events(), alarm(date(2024, 2, 1), "drift, 1: x"), alarm(date(2024, 3, 1), "drift, 1: x")], {},
        [stage.model_copy(update={"failed": 1, "largest_difference": 0.1})], truth[:2], crowned[:1],
    )  # fmt: skip
    assert not any(each["kept"] for each in bad.values())


def test_the_page_tells_what_failed(config: SynthConfig) -> None:
    drill = Drill(
        plan=PLAN.model_dump(mode="json"), machine={"cores": 2}, seconds={"whole": 60.0}, stays=1, notes_scored=2,
        events=tuple(events(alarm(date(2024, 6, 1), "<b>"))), live=(), truth=(), watched={},
        gates=({"day": "2024-10-01", "remedy": "lora", "verdict": "fail", "reasons": ["Brier <worse>"]},),
        outcome={"a promise": {"found": "no", "kept": False}},
    )  # fmt: skip
    page = story_html(drill)
    assert "Brier &lt;worse&gt;" in page
    assert "&lt;b&gt;" in page
    assert ">NO<" in page
    assert "<script" not in page
