from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import yaml

from lang1.errors import Lang1Error
from lang1.label_rules import Missing
from lang1.tasks import BUILT_IN, TaskRegistry, load_tasks
from tests.training.sources import records
from training.sources.dataset import DatasetManifest, write_source
from training.sources.errors import MappingError
from training.sources.mapping import load_mapping
from training.sources.tables import policy_of, read_tables
from training.synth.generate import labelled, read_notes

RULES = {task.label_rule: task.name for task in BUILT_IN.values()}
SECRETS = ("P-1", "P-9", "pneumonia", "dyspnea", "E1", "31st")


def build(mapping: Path, out: Path, registry: TaskRegistry = BUILT_IN) -> tuple[DatasetManifest, list[dict[str, Any]]]:
    loaded = load_mapping(mapping)
    source = read_tables(loaded, mapping.parent, registry)
    manifest = write_source(source, out, policy_of(loaded), loaded.splits, registry)
    return manifest, read_notes(out).to_pylist()


def labels(rows: list[dict[str, Any]], task: str) -> dict[str, tuple[str, int]]:
    return {row["note_id"]: (row["split"], row[f"label_{task}"]) for row in rows if row[f"label_{task}"] >= 0}


def test_an_export_becomes_labelled_notes(tmp_path: Path) -> None:
    manifest, rows = build(records.write_export(tmp_path), tmp_path / "out")
    late = "temporal_2024"
    assert labels(rows, RULES["readmission"]) == {"N2": ("train", 1), "N5": (late, 0)}
    assert labels(rows, RULES["in_hospital_mortality"]) == {
        "N1": ("train", 0), "N3": ("train", 1), "N4": (late, 0), "N10": ("train", 0),
    }  # fmt: skip
    # Five midnights from 28 December to 2 January: the stay's notes of both years are in the year of its end.
    assert labels(rows, RULES["length_of_stay"])["N4"] == (late, 2)
    assert labels(rows, RULES["charlson_comorbidity_index"]) == {"N1": ("train", 2), "N3": ("train", 1)}
    assert labels(rows, RULES["insurance_denial"]) == {"N1": ("train", 1), "N3": ("train", 0)}
    assert manifest.missing[RULES["readmission"]] == {Missing.CENSORED.value: 1}
    assert manifest.missing[RULES["insurance_denial"]] == {
        Missing.NO_CLAIM.value: 1, Missing.CLAIM_OPEN.value: 1, Missing.STATUS_UNKNOWN.value: 1,
    }  # fmt: skip
    assert manifest.dropped["notes"]["note type not in the map"] == 1
    assert manifest.dropped["notes"]["encounter not taken"] == 1


def test_times_are_the_hospitals_own_and_stored_in_utc(tmp_path: Path) -> None:
    _, rows = build(records.write_export(tmp_path), tmp_path / "out")
    by_id = {row["note_id"]: row["authored"] for row in rows}
    assert by_id["N1"].isoformat() == "2023-05-01T13:30:00+00:00"
    assert by_id["N5"].isoformat() == "2024-01-02T17:30:00+00:00"


def test_midnights_are_those_of_the_hospitals_clock(tmp_path: Path) -> None:
    # The same stay with offsets: 2 May 03:00 UTC is still 1 May in New York, so there are three midnights, not two.
    path = records.write_export(tmp_path)
    stays = tmp_path / "stays.csv"
    stays.write_text(stays.read_text().replace("2023-05-01T08:00", "2023-05-02T03:00+00:00"))
    _, rows = build(path, tmp_path / "out")
    assert labels(rows, RULES["length_of_stay"])["N1"][1] == 1


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    _, from_csv = build(records.write_export(tmp_path / "csv"), tmp_path / "a")
    path = records.write_export(
        tmp_path / "parquet", notes={"file": "notes.parquet"}, encounters={"file": "stays.parquet"}
    )
    for name, file in (("stays", "stays.csv"), ("notes", "notes.csv.gz")):
        quoted = pa_csv.ParseOptions(newlines_in_values=True)
        pq.write_table(pa_csv.read_csv(path.parent / file, parse_options=quoted), path.parent / f"{name}.parquet")
    _, from_parquet = build(path, tmp_path / "b")
    assert from_parquet == from_csv


