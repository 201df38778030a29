from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from lang1.label_rules import (
    CHARLSON_UPPER,
    CLAIM_STATUSES,
    LABEL_RULES,
    LOS_UPPER_DAYS,
    REASONS,
    Claims,
    ClaimStatus,
    Diagnoses,
    Encounters,
    HospitalRecord,
    LabelPolicy,
    Missing,
    NoteTimes,
    StayLabels,
    count_reasons,
    note_labels,
    stay_labels,
)
from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from lang1.tasks import BUILT_IN, Task

BY_RULE = {task.label_rule: task for task in BUILT_IN.values()}
READMISSION, MORTALITY = BY_RULE["readmission"], BY_RULE["in_hospital_mortality"]
LENGTH, CHARLSON, DENIAL = BY_RULE["length_of_stay"], BY_RULE["charlson_comorbidity_index"], BY_RULE["insurance_denial"]
END = LabelPolicy(observed_until=datetime(2025, 1, 1))  # noqa: DTZ001 - the hospital's own clock


def at(moments: list[str | None]) -> np.ndarray[Any, Any]:
    return np.array([np.datetime64("NaT") if each is None else each for each in moments], dtype="datetime64[s]")


def stays(*rows: tuple[int, str, str | None], **columns: list[Any]) -> Encounters:
    """Stays from (patient, admitted, discharged); discharged alive unless `died` says otherwise."""
    n = len(rows)
    died = columns.pop("died", [0 if row[2] else -1 for row in rows])
    flags = {
        name: np.array(columns.pop(name, [name == "inpatient"] * n), dtype=np.bool_)
        for name in ("inpatient", "left_out", "planned", "transferred_in", "newborn")
    }
    assert not columns
    return Encounters(
        np.array([row[0] for row in rows], dtype=np.int64), at([row[1] for row in rows]), at([row[2] for row in rows]),
        np.array(died, dtype=np.int8), **flags,
    )  # fmt: skip


def answers(labels: StayLabels) -> list[int | Missing]:
    """Label, or the reason for its absence."""
    return [
        label if reason < 0 else REASONS[reason]
        for label, reason in zip(labels.label.tolist(), labels.reason.tolist(), strict=True)
    ]


def readmitted(encounters: Encounters, policy: LabelPolicy = END) -> list[int | Missing]:
    return answers(stay_labels(HospitalRecord(encounters), READMISSION, policy))


def test_every_task_of_the_registry_has_a_rule_and_its_bounds_give_its_options() -> None:
    assert {task.label_rule for task in BUILT_IN.values()} == set(LABEL_RULES)
    assert len(LENGTH.options) == len(LOS_UPPER_DAYS) + 1
    assert len(CHARLSON.options) == len(CHARLSON_UPPER) + 1
    assert READMISSION.horizon_days == 30


@pytest.mark.parametrize(
    ("back", "expected"),
    [
        ("2024-03-11T06:00", 1),
        ("2024-04-09T23:59", 1),  # the 30th calendar day
        ("2024-04-10T00:00", 0),  # the 31st
        ("2024-03-10T23:00", 0),  # the day of discharge: the same illness, not a return
        ("2024-03-11T01:30", 0),  # two hours after a discharge at 23:30: a transfer across midnight
    ],
)
def test_readmission_counts_calendar_days(back: str, expected: int) -> None:
    left = "2024-03-10T23:30" if back == "2024-03-11T01:30" else "2024-03-10T11:00"
    found = readmitted(stays((7, "2024-03-05T08:00", left), (7, back, "2024-05-20T10:00")))
    assert found == [expected, 0]


def test_another_patient_is_no_readmission() -> None:
    assert readmitted(stays((1, "2024-03-01", "2024-03-05"), (2, "2024-03-10", "2024-03-12"))) == [0, 0]


def test_the_order_of_the_rows_does_not_matter() -> None:
    found = readmitted(
        stays((7, "2024-04-01", "2024-04-02"), (8, "2024-01-01", "2024-01-02"), (7, "2024-03-05", "2024-03-10"))
    )
    assert found == [0, 0, 1]


