"""Write a synthetic hospital to a folder: notes.parquet and manifest.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from lang1.tasks import BUILT_IN, Task
from training.synth.arrow import Table, pa, pc, pq
from training.synth.config import SIMULATOR_VERSION, SynthConfig
from training.synth.narrative import Dice, write_note
from training.synth.patients import Encounters, draw_chunk
from training.synth.slots import SLOTS, draw_told

NOTES_FILE = "notes.parquet"
MANIFEST_FILE = "manifest.json"
SPLITS = ("train", "val", "test")
DICE_PER_NOTE = 400
_DAY_S = 86_400

Progress = Callable[[int, int], None]
"""Called with (patients done, patients in all)."""

Row = dict[str, Any]


class Manifest(BaseModel):
    """What was written. `class_ratios`: split, task, share of each option in order; `label_counts`: the rows behind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    simulator_version: str
    config: SynthConfig
    patients: int
    encounters: int
    notes: int
    notes_by_split: dict[str, int]
    label_counts: dict[str, dict[str, int]]
    class_ratios: dict[str, dict[str, list[float]]]
    mean_words: float
    notes_sha256: str


def schema() -> Any:
    """The columns of notes.parquet."""
    fields = [pa.field(name, pa.string()) for name in ("note_id", "patient_id", "encounter_id", "note_type")]
    fields.append(pa.field("authored", pa.timestamp("s", tz="UTC")))
    fields += [pa.field(name, pa.string()) for name in ("text", "split")]
    fields += [pa.field(f"label_{task.name}", pa.int8()) for task in BUILT_IN.values()]
    fields += [pa.field(f"true_{task.name}", pa.list_(pa.float32())) for task in BUILT_IN.values()]
    fields += [pa.field(name, pa.list_(pa.int8())) for name in ("context", "values", "told")]
    return pa.schema([*fields, pa.field("ends", pa.list_(pa.int32()))])


def split_of(config: SynthConfig, patient_id: str, year: int) -> str:
    """`temporal_<year>` for a stay that ends in a held-out year, else 8:1:1 by the patient's hash."""
    if year in config.temporal_years:
        return f"temporal_{year}"
    digest = hashlib.blake2b(f"{config.seed}:{patient_id}".encode(), digest_size=8).digest()
    bucket = int.from_bytes(digest, "big") % 10
    return SPLITS[0] if bucket < 8 else SPLITS[bucket - 7]


def _labels(encounters: Encounters) -> dict[str, np.ndarray[Any, np.dtype[np.int8]]]:
    """Label rule to option index (N,), -1 for none."""
    true_index = next(task.name for task in BUILT_IN.values() if task.label_rule == "charlson_comorbidity_index")
    return {
        "readmission": encounters.readmitted,
        "in_hospital_mortality": encounters.died.astype(np.int8),
        "length_of_stay": encounters.los_class,
        "charlson_comorbidity_index": encounters.true[true_index].argmax(axis=1).astype(np.int8),
        "insurance_denial": encounters.denied,
    }


def _chunk_rows(config: SynthConfig, chunk: int) -> list[Row]:
    encounters = draw_chunk(config, chunk)
    rng = np.random.default_rng([config.seed, chunk, 2])
    rules = _labels(encounters)
    order = np.lexsort((encounters.ordinal, encounters.patient))
    rows: list[list[Row]] = [[] for _ in range(len(encounters))]
    end_s = int(datetime(config.last_year + 1, 1, 1, tzinfo=UTC).timestamp())
    for loinc in SLOTS:
        told = draw_told(rng, loinc, encounters.population.values).tolist()
        spread = config.spread_words
        words = config.mean_words * np.exp(rng.normal(-(spread**2) / 2, spread, len(encounters)))
        dice = rng.integers(0, 2**31, size=(len(encounters), DICE_PER_NOTE)).tolist()
        hours = rng.integers(1, 20, len(encounters))
        labelled = [task for task in BUILT_IN.values() if task.trained_on(loinc)]
        for i in range(len(encounters)):
            if loinc == DISCHARGE_SUMMARY.loinc and encounters.died[i]:
                continue
            at_admission = loinc == HISTORY_AND_PHYSICAL.loinc
            day = int(encounters.admitted[i] if at_admission else encounters.discharged[i])
            authored_s = day * _DAY_S + int(hours[i]) * 3600
            if authored_s >= end_s:
                continue
            context = encounters.population.context[i].tolist()
            # One split a stay: an admission note of December belongs to the year in which the stay ends.
            ends = datetime.fromtimestamp(int(encounters.discharged[i]) * _DAY_S, UTC).year
            note = write_note(
                config, loinc, int(encounters.age[i]), context[1] == 1, context[2], told[i],
                min(int(words[i]), config.max_words), Dice(dice[i]),
            )  # fmt: skip
            suffix = f"{int(encounters.patient[i]):08d}"
            visit = f"{suffix}-{int(encounters.ordinal[i]) + 1}"
            patient_id = f"synth-patient-{suffix}"
            row: Row = {
                "note_id": f"synth-note-{visit}-{'hp' if at_admission else 'dc'}",
                "patient_id": patient_id,
                "encounter_id": f"synth-encounter-{visit}",
                "note_type": loinc,
                "authored": authored_s,
                "text": note.text,
                "split": split_of(config, patient_id, min(ends, config.last_year)),
                "context": context,
                "values": encounters.population.values[i].tolist(),
                "told": told[i],
                "ends": note.ends,
            }
            for task in BUILT_IN.values():
                has = task in labelled
                row[f"label_{task.name}"] = int(rules[task.label_rule][i]) if has else -1
                row[f"true_{task.name}"] = encounters.true[task.name][i].tolist() if has else None
            rows[i].append(row)
    return [row for i in order for row in rows[i]]