def test_several_files_are_one_table(tmp_path: Path) -> None:
    path = records.write_export(tmp_path, notes={"file": ["one.csv", "two.csv"]})
    header = ("NOTE", "PAT", "CSN", "TIME", "TYPE", "TEXT")
    records.write_csv(tmp_path / "one.csv", header, records.NOTES[:3])
    records.write_csv(tmp_path / "two.csv", header, records.NOTES[3:])
    _, split = build(path, tmp_path / "a")
    _, whole = build(records.write_export(tmp_path / "whole"), tmp_path / "b")
    assert split == whole
    records.write_csv(tmp_path / "two.csv", header, [*records.NOTES[3:5], ("N77", "P-1", "E1", "31st", "H&P", "x")])
    with pytest.raises(Lang1Error, match=r"two.csv: record 3: authored is not a time of the format"):
        build(path, tmp_path / "a")


def test_narrative_columns_are_joined(tmp_path: Path) -> None:
    path = records.write_export(tmp_path, notes={"text": ["TYPE", "TEXT"]})
    _, rows = build(path, tmp_path / "out")
    assert rows[0]["text"].startswith("H&P Chief complaint: dyspnea")


def test_the_label_files_follow_meds(tmp_path: Path) -> None:
    manifest, rows = build(records.write_export(tmp_path), tmp_path / "out")
    subjects = {
        row["patient_id"]: row["subject_id"] for row in pq.read_table(tmp_path / "out" / "subjects.parquet").to_pylist()
    }
    by_id = {row["note_id"]: row for row in rows}
    for task in BUILT_IN.values():
        table = pq.read_table(tmp_path / "out" / "labels" / f"{task.name}.parquet")
        value = "boolean_value" if task.kind == "binary" else "integer_value"
        kind = "bool" if task.kind == "binary" else "int64"
        assert {field.name: str(field.type) for field in table.schema} == {
            "subject_id": "int64", "prediction_time": "timestamp[us]", value: kind,
        }  # fmt: skip
        beside = pq.read_table(tmp_path / "out" / "label_notes" / f"{task.name}.parquet").to_pylist()
        assert len(beside) == sum(tasks[task.name] for tasks in manifest.label_counts.values())
        for label, note in zip(table.to_pylist(), beside, strict=True):
            row = by_id[note["note_id"]]
            assert label["subject_id"] == subjects[row["patient_id"]]
            assert int(label[value]) == row[f"label_{task.name}"]
            assert note["split"] == row["split"]
            assert label["prediction_time"] == row["authored"].replace(tzinfo=None)


def test_the_manifest_counts_what_was_written_and_holds_nobody(tmp_path: Path) -> None:
    manifest, rows = build(records.write_export(tmp_path), tmp_path / "out")
    written = DatasetManifest.model_validate(json.loads((tmp_path / "out" / "manifest.json").read_text()))
    assert written == manifest
    assert manifest.notes == len(rows) == sum(manifest.notes_by_split.values())
    for split, tasks in manifest.label_counts.items():
        for name, count in tasks.items():
            found = labelled(read_notes(tmp_path / "out", [split]), BUILT_IN[name])
            assert found.num_rows == count
            assert sum(manifest.class_ratios[split][name]) == pytest.approx(1 if count else 0, abs=1e-4)
    assert manifest.window["temporal_2024"] == ("2023-12-28", "2024-01-02")
    text = (tmp_path / "out" / "manifest.json").read_text()
    assert not [secret for secret in ("P-1", "pneumonia", "N10") if secret in text]


def test_building_again_gives_the_same_bytes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = records.write_export(tmp_path)
    first, _ = build(path, tmp_path / "out")
    (tmp_path / "out" / "labels" / "old_task.parquet").write_text("")
    second, _ = build(path, tmp_path / "out")
    assert first == second
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        "notes.parquet", "manifest.json", "labels", "label_notes", "subjects.parquet",
    }  # fmt: skip
    assert not (tmp_path / "out" / "labels" / "old_task.parquet").exists()