def test_a_transferred_stay_is_judged_from_the_last_discharge() -> None:
    # Home on 20 March after a transfer on the 10th; back on 15 April: 26 days after going home, 36 after the transfer.
    moved = stays((7, "2024-03-01", "2024-03-10"), (7, "2024-03-10", "2024-03-20"), (7, "2024-04-15", "2024-04-16"))
    assert readmitted(moved) == [1, 1, 0]


def test_a_marked_transfer_may_arrive_the_next_day() -> None:
    rows = ((7, "2024-03-01T08:00", "2024-03-10T12:00"), (7, "2024-03-11T12:00", "2024-03-20T12:00"))
    assert readmitted(stays(*rows)) == [1, 0]
    assert readmitted(stays(*rows, transferred_in=[False, True])) == [0, 0]


def test_overlapping_and_nested_stays_are_one() -> None:
    # The short stay inside the long one ends first; home is only after the long one.
    nested = stays((7, "2024-03-01", "2024-03-20"), (7, "2024-03-05", "2024-03-07"), (7, "2024-03-12", "2024-03-14"))
    assert readmitted(nested) == [0, 0, 0]


def test_death_in_hospital_is_left_out_also_after_a_transfer() -> None:
    assert readmitted(stays((1, "2024-03-01", "2024-03-05"), died=[1])) == [Missing.DIED]
    moved = stays((1, "2024-03-01", "2024-03-05"), (1, "2024-03-05T00:30", "2024-03-09"), died=[0, 1])
    assert readmitted(moved) == [Missing.DIED, Missing.DIED]
    kept = END.model_copy(update={"in_hospital_deaths": "negative"})
    assert readmitted(moved, kept) == [0, 0]


def test_a_death_in_the_next_stay_is_still_a_readmission() -> None:
    found = readmitted(stays((1, "2024-03-01", "2024-03-05"), (1, "2024-03-15", "2024-03-17"), died=[0, 1]))
    assert found == [1, Missing.DIED]


@pytest.mark.parametrize(("left", "expected"), [("2024-12-01T12:00", 0), ("2024-12-02T12:00", Missing.CENSORED)])
def test_whose_thirty_days_are_not_over_is_censored(left: str, expected: int | Missing) -> None:
    # The record ends with 31 December: day 30 after 1 December is the last one seen whole.
    assert readmitted(stays((1, "2024-11-20", left))) == [expected]


def test_an_early_return_is_censored_too() -> None:
    # Kept, the last month of the record would be positives alone.
    found = readmitted(stays((1, "2024-12-01", "2024-12-20"), (1, "2024-12-25", None)))
    assert found == [Missing.CENSORED, Missing.NOT_OVER]


def test_a_return_that_is_not_over_counts() -> None:
    found = readmitted(stays((1, "2024-11-01", "2024-11-20"), (1, "2024-12-10", None)))
    assert found == [1, Missing.NOT_OVER]


def test_rehabilitation_and_outpatient_stays_are_neither_index_nor_return() -> None:
    rows = ((1, "2024-03-01", "2024-03-05"), (1, "2024-03-05", "2024-03-25"), (1, "2024-03-26", "2024-03-27"))
    assert readmitted(stays(*rows, left_out=[False, True, False])) == [1, Missing.LEFT_OUT_SERVICE, 0]
    later = stays((1, "2024-03-01", "2024-03-05"), (1, "2024-03-15", "2024-03-25"), left_out=[False, True])
    assert readmitted(later) == [0, Missing.LEFT_OUT_SERVICE]
    visit = stays((1, "2024-03-01", "2024-03-05"), (1, "2024-03-15", "2024-03-15"), inpatient=[True, False])
    assert readmitted(visit) == [0, Missing.NOT_INPATIENT]


def test_planned_returns_count_unless_the_hospital_says_otherwise() -> None:
    rows = stays(
        (1, "2024-03-01", "2024-03-05"), (1, "2024-03-10", "2024-03-11"), (1, "2024-03-20", "2024-03-21"),
        planned=[False, True, False],
    )  # fmt: skip
    assert readmitted(rows) == [1, 1, 0]
    unplanned = END.model_copy(update={"count_planned": False})
    assert readmitted(rows, unplanned) == [1, 1, 0]  # the unplanned one of 20 March is within 30 days of both
    only = stays((1, "2024-03-01", "2024-03-05"), (1, "2024-03-10", "2024-03-11"), planned=[False, True])
    assert readmitted(only) == [1, 0] and readmitted(only, unplanned) == [0, 0]


