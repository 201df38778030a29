"""What the written hospital promises: the same bytes from the same seed, clean text, labels where they belong."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lang1.notes import check_scorable, clean_text
from lang1.tasks import BUILT_IN, Task
from training.synth import Manifest, SynthConfig, generate, read_notes, write_dataset
from training.synth.arrow import Table, pa
from training.synth.generate import MANIFEST_FILE, NOTES_FILE, split_of

TASKS = tuple(BUILT_IN.values())


def test_same_seed_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    config = SynthConfig(patients=60, seed=5, chunk_patients=25)
    first, again = write_dataset(config, tmp_path / "a"), write_dataset(config, tmp_path / "b")
    other = write_dataset(config.model_copy(update={"seed": 6}), tmp_path / "c")
    assert first.notes_sha256 == again.notes_sha256 != other.notes_sha256


def test_a_chunk_does_not_depend_on_how_many_chunks_there_are() -> None:
    few, many = (SynthConfig(patients=n, chunk_patients=20) for n in (20, 60))
    assert next(iter(generate(few))).equals(next(iter(generate(many))))


def test_manifest_matches_the_file(hospital: tuple[Path, Manifest], notes: Table) -> None:
    folder, manifest = hospital
    assert manifest.notes_sha256 == hashlib.sha256((folder / NOTES_FILE).read_bytes()).hexdigest()
    assert Manifest.model_validate_json((folder / MANIFEST_FILE).read_text(encoding="utf-8")) == manifest
    assert manifest.notes == notes.num_rows == sum(manifest.notes_by_split.values())
    assert manifest.encounters == len(set(notes["encounter_id"].to_pylist()))
    for task in TASKS:
        labels = notes[f"label_{task.name}"].to_numpy()
        assert sum(counts[task.name] for counts in manifest.label_counts.values()) == (labels >= 0).sum()


def test_text_is_clean_but_for_line_ends(notes: Table) -> None:
    for text in notes["text"].to_pylist():
        assert clean_text(text) == text.replace("\n", " ")
        check_scorable(clean_text(text))


def test_no_note_names_an_outcome(notes: Table) -> None:
    for text in notes["text"].to_pylist():
        lower = text.lower()
        for word in ("expired", "deceased", "readmi", "length of stay", "denied by the payer", "charlson", "appeal"):
            assert word not in lower


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_labels_and_truth_stand_only_on_the_tasks_note_type(task: Task, notes: Table) -> None:
    labels = notes[f"label_{task.name}"].to_numpy()
    trained = np.array([task.trained_on(loinc) for loinc in notes["note_type"].to_pylist()])
    assert (labels[~trained] == -1).all()
    assert ((labels[trained] >= 0) & (labels[trained] < len(task.options))).all()
    for truth, here in zip(notes[f"true_{task.name}"].to_pylist(), trained, strict=True):
        assert (truth is not None) == here
        assert truth is None or (len(truth) == len(task.options) and abs(sum(truth) - 1) < 1e-5)


def test_who_dies_has_no_discharge_summary_and_no_later_encounter(notes: Table) -> None:
    task = next(task for task in TASKS if task.label_rule == "in_hospital_mortality")
    by_patient: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for row in notes.select(["patient_id", "encounter_id", f"label_{task.name}"]).to_pylist():
        by_patient[row["patient_id"]].append((row["encounter_id"], row[f"label_{task.name}"]))
    deaths = 0
    for visits in by_patient.values():
        for index, (encounter, died) in enumerate(visits):
            if died == 1:
                deaths += 1
                assert index == len(visits) - 1
                assert sum(other == encounter for other, _ in visits) == 1
    assert deaths > 5


def test_readmission_labels_agree_with_the_next_encounter(notes: Table) -> None:
    task = next(task for task in TASKS if task.label_rule == "readmission")
    rows = notes.select(["patient_id", "authored", "note_type", f"label_{task.name}"]).to_pylist()
    checked = 0
    for note, following in pairwise(rows):
        if task.trained_on(note["note_type"]) and following["patient_id"] == note["patient_id"]:
            days = (following["authored"].date() - note["authored"].date()).days
            assert (1 <= days <= 30) == (note[f"label_{task.name}"] == 1)
            checked += 1
    assert checked > 300


def test_splits_are_by_patient_and_the_last_year_is_apart(notes: Table) -> None:
    splits: dict[str, set[str]] = defaultdict(set)
    last_note: dict[str, datetime] = {}
    for row in notes.select(["encounter_id", "authored"]).to_pylist():
        stay = row["encounter_id"]
        last_note[stay] = max(row["authored"], last_note.get(stay, row["authored"]))
    over_new_year = 0
    for row in notes.select(["encounter_id", "patient_id", "authored", "split"]).to_pylist():
        assert 2013 <= row["authored"].year <= 2024
        if last_note[row["encounter_id"]].year == 2024:
            over_new_year += row["authored"].year == 2023
            assert row["split"] == "temporal_2024"
        if row["split"] != "temporal_2024":
            splits[row["patient_id"]].add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert over_new_year > 0, "no stay over the new year: the rule was not tried"
    config = SynthConfig(patients=1)
    share = np.unique([split_of(config, f"p{i}", 2020) for i in range(5000)], return_counts=True)[1] / 5000
    assert np.abs(share - [0.1, 0.8, 0.1]).max() < 0.02


def test_read_notes_keeps_the_splits_and_columns_asked_for(hospital: tuple[Path, Manifest]) -> None:
    table = read_notes(hospital[0], ["val", "test"], ["split", "text"])
    assert table.column_names == ["split", "text"]
    assert set(table["split"].to_pylist()) == {"val", "test"}
    assert read_notes(hospital[0]).schema.field("label_" + TASKS[0].name).type == pa.int8()


def test_mean_length_is_near_what_was_asked(hospital: tuple[Path, Manifest]) -> None:
    config = hospital[1].config
    assert abs(hospital[1].mean_words - config.mean_words) < 0.1 * config.mean_words


def test_impossible_configurations_are_refused() -> None:
    for wrong in ({"patients": 0}, {"patients": 1, "first_year": 2020, "last_year": 2019}, {"patients": 1, "x": 1}):
        with pytest.raises(ValidationError):
            SynthConfig.model_validate(wrong)
    assert json.loads(SynthConfig(patients=1).model_dump_json())["patients"] == 1