def test_a_sixth_task_has_labels_only_from_a_mapped_column(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(records.SIXTH_TASK)
    registry = load_tasks(tmp_path / "tasks.yaml")
    manifest, rows = build(records.write_export(tmp_path), tmp_path / "a", registry)
    assert labels(rows, "icu_transfer") == {}
    assert list(manifest.missing["icu_transfer"]) == [Missing.NO_RULE.value]
    mapped = records.write_export(
        tmp_path, labels={"icu_transfer": {"column": "ICU", "values": {"Y": "yes", "N": "no"}}}
    )
    manifest, rows = build(mapped, tmp_path / "b", registry)
    assert {note: label for note, (_, label) in labels(rows, "icu_transfer").items()} == {
        "N1": 1, "N3": 0, "N6": 0, "N10": 0,
    }  # fmt: skip
    assert manifest.missing["icu_transfer"] == {Missing.NO_VALUE.value: 1}
    with pytest.raises(MappingError, match=r"labels.icu_transfer: no such task"):
        build(mapped, tmp_path / "c")


def test_a_bare_yes_in_yaml_is_an_option_code(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(records.SIXTH_TASK)
    path = records.write_export(tmp_path)
    path.write_text(path.read_text() + "labels: {icu_transfer: {column: ICU, values: {Y: yes, N: no}}}\n")
    # YAML 1.1 reads the key N as text and the value yes as true.
    _, rows = build(path, tmp_path / "out", load_tasks(tmp_path / "tasks.yaml"))
    assert labels(rows, "icu_transfer")["N1"][1] == 1


def test_a_note_of_one_tasks_test_period_has_no_other_tasks_training_label(tmp_path: Path) -> None:
    # Denial trains on May 2023; for every other task May 2023 is a test period.
    may = {"first_day": "2023-05-01", "last_day": "2023-05-31"}
    plans = {"plan": {"temporal": {"temporal_may": may}}, "tasks": {RULES["insurance_denial"]: {"period": may}}}
    manifest, rows = build(records.write_export(tmp_path, splits={**plans, "temporal_years": [2024]}), tmp_path / "out")
    assert {row["split"] for row in rows if row["encounter_id"] in {"E1", "E2"}} == {"temporal_may"}
    assert labels(rows, RULES["insurance_denial"]) == {}
    assert manifest.missing[RULES["insurance_denial"]]["the note is held out for another task"] == 2


def test_a_note_in_two_test_sets_is_there_once_for_each(tmp_path: Path) -> None:
    may = {"first_day": "2023-05-01", "last_day": "2023-05-31"}
    plans = {
        "plan": {"temporal": {"temporal_a": may}},
        "tasks": {RULES["insurance_denial"]: {"temporal": {"temporal_b": may}}},
    }
    _, rows = build(records.write_export(tmp_path, splits={**plans, "temporal_years": [2024]}), tmp_path / "out")
    n1 = {row["split"]: row for row in rows if row["note_id"] == "N1"}
    assert set(n1) == {"temporal_a", "temporal_b"}
    name = f"label_{RULES['insurance_denial']}"
    assert n1["temporal_b"][name] == 1 and n1["temporal_a"][name] == -1
    assert n1["temporal_a"][f"label_{RULES['length_of_stay']}"] == 1


def test_what_ends_outside_every_period_is_left_out_and_counted(tmp_path: Path) -> None:
    plan = {"plan": {"period": {"first_day": "2023-01-01", "last_day": "2023-12-31"}}}
    manifest, rows = build(records.write_export(tmp_path, splits=plan), tmp_path / "out")
    # E3 ends in 2024, which is a temporal set of its own; E7 ends in 2021.
    assert {row["encounter_id"] for row in rows} == {"E1", "E2", "E3"}
    assert manifest.missing[RULES["length_of_stay"]]["outside every period of the splits"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"notes": {"authored": "WRITTEN"}}, "notes.authored: notes.csv.gz has no column 'WRITTEN'"),
        ({"notes": {"text": "BODY"}}, "notes.text: notes.csv.gz has no column 'BODY'"),
        ({"notes": {"file": "gone.csv"}}, "notes.file"),
        ({"notes": {"titel": "X"}}, "notes.titel"),
        ({"notes": {"note_type": {"column": "TYPE", "values": {"H&P": "H&P"}}}}, "notes.note_type.values.H&P"),
        ({"observed_until": None}, "observed_until: Field required"),
        ({"timezone": "Mars/Olympus"}, "IANA"),
        ({"claims": {"status": {"column": "STATUS", "values": {"PAID": "payed"}}}}, "claims.status.values.PAID"),
        ({"diagnoses": {"icd_version": {}}}, "diagnoses.icd_version"),
        ({"encounters": {"admitted": {"column": "IN", "fmt": "%Y"}}}, "encounters.admitted.fmt"),
        ({"splits": {"plan": {"shares": [0.5, 0.1, 0.1]}}}, "add up to 1"),
        ({"splits": {"tasks": {"nobody": {}}}}, "splits.tasks.nobody"),
        ({"labels": {"length_of_stay": {"column": "NO", "values": {"1": "days-3"}}}}, "labels.length_of_stay.column"),
        ({"labels": {"length_of_stay": {"column": "ICU", "values": {"1": "three"}}}}, "is no option code"),
        ({"rules": {"same_stay_gap_hours": -1}}, "rules.same_stay_gap_hours"),
    ],
)
def test_a_wrong_mapping_names_the_key(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(MappingError) as caught:
        build(records.write_export(tmp_path, **changes), tmp_path / "out")
    assert message in str(caught.value)
    assert caught.value.code == "invalid"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "message", "reason"),
    [
        ("stays.csv", "2023-05-20T08:00", "31st", "stays.csv: record 2: admitted is not a time", "admitted is not"),
        ("stays.csv", "2023-05-28T12:00", "2023-05-18", "record 2: discharge before admission", "discharge before"),
        ("stays.csv", '"E2"', '"E1"', "stays.csv: record 2: encounter_id was there before", "encounter_id was"),
        (
            "stays.csv",
            "2024-06-10T08:00",
            "2042-06-10T08:00",
            "record 4: admitted after observed_until",
            "admitted after",
        ),
        ("stays.csv", "2023-05-20T08:00", "", "record 2: no admission time", "no admission time"),
        ("claims.csv", "2023-06-01", "31st", "claims.csv: record 1: decided is not a time", "decided is not"),
    ],
)
def test_a_bad_record_is_an_error_or_is_counted(
    tmp_path: Path, file: str, old: str, new: str, message: str, reason: str
) -> None:
    path = records.write_export(tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    with pytest.raises(Lang1Error) as caught:
        build(path, tmp_path / "out")
    assert message in str(caught.value)
    assert not [secret for secret in SECRETS if secret in str(caught.value)]
    document = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**document, "bad_rows": "drop"}))
    manifest, _ = build(path, tmp_path / "out")
    reasons = {found for table in manifest.dropped.values() for found, count in table.items() if count == 1}
    assert [found for found in reasons if found.startswith(reason)]