def test_newborn_stays_are_kept_unless_the_hospital_says_otherwise() -> None:
    birth = stays((1, "2024-03-01", "2024-03-03"), newborn=[True])
    assert readmitted(birth) == [0]
    assert readmitted(birth, END.model_copy(update={"leave_out_newborns": True})) == [Missing.NEWBORN]


def test_no_disposition_is_no_label_and_bad_times_spoil_nobody_else() -> None:
    rows = stays(
        (1, "2024-03-01", "2024-03-05"),
        (1, "2024-03-20", "2024-03-10"),
        (2, "2024-03-01", "2024-03-05"),
        died=[0, 0, -1],
    )
    assert readmitted(rows) == [0, Missing.BAD_TIMES, Missing.NO_DISPOSITION]


def test_no_stays_at_all() -> None:
    empty = stays()
    for task in BUILT_IN.values():
        assert answers(stay_labels(HospitalRecord(empty), task, END)) == []


def test_mortality_is_the_disposition() -> None:
    rows = stays(
        (1, "2024-03-01", "2024-03-05"),
        (2, "2024-03-01", "2024-03-05"),
        (3, "2024-03-01", None),
        (4, "2024-03-01", "2024-03-02"),
        died=[1, 0, -1, -1],
    )
    found = answers(stay_labels(HospitalRecord(rows), MORTALITY, END))
    assert found == [1, 0, Missing.NOT_OVER, Missing.NO_DISPOSITION]


@pytest.mark.parametrize(
    ("out", "midnights", "elapsed"),
    [
        ("2024-03-01T23:59", 0, 0),
        ("2024-03-03T07:00", 0, 0),
        ("2024-03-03T08:00", 0, 0),  # exactly two days: the bound is in the class
        ("2024-03-03T08:01", 0, 1),
        ("2024-03-04T00:01", 1, 1),  # three midnights, 2.7 days
        ("2024-03-04T08:00", 1, 1),
        ("2024-03-04T08:01", 1, 2),
        ("2024-03-05T00:00", 2, 2),
        ("2024-03-06T08:00", 2, 2),
        ("2024-03-06T08:01", 2, 3),
        ("2024-03-07T00:00", 3, 3),
    ],
)
def test_length_of_stay_at_the_edges(out: str, midnights: int, elapsed: int) -> None:
    record = HospitalRecord(stays((1, "2024-03-01T08:00", out)))
    assert answers(stay_labels(record, LENGTH, END)) == [midnights]
    exact = END.model_copy(update={"stay_length": "elapsed"})
    assert answers(stay_labels(record, LENGTH, exact)) == [elapsed]


def test_an_open_stay_has_no_length_and_a_death_has_one() -> None:
    rows = stays(
        (1, "2024-03-01", None), (2, "2024-03-05", "2024-03-01"), (3, "2024-03-01", "2024-03-09"), died=[-1, 0, 1]
    )
    assert answers(stay_labels(HospitalRecord(rows), LENGTH, END)) == [Missing.NOT_OVER, Missing.BAD_TIMES, 3]


def test_charlson_classes_and_stays_without_codes() -> None:
    codes = {
        0: ["I10"], 1: ["I50.9"], 2: ["I50.9", "J44.9"], 3: ["N18.4", "J44.9"], 4: ["N18.4", "E11.22"],
        5: ["C34.90", "N18.4", "J44.9"], 6: ["C79.51", "J44.9"], 7: ["C79.51", "N18.4"], 9: ["?"],
    }  # fmt: skip
    flat = [(stay, code) for stay, each in codes.items() for code in each]
    diagnoses = Diagnoses(
        np.array([stay for stay, _ in flat]), [code for _, code in flat], np.full(len(flat), 10, dtype=np.int8)
    )
    rows = stays(*[(stay, "2024-03-01", "2024-03-05") for stay in range(10)])
    # Index 0, 1, 2, 3, 4, 5, 7, 8, and two stays without a usable code.
    expected = [0, 1, 1, 2, 2, 3, 3, 4, Missing.NO_CODES, Missing.NO_CODES]
    assert answers(stay_labels(HospitalRecord(rows, diagnoses), CHARLSON, END)) == expected
    assert answers(stay_labels(HospitalRecord(rows), CHARLSON, END)) == [Missing.NO_CODES] * 10


