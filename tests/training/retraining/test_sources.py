"""A dataset folder and an export as sources: what is labelled, and when each label was known."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from lang1.bundle import file_sha256
from lang1.tasks import BUILT_IN
from monitoring.cohorts import DAY_S
from tests.training.retraining.hospital import Hospital, write_hospital
from tests.training.sources import records
from training.dataset import open_dataset
from training.recipe import RecipeError
from training.retraining.folder_source import OUTCOMES_FILE, FolderSource
from training.retraining.mapping_source import MappingSource
from training.retraining.source import NoteSource
from training.synth.arrow import pa, pc, pq

RULES = {task.label_rule: task.name for task in BUILT_IN.values()}


def day_s(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_hospital(Hospital(date(2024, 1, 1), date(2024, 3, 31), 150, seed=3), tmp_path / "notes")


def source_of(folder: Path) -> FolderSource:
    return FolderSource(open_dataset(folder, BUILT_IN), BUILT_IN, 3407)


def test_a_folder_with_outcomes_says_when_each_was_known(folder: Path) -> None:
    rows = source_of(folder).rows
    summaries = rows.labels["readmission_30d"] >= 0
    assert np.isnan(rows.known_s["readmission_30d"][~summaries]).all()
    assert np.allclose(rows.known_s["readmission_30d"][summaries], rows.authored_s[summaries] + 31 * DAY_S)
    assert np.allclose(rows.discharged_s[summaries], rows.authored_s[summaries])
    admissions = ~summaries
    assert np.allclose(rows.known_s["length_of_stay"][admissions], rows.discharged_s[admissions])
    assert rows.parts.keys() == {"band"} and set(rows.parts["band"]) == {"young", "old"}


def test_an_outcome_that_the_file_does_not_have_is_open(folder: Path) -> None:
    table = pq.read_table(folder / OUTCOMES_FILE)
    gone = pc.and_(pc.equal(table["task"], "insurance_denial"), pc.starts_with(table["encounter"], "e1"))
    pq.write_table(table.filter(pc.invert(gone)), folder / OUTCOMES_FILE)
    rows = source_of(folder).rows
    asked = rows.labels["insurance_denial"] >= 0
    assert np.isinf(rows.known_s["insurance_denial"][asked]).sum() == 1 + 10 + 50
    assert np.isfinite(rows.known_s["length_of_stay"][asked]).all()


def test_a_folder_without_outcomes_goes_by_the_calendar(folder: Path) -> None:
    (folder / OUTCOMES_FILE).unlink()
    rows = source_of(folder).rows
    asked = rows.labels["length_of_stay"] >= 0
    # The stay's end is that of its discharge summary; a claim waits its half year.
    assert np.allclose(rows.known_s["length_of_stay"][asked], rows.discharged_s[asked])
    assert np.allclose(rows.known_s["insurance_denial"][asked], rows.authored_s[asked] + 180 * DAY_S)


def test_columns_of_the_notes_go_before_the_calendar(folder: Path) -> None:
    (folder / OUTCOMES_FILE).unlink()
    table = pq.read_table(folder / "notes.parquet")
    later = pc.add(table["authored"], pa.scalar(9 * 86_400, pa.duration("s")))
    table = table.append_column("known_insurance_denial", later).append_column("discharged", later)
    pq.write_table(table, folder / "notes.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["notes_sha256"] = file_sha256(folder / "notes.parquet")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rows = source_of(folder).rows
    asked = rows.labels["insurance_denial"] >= 0
    assert np.allclose(rows.known_s["insurance_denial"][asked], rows.authored_s[asked] + 9 * DAY_S)
    assert np.allclose(rows.known_s["length_of_stay"][asked], rows.authored_s[asked] + 9 * DAY_S)


def test_outcomes_of_another_shape_are_an_error(folder: Path) -> None:
    pq.write_table(pa.table({"encounter": ["e1"]}), folder / OUTCOMES_FILE)
    with pytest.raises(RecipeError, match="its columns are encounter, task, known_at, discharged_at"):
        source_of(folder)


def read(source: NoteSource, rows: list[int]) -> list[tuple[int, str]]:
    return [
        (row, note)
        for at, table in source.read(np.array(rows))
        for row, note in zip(at.tolist(), table["note_id"].to_pylist(), strict=True)
    ]


def test_only_the_wanted_notes_are_read_in_their_order(folder: Path) -> None:
    source = source_of(folder)
    ids = pq.read_table(folder / "notes.parquet", columns=["note_id"])["note_id"].to_pylist()
    assert read(source, [0, 7, 299]) == [(row, ids[row]) for row in (0, 7, 299)]
    assert read(source, []) == []
    assert source.about["source_sha256"] == source.sha256


def test_an_export_says_when_its_outcomes_were_final(tmp_path: Path) -> None:
    source = MappingSource(records.write_export(tmp_path), BUILT_IN, 3407)
    rows = source.rows
    ids = dict(read(source, list(range(len(rows)))))
    at = {note: row for row, note in ids.items()}
    stay, denial, returns = RULES["length_of_stay"], RULES["insurance_denial"], RULES["readmission"]
    # E1: left on 4 May 2023, noon in New York; its claim was denied in June and paid in September.
    assert rows.known_s[stay][at["N1"]] == day_s("2023-05-04T16:00")
    assert rows.known_s[denial][at["N1"]] == day_s("2023-09-01T04:00")
    assert rows.known_s[returns][at["N2"]] == day_s("2023-05-04T16:00") + 37 * DAY_S
    assert (rows.labels[denial][at["N1"]], rows.labels[returns][at["N2"]]) == (1, 1)
    # Open: a stay that is not over, a claim that is pending, days after discharge that are not over.
    assert math.isinf(rows.known_s[stay][at["N6"]])
    assert math.isinf(rows.known_s[denial][at["N4"]])
    assert math.isinf(rows.known_s[returns][at["N7"]])
    # Not asked: another note type.
    assert math.isnan(rows.known_s[stay][at["N2"]]) and math.isnan(rows.known_s[returns][at["N1"]])
    # Codes take their month.
    assert rows.known_s[RULES["charlson_comorbidity_index"]][at["N1"]] == day_s("2023-05-04T16:00") + 30 * DAY_S


def test_another_export_is_another_source(tmp_path: Path) -> None:
    one = MappingSource(records.write_export(tmp_path / "one"), BUILT_IN, 1)
    same = MappingSource(records.write_export(tmp_path / "two"), BUILT_IN, 1)
    other = MappingSource(records.write_export(tmp_path / "three", observed_until=date(2024, 7, 30)), BUILT_IN, 1)
    assert one.sha256 == same.sha256 != other.sha256
