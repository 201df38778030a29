"""Recorded files: joined by encounter and task, and refused with file, column and row but no value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lang1.tasks import BUILT_IN
from monitoring.errors import MonitorInputError
from monitoring.history import EXCLUDED, NO_LABEL, History, read_history
from tests.monitoring.streams import READMISSION, STAY, Hospital, simulate, write_files

HEAD = "time,encounter,patient,task,note_type,model_version,probabilities,note_tokens,truncated,shown"
HP, DISCHARGE = STAY.note_types[0], READMISSION.note_types[0]
LOS = '"[0.4, 0.3, 0.2, 0.1]"'
FIRST = f"2026-03-16T08:00:00+00:00,e1,SECRET,{STAY.name},{HP},1.0,{LOS},300,false,true"
SECOND = f'2026-03-16T09:00:00Z,e1,SECRET,{READMISSION.name},{DISCHARGE},1.0,"[0.9, 0.1]",511,true,0'
OUTCOME_HEAD = "encounter,task,value,known_at,discharged_at"
OUTCOME = f"e1,{STAY.name},days-3,2026-03-19T00:00:00+00:00,2026-03-19T00:00:00+00:00"


def read(folder: Path, rows: list[str], outcomes: list[str] | None = None, head: str = HEAD, **rest: object) -> History:
    (folder / "p.csv").write_text("\n".join([head, *rows]) + "\n")
    labels = [OUTCOME] if outcomes is None else outcomes
    (folder / "o.csv").write_text("\n".join([OUTCOME_HEAD, *labels]) + "\n")
    return read_history(folder / "p.csv", folder / "o.csv", BUILT_IN, **rest)  # type: ignore[arg-type]


def test_predictions_and_outcomes_are_joined_by_encounter_and_task(tmp_path: Path) -> None:
    later = FIRST.replace("T08", "T10")
    wrong_type = SECOND.replace(DISCHARGE, "11506-3").replace("T09", "T11")
    stranger = f"e9,{STAY.name},excluded,2026-03-19T00:00:00+00:00,"
    history = read(tmp_path, [later, SECOND, FIRST, wrong_type], [OUTCOME, stranger])
    stay, readmission = history.tasks[STAY.name], history.tasks[READMISSION.name]
    assert stay.label.tolist() == [1, 1] and stay.labelable.tolist() == [True, False]  # one label an encounter
    assert stay.shown.tolist() == [True, True] and np.all(np.diff(stay.time_s) > 0)
    assert readmission.label.tolist() == [NO_LABEL] and np.isinf(readmission.known_s).all()
    # The discharge is known from the other task's outcome.
    assert readmission.discharged_s[0] == stay.known_s[0]
    assert len(history.notes) == 4 and history.notes.truncated.sum() == 2
    assert history.unmatched_outcomes == 1


def test_codes_indices_and_excluded_are_outcomes(tmp_path: Path) -> None:
    for value, label in (("days-over-5", 3), ("2", 2), ("excluded", EXCLUDED)):
        history = read(tmp_path, [FIRST], [OUTCOME.replace("days-3", value)])
        assert history.tasks[STAY.name].label.tolist() == [label]


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        ([FIRST.replace("08:00:00+00:00", "08:00:00")], "p.csv: column time, row 1: must be a time with its offset"),
        ([FIRST, FIRST.replace(STAY.name, "SECRET")], "column task, row 2: is no known task"),
        ([FIRST.replace("0.1]", "0.2]")], "column probabilities, row 1: must be 4 numbers from 0 to 1 that sum to 1"),
        ([FIRST.replace(LOS, "[0.5; 0.5]")], "column probabilities, row 1: must be a list of numbers"),
        ([FIRST.replace(LOS, '"[0.5, 0.5]"')], "column probabilities, row 1: must be 4 numbers"),
        ([FIRST.replace(LOS, '"[NaN, 0.5, 0.2, 0.3]"')], "column probabilities, row 1"),
        ([FIRST.replace(",300,", ",many,")], "column note_tokens, row 1: must be a number from 0"),
        ([FIRST.replace(",false,", ",maybe,")], "column truncated, row 1: must be true or false"),
        ([FIRST[: -len("true")]], "column shown, row 1: must be true or false"),
        ([FIRST, FIRST.replace(",1.0,", ",2.0,")], "column model_version holds 2 versions; choose one"),
        ([FIRST + ",extra"], "p.csv: row 1 has 11 fields, the header 10"),
        ([], "p.csv: no rows"),
        ([FIRST.replace(HP, "11506-3")], "column note_type: no prediction is of a note type"),
    ],
)
def test_a_bad_prediction_is_named_and_not_quoted(rows: list[str], where: str, tmp_path: Path) -> None:
    with pytest.raises(MonitorInputError) as caught:
        read(tmp_path, rows)
    assert where in str(caught.value)
    assert "SECRET" not in str(caught.value) and "e1" not in str(caught.value).split()


@pytest.mark.parametrize(
    ("outcomes", "where"),
    [
        ([OUTCOME.replace("days-3", "4")], "o.csv: column value, row 1: must be an option's code or index"),
        ([OUTCOME, OUTCOME], "o.csv: column encounter, row 2: has an outcome of this task already"),
        ([OUTCOME.replace("e1,", ",")], "o.csv: column encounter, row 1: is empty"),
        ([OUTCOME.replace("2026-03-19T00:00:00+00:00", "soon", 1)], "o.csv: column known_at, row 1: must be a time"),
    ],
)
def test_a_bad_outcome_is_named(outcomes: list[str], where: str, tmp_path: Path) -> None:
    with pytest.raises(MonitorInputError) as caught:
        read(tmp_path, [FIRST], outcomes)
    assert where in str(caught.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(MonitorInputError, match=r"p\.csv: column shown is missing"):
        read(tmp_path, [FIRST[: -len(",true")]], head=HEAD.removesuffix(",shown"))
    with pytest.raises(MonitorInputError, match=r"p\.csv: column sex is missing"):
        read(tmp_path, [FIRST], subgroups=("sex",))


def test_a_version_can_be_chosen(tmp_path: Path) -> None:
    rows = [FIRST, FIRST.replace(",1.0,", ",2.0,")]
    assert read(tmp_path, rows, model_version="2.0").model_version == "2.0"
    with pytest.raises(MonitorInputError, match="no row of the chosen version"):
        read(tmp_path, rows, model_version="3.0")


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    pq, csv = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow.csv")
    made = simulate(Hospital(1, 5, 20, tasks=(STAY, READMISSION)))
    paths = write_files(made, tmp_path)
    from_csv = read_history(*paths, BUILT_IN)
    for path in paths:
        pq.write_table(csv.read_csv(path), path.with_suffix(".parquet"))
    from_parquet = read_history(*(path.with_suffix(".parquet") for path in paths), BUILT_IN)
    for name, each in made.tasks.items():
        np.testing.assert_array_equal(from_csv.tasks[name].label, each.label)
        np.testing.assert_allclose(from_csv.tasks[name].known_s, each.known_s, atol=1e-3)
        np.testing.assert_array_equal(from_parquet.tasks[name].label, each.label)
        np.testing.assert_allclose(from_parquet.tasks[name].time_s, from_csv.tasks[name].time_s, atol=1e-3)
        np.testing.assert_allclose(from_parquet.tasks[name].adverse, from_csv.tasks[name].adverse)