def generate(config: SynthConfig) -> Iterator[Table]:
    """The notes in tables, one per chunk of patients. Each chunk has random streams of its own, so that any chunk can
    be made anywhere and the output is the same."""
    columns = schema()
    for chunk in range(-(-config.patients // config.chunk_patients)):
        yield pa.Table.from_pylist(_chunk_rows(config, chunk), schema=columns)


def write_dataset(config: SynthConfig, out: Path, progress: Progress | None = None) -> Manifest:
    """Write `out`/notes.parquet and `out`/manifest.json and return the manifest. Replaces files of the same name."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / NOTES_FILE
    counts: dict[str, dict[str, np.ndarray[Any, Any]]] = {task.name: {} for task in BUILT_IN.values()}
    by_split: dict[str, int] = {}
    encounters, patients, notes, words = 0, 0, 0, 0
    with pq.ParquetWriter(path, schema(), compression="zstd") as writer:
        for index, table in enumerate(generate(config)):
            writer.write_table(table)
            notes += table.num_rows
            encounters += pc.count_distinct(table["encounter_id"]).as_py()
            patients += pc.count_distinct(table["patient_id"]).as_py()
            words += sum(text.count(" ") + text.count("\n") + 1 for text in table["text"].to_pylist())
            _count(table, by_split, counts)
            if progress:
                progress(min((index + 1) * config.chunk_patients, config.patients), config.patients)
    splits = sorted(by_split)
    manifest = Manifest(
        simulator_version=SIMULATOR_VERSION,
        config=config,
        patients=patients,
        encounters=encounters,
        notes=notes,
        notes_by_split={split: by_split[split] for split in splits},
        label_counts={s: {t: int(counts[t][s].sum()) for t in counts if s in counts[t]} for s in splits},
        class_ratios={
            s: {t: (counts[t][s] / max(1, counts[t][s].sum())).round(5).tolist() for t in counts if s in counts[t]}
            for s in splits
        },
        mean_words=round(words / max(1, notes), 1),
        notes_sha256=_sha256(path),
    )
    (out / MANIFEST_FILE).write_text(json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    return manifest


def _count(table: Table, by_split: dict[str, int], counts: dict[str, dict[str, np.ndarray[Any, Any]]]) -> None:
    splits = np.asarray(table["split"].to_pylist())
    for split in np.unique(splits).tolist():
        here = splits == split
        by_split[split] = by_split.get(split, 0) + int(here.sum())
        for task in BUILT_IN.values():
            labels = table[f"label_{task.name}"].to_numpy()[here]
            found = np.bincount(labels[labels >= 0], minlength=len(task.options))
            counts[task.name][split] = counts[task.name].get(split, np.zeros(len(task.options), dtype=np.int64)) + found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_notes(path: Path, splits: Sequence[str] | None = None, columns: Sequence[str] | None = None) -> Table:
    """The notes of a dataset folder (or of its parquet file) in these splits; None for all splits or columns."""
    file = path / NOTES_FILE if path.is_dir() else path
    chosen = None if splits is None else pc.field("split").isin(list(splits))
    return pq.read_table(file, columns=None if columns is None else list(columns), filters=chosen)


def labelled(table: Table, task: Task) -> Table:
    """The rows of `table` that carry a label of `task`."""
    return table.filter(pc.greater_equal(table[f"label_{task.name}"], 0))
