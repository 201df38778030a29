"""Write a synthetic hospital to a folder: notes.parquet, outcomes.parquet, events.parquet, manifest.json and, where
asked for, a FHIR export. Chunk by chunk, so that memory does not grow with the hospital."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from lang1.tasks import BUILT_IN, Task
from training.synth.arrow import Table, pc, pq
from training.synth.chunk import chunk_count, make_chunk, note_table, schema, split_of
from training.synth.config import SIMULATOR_VERSION, SynthConfig
from training.synth.fhir_export import FHIR_FOLDER, FhirFolder, FhirOptions, chunk_ndjson
from training.synth.outcome_tables import EVENT_SCHEMA, OUTCOME_SCHEMA, event_table, outcome_table

__all__ = [
    "EVENTS_FILE", "MANIFEST_FILE", "NOTES_FILE", "OUTCOMES_FILE", "Manifest", "generate", "labelled", "read_notes",
    "schema", "split_of", "write_dataset",
]  # fmt: skip

NOTES_FILE = "notes.parquet"
OUTCOMES_FILE = "outcomes.parquet"
EVENTS_FILE = "events.parquet"
MANIFEST_FILE = "manifest.json"

Progress = Callable[[int, int], None]
"""Called with (patients done, patients in all)."""


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
    files_sha256: dict[str, str] = Field(default_factory=dict)
    """Every other file, by its path in the folder."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What a chunk adds to each file."""

    notes: Table
    outcomes: Table
    events: Table
    fhir: dict[str, bytes]


def generate(config: SynthConfig) -> Iterator[Table]:
    """The notes in tables, one per chunk of patients."""
    for number in range(chunk_count(config)):
        yield note_table(config, make_chunk(config, number))


def write_dataset(
    config: SynthConfig,
    out: Path,
    progress: Progress | None = None,
    *,
    fhir: FhirOptions | None = None,
    workers: int = 1,
) -> Manifest:
    """Write the hospital to `out` and return its manifest. Replaces files of the same name.

    With `fhir` also `out`/fhir/<type>.ndjson. `workers` processes make chunks; what is written does not depend on them.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / NOTES_FILE
    counts: dict[str, dict[str, np.ndarray[Any, Any]]] = {task.name: {} for task in BUILT_IN.values()}
    by_split: dict[str, int] = {}
    encounters, patients, notes, words = 0, 0, 0, 0
    folder = None if fhir is None else FhirFolder(out / FHIR_FOLDER, config, fhir)
    files = [out / OUTCOMES_FILE, out / EVENTS_FILE]
    with ExitStack() as stack:
        writers = [
            stack.enter_context(pq.ParquetWriter(file, columns, compression="zstd"))
            for file, columns in ((path, schema(config)), (files[0], OUTCOME_SCHEMA), (files[1], EVENT_SCHEMA))
        ]
        if folder:
            stack.callback(folder.close)
        for index, part in enumerate(_parts(config, fhir, workers)):
            table = part.notes
            for writer, rows in zip(writers, (table, part.outcomes, part.events), strict=True):
                writer.write_table(rows)
            if folder:
                folder.write(part.fhir)
            notes += table.num_rows
            encounters += pc.count_distinct(table["encounter_id"]).as_py()
            patients += pc.count_distinct(table["patient_id"]).as_py()
            words += sum(text.count(" ") + text.count("\n") + 1 for text in table["text"].to_pylist())
            _count(table, by_split, counts)
            if progress:
                progress(min((index + 1) * config.chunk_patients, config.patients), config.patients)
    splits = sorted(by_split)
    files += folder.close() if folder else []
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
        files_sha256={file.relative_to(out).as_posix(): _sha256(file) for file in files},
    )
    (out / MANIFEST_FILE).write_text(json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    return manifest


def _part(config: SynthConfig, number: int, fhir: FhirOptions | None) -> _Part:
    chunk = make_chunk(config, number)
    return _Part(
        notes=note_table(config, chunk),
        outcomes=outcome_table(chunk.labels, chunk.course, chunk.encounter_ids),
        events=event_table(chunk.stays, chunk.course, chunk.encounter_ids, chunk.patient_ids),
        fhir={} if fhir is None else chunk_ndjson(config, number, chunk, fhir),
    )


def _parts(config: SynthConfig, fhir: FhirOptions | None, workers: int) -> Iterator[_Part]:
    """The parts in order, made by this process or by `workers` others, which run at most one chunk each ahead."""
    numbers = range(chunk_count(config))
    if min(workers, len(numbers)) <= 1:
        yield from (_part(config, number, fhir) for number in numbers)
        return
    # A fork would copy the locks of Arrow's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(numbers)), mp_context=context) as pool:
        waiting: deque[Future[_Part]] = deque()
        for number in numbers:
            waiting.append(pool.submit(_part, config, number, fhir))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


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