def denied(*history: tuple[int, str, str | None], n: int = 1) -> list[int | Missing]:
    """The denial label of stay 0 to n - 1 from (claim, status, decided) of stay 0."""
    rows = stays(*[(stay, "2024-03-01", "2024-03-05") for stay in range(n)])
    status = np.array([CLAIM_STATUSES.index(ClaimStatus(each[1])) for each in history], dtype=np.int8)
    claims = Claims(
        np.zeros(len(history), dtype=np.int64), np.array([each[0] for each in history], dtype=np.int64), status,
        at([each[2] for each in history]),
    )  # fmt: skip
    return answers(stay_labels(HospitalRecord(rows, claims=claims), DENIAL, END))


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([(1, "paid", "2024-04-01")], 0),
        ([(1, "final-adverse", "2024-04-01")], 1),
        ([(1, "final-favourable", "2024-04-01")], 1),
        ([(1, "denied", "2024-04-01")], Missing.CLAIM_OPEN),
        ([(1, "pending", None)], Missing.CLAIM_OPEN),
        ([(1, "unknown", "2024-04-01")], Missing.STATUS_UNKNOWN),
        ([(1, "void", "2024-04-01")], Missing.NO_CLAIM),
        ([(1, "paid", "2024-06-01"), (1, "denied", "2024-04-01")], 1),  # won on appeal; rows out of order
        ([(1, "denied", "2024-06-01"), (1, "pending", "2024-04-01")], Missing.CLAIM_OPEN),
        ([(1, "pending", None), (1, "paid", None)], 0),  # undated: the order of rows
        ([(1, "paid", "2024-04-01"), (2, "final-adverse", "2024-05-01")], 1),
        ([(1, "paid", "2024-04-01"), (2, "pending", None)], Missing.CLAIM_OPEN),
        ([(1, "final-adverse", "2024-04-01"), (2, "pending", None)], 1),
        ([(1, "void", "2024-04-01"), (2, "paid", "2024-05-01")], 0),
        ([(1, "paid", "2024-04-01"), (2, "unknown", "2024-05-01")], Missing.STATUS_UNKNOWN),
    ],
)
def test_denial_from_the_claims_of_a_stay(history: list[tuple[int, str, str | None]], expected: int | Missing) -> None:
    assert denied(*history) == [expected]


def test_a_stay_without_claims_has_no_denial_label() -> None:
    assert denied((1, "paid", "2024-04-01"), n=2) == [0, Missing.NO_CLAIM]
    assert denied() == [Missing.NO_CLAIM]


def of_notes(
    task: Task, encounters: Encounters, moments: list[str], stay: list[int] | None = None, dates: bool = False,
    policy: LabelPolicy = END, note_type: str | None = None,
) -> list[int | Missing | None]:  # fmt: skip
    """The task's label of each note; None for one that the task does not ask about."""
    earliest = at([*moments])
    latest = earliest + np.timedelta64(86_399, "s") if dates else earliest
    kinds = np.array([note_type or task.note_types[0]] * len(moments))
    notes = NoteTimes(np.array(stay or [0] * len(moments)), kinds, earliest, latest)
    found = note_labels(HospitalRecord(encounters), notes, task, policy)
    return [
        REASONS[reason] if reason >= 0 else None if label < 0 else label
        for label, reason in zip(found.label.tolist(), found.reason.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2024-02-08T07:00", Missing.BEFORE_ADMISSION),  # more than 30 days before
        ("2024-02-27T12:00", 3),
        ("2024-03-10T20:00", 3),
        ("2024-03-11T08:00", 3),  # exactly 24 hours
        ("2024-03-11T08:01", Missing.LATE_AFTER_ADMISSION),
        ("2024-03-20T12:00", Missing.AFTER_END),
        ("2024-04-20T12:00", Missing.AFTER_END),
    ],
)
def test_an_admission_note_must_be_of_the_admission(written: str, expected: int | Missing) -> None:
    rows = stays((1, "2024-03-10T08:00", "2024-03-20T12:00"))
    assert of_notes(LENGTH, rows, [written]) == [expected]


