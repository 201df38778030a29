from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lang1.errors import Lang1Error
from lang1.label_rules import Missing
from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from lang1.tasks import BUILT_IN
from tests.training.sources import records
from training.sources import columns
from training.sources.dataset import DatasetManifest, write_source
from training.sources.mimic3 import mimic3_policy, mimic3_splits, note_rank, read_mimic3
from training.synth.generate import read_notes

RULES = {task.label_rule: task.name for task in BUILT_IN.values()}


def build(folder: Path, out: Path, deaths: Any = "leave-out") -> tuple[DatasetManifest, dict[str, dict[str, Any]]]:
    manifest = write_source(read_mimic3(folder), out, mimic3_policy(deaths), mimic3_splits(BUILT_IN))
    return manifest, {row["note_id"]: row for row in read_notes(out).to_pylist()}


def labels(rows: dict[str, dict[str, Any]], rule: str) -> dict[str, int]:
    """Labels by NOTEEVENTS row id."""
    found = {note: row[f"label_{RULES[rule]}"] for note, row in rows.items()}
    return {note: label for note, label in found.items() if label >= 0}


@pytest.fixture
def mimic(tmp_path: Path) -> Path:
    return records.write_mimic3(tmp_path / "mimic")


def test_the_papers_three_sets(mimic: Path, tmp_path: Path) -> None:
    manifest, rows = build(mimic, tmp_path / "out")
    # Stay 100 is followed by stay 101 after 12 days; of stay 101 the later summary; the dead patient is left out.
    assert labels(rows, "readmission") == {"1": 1, "4": 0, "6": 0}
    assert labels(rows, "in_hospital_mortality") == {"22": 0, "27": 1, "28": 0}
    # 7.2 days; exactly 2 days; exactly 3 days.
    assert labels(rows, "length_of_stay") == {"22": 3, "27": 0, "28": 1}
    # Heart failure and diabetes are 2, metastatic disease 6; stay 200 has no code.
    assert labels(rows, "charlson_comorbidity_index") == {"22": 1, "28": 3}
    assert labels(rows, "insurance_denial") == {}
    assert {row["note_type"] for row in rows.values()} == {DISCHARGE_SUMMARY.loinc, HISTORY_AND_PHYSICAL.loinc}
    assert manifest.missing[RULES["readmission"]] == {Missing.DIED.value: 1}
    assert manifest.missing[RULES["length_of_stay"]] == {Missing.AFTER_END.value: 1}


def test_every_record_left_out_is_counted(mimic: Path, tmp_path: Path) -> None:
    manifest, rows = build(mimic, tmp_path / "out")
    assert manifest.dropped["ADMISSIONS"] == {"discharge before admission": 1, "admitted after the recorded death": 1}
    notes = manifest.dropped["NOTEEVENTS"]
    assert notes["addendum to a discharge summary"] == notes["ISERROR is 1"] == notes["no HADM_ID"] == 1
    left = sum(notes.values()) + sum(manifest.dropped["notes"].values())
    assert left + len(rows) == len(records.MIMIC_NOTES)


def test_deaths_may_be_kept_as_the_published_set_did(mimic: Path, tmp_path: Path) -> None:
    _, rows = build(mimic, tmp_path / "out", "negative")
    assert labels(rows, "readmission") == {"1": 1, "4": 0, "5": 0, "6": 0}


def test_texts_with_quotes_commas_and_line_breaks_come_through(mimic: Path, tmp_path: Path) -> None:
    _, rows = build(mimic, tmp_path / "out")
    assert rows["1"]["text"] == (
        'Patient of one was treated for pneumonia. She said "better", ate well, and went home, on 1,000 mg. Dr. X'
    )


def test_plain_and_compressed_files_and_small_blocks_give_the_same(
    mimic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, compressed = build(mimic, tmp_path / "a")
    plain = records.write_mimic3(tmp_path / "plain", gz=False)
    monkeypatch.setattr(columns, "CSV_BLOCK_BYTES", 1024)
    _, streamed = build(plain, tmp_path / "b")
    assert streamed == compressed


def test_splits_are_by_patient(mimic: Path, tmp_path: Path) -> None:
    _, rows = build(mimic, tmp_path / "out")
    of_patient: dict[str, set[str]] = {}
    for row in rows.values():
        of_patient.setdefault(row["patient_id"], set()).add(row["split"])
    assert all(not ("train" in found and "test" in found) for found in of_patient.values())


@pytest.mark.parametrize(
    ("category", "description", "expected"),
    [
        ("Physician ", "Physician Resident/Attending Admission Note - MICU", 0),
        ("Physician ", "Physician Resident Admission Note", 1),
        ("Physician ", "Physician Attending Admission Note", 2),
        ("Physician ", "Fellow Admission Note", 3),
        ("Physician ", "Admission H&P", 4),
        ("Physician ", "Admission Note", 5),
        ("General", "Resident/Attending Admission Note", 6),
        ("Nursing/other", "Admission", 17),
        ("Radiology", "Admission film", None),
        ("Physician ", "Readmission Note", None),
        ("Physician ", "Progress Note", None),
        (None, None, None),
    ],
)
def test_admission_notes_are_taken_in_the_papers_order(
    category: str | None, description: str | None, expected: int | None
) -> None:
    assert note_rank(category, description) == expected


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("ADMISSIONS.csv", "ADMITTIME", "ADMIT", "ADMISSIONS.csv: no column 'ADMITTIME'"),
        ("ADMISSIONS.csv", "2150-01-20 10:00:00", "20.1.2150", "ADMISSIONS.csv: record 2: ADMITTIME is not a time"),
        ("ADMISSIONS.csv", "101,", "100,", "ADMISSIONS.csv: record 2: HADM_ID was there before"),
        ("PATIENTS.csv", "2101-05-03", "May", "PATIENTS.csv: record 2: DOD_HOSP is not a time"),
        ("NOTEEVENTS.csv", "2150-01-09", "9 Jan", "NOTEEVENTS.csv: record 2: CHARTDATE is not a time"),
        ("NOTEEVENTS.csv", "TEXT", "NOTE", "NOTEEVENTS.csv: no column 'TEXT'"),
    ],
)
def test_bad_input_is_named_by_file_and_record_and_never_repeated(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    folder = records.write_mimic3(tmp_path, gz=False)
    spoil(folder / file, old, new)
    with pytest.raises(Lang1Error) as caught:
        read_mimic3(folder)
    assert message in str(caught.value)
    for secret in ("20.1.2150", "9 Jan", "pneumonia", "May"):
        assert secret not in str(caught.value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    folder = records.write_mimic3(tmp_path)
    (folder / "NOTEEVENTS.csv.gz").write_bytes((folder / "NOTEEVENTS.csv.gz").read_bytes()[:200])
    with pytest.raises(Lang1Error, match=r"NOTEEVENTS.csv.gz: cannot be read"):
        read_mimic3(folder)
    (folder / "PATIENTS.csv").unlink()
    with pytest.raises(Lang1Error, match=r"PATIENTS.csv or PATIENTS.csv.gz is not in the folder"):
        read_mimic3(folder)


def test_a_broken_record_does_not_show_its_words(tmp_path: Path) -> None:
    folder = records.write_mimic3(tmp_path, gz=False)
    with (folder / "NOTEEVENTS.csv").open("a") as file:
        file.write("1,2,Mr Smith has\n")
    with pytest.raises(Lang1Error, match=r"NOTEEVENTS.csv: cannot be read") as caught:
        read_mimic3(folder)
    assert "Smith" not in str(caught.value)