def test_a_file_without_a_header_does_not_show_its_first_patient(tmp_path: Path) -> None:
    path = records.write_export(tmp_path)
    records.write_csv(tmp_path / "stays.csv", records.STAYS[0], records.STAYS[1:])
    with pytest.raises(MappingError, match=r"encounters.encounter_id: stays.csv has no column 'CSN'") as caught:
        build(path, tmp_path / "out")
    assert not [secret for secret in ("P-1", "E1", "2023-05-01") if secret in str(caught.value)]


def test_a_note_of_another_patient_or_with_an_id_that_repeats_is_bad(tmp_path: Path) -> None:
    header = ("NOTE", "PAT", "CSN", "TIME", "TYPE", "TEXT")
    path = records.write_export(tmp_path)
    first = records.NOTES[0]
    records.write_csv(tmp_path / "notes.csv.gz", header, [*records.NOTES, (first[0], *first[1:])])
    with pytest.raises(Lang1Error, match=r"notes.csv.gz: record 11: note_id was there before"):
        build(path, tmp_path / "out")
    records.write_csv(tmp_path / "notes.csv.gz", header, [("N0", "P-2", *first[2:]), *records.NOTES])
    with pytest.raises(Lang1Error, match=r"record 1: the note's patient is not its encounter's"):
        build(path, tmp_path / "out")


def test_no_label_at_all_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    path = records.write_export(tmp_path, encounters={"inpatient": {"column": "CLASS", "values": ["Ward"]}},
                                diagnoses=None, claims=None)  # fmt: skip
    with pytest.raises(Lang1Error, match="no note has a label of any task") as caught:
        build(path, tmp_path / "out")
    assert Missing.NOT_INPATIENT.value in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_stay_that_ends_after_the_export_is_open(tmp_path: Path) -> None:
    early = datetime(2023, 5, 25).date()  # noqa: DTZ001 - a date
    path = records.write_export(tmp_path, observed_until=early, bad_rows="drop", splits={"temporal_years": []})
    manifest, rows = build(path, tmp_path / "out")
    # Stay E2 runs over the end: its death is not yet known.
    assert "N3" not in labels(rows, RULES["in_hospital_mortality"])
    assert manifest.missing[RULES["in_hospital_mortality"]][Missing.NOT_OVER.value] == 1