def test_the_bound_on_admission_notes_is_a_setting() -> None:
    rows = stays((1, "2024-03-10T08:00", "2024-03-20T12:00"))
    five_days = END.model_copy(update={"admission_note_hours_after": 120.0})
    assert of_notes(LENGTH, rows, ["2024-03-15T08:00"], policy=five_days) == [3]
    assert of_notes(LENGTH, rows, ["2024-03-15T08:01"], policy=five_days) == [Missing.LATE_AFTER_ADMISSION]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2024-03-18T12:00", Missing.BEFORE_DISCHARGE),
        ("2024-03-19T13:00", 1),
        ("2024-03-22T09:00", 1),
        ("2024-03-24T10:00", Missing.AFTER_OUTCOME),  # the moment of the return
        ("2024-03-26T10:00", Missing.AFTER_OUTCOME),
        ("2024-04-26T10:00", Missing.AFTER_OUTCOME),
    ],
)
def test_a_discharge_summary_must_be_of_the_discharge(written: str, expected: int | Missing) -> None:
    rows = stays((1, "2024-03-10T08:00", "2024-03-20T12:00"), (1, "2024-03-24T10:00", "2024-03-27T10:00"))
    assert of_notes(READMISSION, rows, [written]) == [expected]


def test_a_late_summary_of_somebody_who_stayed_away_is_left_out_as_well() -> None:
    rows = stays((1, "2024-03-10T08:00", "2024-03-20T12:00"))
    found = of_notes(
        READMISSION,
        rows,
        ["2024-03-27T12:00", "2024-03-27T12:01"],
        policy=END.model_copy(update={"one_note_a_stay": False}),
    )
    assert found == [0, Missing.LATE_AFTER_DISCHARGE]


def test_a_note_with_a_date_alone_may_be_of_any_hour_of_it() -> None:
    rows = stays((1, "2024-03-10T08:00", "2024-03-20T12:00"), (1, "2024-03-24T10:00", "2024-03-27T10:00"))
    assert of_notes(READMISSION, rows, ["2024-03-20"], dates=True) == [1]
    assert of_notes(READMISSION, rows, ["2024-03-24"], dates=True) == [Missing.AFTER_OUTCOME]
    assert of_notes(LENGTH, rows, ["2024-03-10"], dates=True) == [3]
    assert of_notes(LENGTH, rows, ["2024-03-11"], dates=True) == [Missing.LATE_AFTER_ADMISSION]


def test_one_note_a_stay_the_first_admission_note_and_the_last_summary() -> None:
    rows = stays((1, "2024-03-10T08:00", "2024-03-20T12:00"), (2, "2024-03-10T08:00", "2024-03-12T12:00"))
    moments = ["2024-03-10T20:00", "2024-03-10T09:00", "2024-03-10T10:00", "2024-04-01T10:00"]
    assert of_notes(LENGTH, rows, moments, stay=[0, 0, 1, 0]) == [Missing.OTHER_NOTE, 3, 0, Missing.AFTER_END]
    summaries = ["2024-03-20T10:00", "2024-03-21T10:00", "2024-03-12T10:00", "2024-04-21T10:00"]
    assert of_notes(READMISSION, rows, summaries, stay=[0, 0, 1, 0]) == [
        Missing.OTHER_NOTE, 0, 0, Missing.LATE_AFTER_DISCHARGE,
    ]  # fmt: skip


def test_a_note_of_another_type_is_not_asked() -> None:
    rows = stays((1, "2024-03-10T08:00", "2024-03-20T12:00"))
    assert of_notes(LENGTH, rows, ["2024-03-10T09:00"], note_type=DISCHARGE_SUMMARY.loinc) == [None]
    assert of_notes(READMISSION, rows, ["2024-03-20T12:00"], note_type=HISTORY_AND_PHYSICAL.loinc) == [None]


def test_a_note_written_after_the_claim_was_decided_has_no_denial_label() -> None:
    rows = stays((1, "2024-03-10T08:00", "2024-03-20T12:00"))
    claims = Claims(
        np.array([0]), np.array([0]), np.array([CLAIM_STATUSES.index(ClaimStatus.FINAL_ADVERSE)], dtype=np.int8),
        at(["2024-03-10T12:00"]),
    )  # fmt: skip
    moments = at(["2024-03-10T11:00", "2024-03-10T13:00"])
    notes = NoteTimes(np.array([0, 0]), np.array([HISTORY_AND_PHYSICAL.loinc] * 2), moments, moments)
    policy = END.model_copy(update={"one_note_a_stay": False})
    found = note_labels(HospitalRecord(rows, claims=claims), notes, DENIAL, policy)
    assert found.label.tolist() == [1, -1]
    assert found.missing() == {Missing.AFTER_OUTCOME.value: 1}


def test_a_task_without_a_rule_has_no_labels_unless_the_hospital_gives_them() -> None:
    task = LENGTH.model_copy(update={"name": "icu_transfer", "label_rule": "icu_transfer"})
    rows = stays((1, "2024-03-10T08:00", "2024-03-20T12:00"))
    assert answers(stay_labels(HospitalRecord(rows), task, END)) == [Missing.NO_RULE]
    given = StayLabels(np.array([1], np.int8), np.array([-1], np.int8), at([None]))
    assert answers(stay_labels(HospitalRecord(rows, given={"icu_transfer": given}), task, END)) == [1]


def test_reasons_are_counted() -> None:
    late = ("2024-12-01", "2024-12-20")
    rows = stays((1, *late), (2, *late), (3, "2024-01-01", "2024-01-02"), died=[0, 0, 1])
    found = stay_labels(HospitalRecord(rows), READMISSION, END)
    assert count_reasons(found.reason) == {Missing.CENSORED.value: 2, Missing.DIED.value: 1}


def test_a_label_and_a_reason_are_never_both_there_and_half_a_million_stays_take_seconds() -> None:
    n = 500_000
    rng = np.random.default_rng(1)
    admitted = np.datetime64("2015-01-01", "s") + rng.integers(0, 86_400 * 3600, n).astype("timedelta64[s]")
    discharged = admitted + rng.integers(0, 86_400 * 12, n).astype("timedelta64[s]")
    yes = np.ones(n, dtype=np.bool_)
    rows = Encounters(
        rng.integers(0, 200_000, n), admitted, discharged, (rng.random(n) < 0.02).astype(np.int8), yes,
        rng.random(n) < 0.05, ~yes, rng.random(n) < 0.1, ~yes,
    )  # fmt: skip
    owner = np.repeat(np.arange(n), 4)
    pool = ["I10", "I50.9", "E11.9", "E11.22", "C79.51", "N18.6", "J44.9"]
    codes = Diagnoses(owner, [pool[k] for k in rng.integers(0, 7, 4 * n).tolist()], np.full(4 * n, 10, np.int8))
    claims = Claims(np.arange(n), np.arange(n), rng.integers(0, 7, n).astype(np.int8), discharged)
    record = HospitalRecord(rows, codes, claims)
    started = time.process_time()
    for task in BUILT_IN.values():
        found = stay_labels(record, task, END)
        assert ((found.label >= 0) == (found.reason < 0)).all()
        assert found.label.max() == len(task.options) - 1
    assert time.process_time() - started < 20


def test_episodes_agree_with_a_plain_loop_over_random_stays() -> None:
    rng = np.random.default_rng(7)
    rows = []
    for _ in range(400):
        start = np.datetime64("2024-01-01") + rng.integers(0, 200)
        rows.append((int(rng.integers(0, 60)), str(start), str(start + rng.integers(0, 15))))
    found = readmitted(stays(*rows))
    for row, (patient, _, out) in enumerate(rows):
        others = sorted((start, end) for who, start, end in rows if who == patient)
        home = out
        while moved := [end for start, end in others if start <= home and end > home]:
            home = max(moved)
        back = [start for start, _ in others if start > home]
        days = (np.datetime64(min(back)) - np.datetime64(home)).astype(int) if back else 999
        assert found[row] == int(days <= 30)
