"""A source's record to a dataset folder: notes.parquet, MEDS label files and manifest.json."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from lang1 import __version__
from lang1.errors import NoteError
from lang1.label_rules import LabelPolicy, Labels, Rows, note_labels
from lang1.notes import check_scorable, clean_text
from lang1.tasks import BUILT_IN, Task, TaskRegistry
from training.sources.columns import Advance, to_utc
from training.sources.errors import SourceError
from training.sources.record import SourceRecord
from training.sources.splits import SHARED, TEMPORAL, Splits, settle, split_names, unit_shares
from training.synth.arrow import pa, pq
from training.synth.generate import MANIFEST_FILE, NOTES_FILE

LABELS_FOLDER = "labels"
LABEL_NOTES_FOLDER = "label_notes"
SUBJECTS_FILE = "subjects.parquet"
_DAY_FORMAT = "datetime64[D]"


class InputFile(BaseModel):
    """A file that was read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    bytes: int
    sha256: str


class DatasetManifest(BaseModel):
    """What was written, from what, by which rules. No ids and no text.

    `label_counts` and `class_ratios`: split, then task; a ratio list is in option order. `missing`: task, then why
    notes of its types have no label. `dropped`: table, then why records were not taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    lang1_version: str
    tasks: dict[str, list[str]]
    """Option codes in label order."""
    patients: int
    encounters: int
    notes: int
    mean_words: float
    notes_by_split: dict[str, int]
    window: dict[str, tuple[str, str]]
    """Split: first and last day on which a note of it was written."""
    label_counts: dict[str, dict[str, int]]
    class_ratios: dict[str, dict[str, list[float]]]
    missing: dict[str, dict[str, int]]
    dropped: dict[str, dict[str, int]]
    rules: LabelPolicy
    splits: Splits
    inputs: list[InputFile]
    notes_sha256: str
    files_sha256: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Plan:
    """R rows to write: a note in one split. A note that is in temporal sets of two names has two rows."""

    note: Rows
    split: NDArray[np.str_]
    labels: Mapping[str, Labels]
    """Task to option index (R,), -1 for none."""


def write_source(
    source: SourceRecord,
    out: Path,
    policy: LabelPolicy,
    splits: Splits,
    registry: TaskRegistry = BUILT_IN,
    advance: Advance = lambda _: None,
) -> DatasetManifest:
    """Write `out`/notes.parquet, labels/, label_notes/, subjects.parquet and manifest.json, and return the manifest.

    Only notes with a label are written; their texts are cleaned as serving cleans them (paper, 5.1). Files of the same
    name are replaced when all of them are done. Raises SourceError when no note has a label.
    """
    plan, missing, outside = _plan(source, policy, splits, registry)
    dropped = {table: dict(reasons) for table, reasons in source.dropped.items()}
    for reason, count in outside.items():
        dropped.setdefault("notes", {})[reason] = count
    if not len(plan.note):
        why = "; ".join(f"{name}: {next(iter(reasons.items()))}" for name, reasons in missing.items() if reasons)
        raise SourceError(f"no note has a label of any task ({why or 'no note of a type that a task is trained on'})")
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = out / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / LABELS_FOLDER).mkdir(parents=True)
    (partial / LABEL_NOTES_FOLDER).mkdir()
    try:
        kept, words, unusable = _write_notes(source, plan, registry, partial / NOTES_FILE, advance)
        if not kept.any():
            raise SourceError("every labelled note is empty, a placeholder or under 10 words")
        for reason, count in unusable.items():
            dropped.setdefault("notes", {})[reason] = count
        written = _Plan(plan.note[kept], plan.split[kept], {name: each[kept] for name, each in plan.labels.items()})
        _write_labels(source, written, registry, partial)
        manifest = _manifest(source, written, registry, policy, splits, missing, dropped, words, partial)
        (partial / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (out / MANIFEST_FILE).unlink(missing_ok=True)
        for name in (LABELS_FOLDER, LABEL_NOTES_FOLDER):
            shutil.rmtree(out / name, ignore_errors=True)
        for name in (LABELS_FOLDER, LABEL_NOTES_FOLDER, SUBJECTS_FILE, NOTES_FILE, MANIFEST_FILE):
            (partial / name).replace(out / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _plan(
    source: SourceRecord, policy: LabelPolicy, splits: Splits, registry: TaskRegistry
) -> tuple[_Plan, dict[str, dict[str, int]], dict[str, int]]:
    """The rows to write, the missing labels by task and reason, and the notes left out by reason."""
    times = source.notes.times
    found = {task.name: note_labels(source.hospital, times, task, policy) for task in registry.values()}
    names = _splits_of_notes(source, policy, splits, registry)
    rank, usable = settle({task: np.where(_asked(source, registry[task]), each, "") for task, each in names.items()})
    missing = {name: dict(each.missing()) for name, each in found.items()}
    note: list[Rows] = []
    split: list[NDArray[np.str_]] = []
    labels: dict[str, list[Labels]] = {name: [] for name in registry}
    for label in sorted({str(each) for by_note in names.values() for each in np.unique(by_note)} - {""}):
        here = {name: usable[name] & (names[name] == label) for name in registry}
        any_label = np.zeros(len(rank), dtype=np.bool_)
        for name, each in found.items():
            any_label |= here[name] & (each.label >= 0)
        rows = np.flatnonzero(any_label)
        note.append(rows)
        split.append(np.full(len(rows), label))
        for name, each in found.items():
            labels[name].append(np.where(here[name], each.label, -1).astype(np.int8)[rows])
    for name, each in found.items():
        conflict = int(np.count_nonzero((each.label >= 0) & (names[name] != "") & ~usable[name]))
        beyond = int(np.count_nonzero((each.label >= 0) & (names[name] == "")))
        _add(missing[name], "the note is held out for another task", conflict)
        _add(missing[name], "outside every period of the splits", beyond)
    order = np.concatenate([np.zeros(0, np.int64), *note])
    by_row = np.argsort(order, kind="stable")
    plan = _Plan(
        order[by_row],
        np.concatenate([np.zeros(0, "U1"), *split])[by_row],
        {name: np.concatenate([np.zeros(0, np.int8), *each])[by_row] for name, each in labels.items()},
    )
    outside: dict[str, int] = {}
    _add(outside, "no label of any task", len(rank) - len(np.unique(plan.note)))
    return plan, missing, outside


def _add(counts: dict[str, int], reason: str, count: int) -> None:
    if count:
        counts[reason] = counts.get(reason, 0) + count


def _asked(source: SourceRecord, task: Task) -> NDArray[np.bool_]:
    return np.isin(source.notes.times.note_type, list(task.note_types))


def _splits_of_notes(
    source: SourceRecord, policy: LabelPolicy, splits: Splits, registry: TaskRegistry
) -> dict[str, NDArray[np.str_]]:
    """Every task's split of every note (M,), by the day on which the note's stay ends."""
    stays, at = source.hospital.encounters, source.notes.times.encounter
    ends = stays.discharged.copy()
    if policy.observed_until is not None:
        # A stay that is not over ends after everything that was seen.
        ends[np.isnat(ends)] = np.datetime64(policy.observed_until, "s") - np.timedelta64(1, "s")
    days = ends.astype(_DAY_FORMAT)
    units = source.patient_ids if splits.unit == "patient" else source.encounter_ids
    drawn = unit_shares(units, splits.seed)
    by_plan: dict[str, NDArray[np.str_]] = {}
    names: dict[str, NDArray[np.str_]] = {}
    for task in registry:
        plan = splits.of(task)
        key = plan.model_dump_json()
        if key not in by_plan:
            by_plan[key] = split_names(plan, days, drawn)
        names[task] = by_plan[key][at]
    return names


def _schema(registry: TaskRegistry) -> Any:
    """The columns that `training.synth.generate.read_notes` gives for a source's dataset."""
    fields = [pa.field(name, pa.string()) for name in ("note_id", "patient_id", "encounter_id", "note_type")]
    fields.append(pa.field("authored", pa.timestamp("s", tz="UTC")))
    fields += [pa.field(name, pa.string()) for name in ("text", "split")]
    return pa.schema([*fields, *(pa.field(f"label_{name}", pa.int8()) for name in registry)])


def _write_notes(
    source: SourceRecord, plan: _Plan, registry: TaskRegistry, path: Path, advance: Advance
) -> tuple[NDArray[np.bool_], int, dict[str, int]]:
    """Read the texts again and write the plan's rows. Returns which rows were written (R,), words, notes left out."""
    kept = np.zeros(len(plan.note), dtype=np.bool_)
    rows = source.notes.row[plan.note]
    assert (np.diff(rows) >= 0).all(), "rows are written in the order of the notes files"
    authored = to_utc(source.notes.times.earliest, source.zone)
    schema = _schema(registry)
    words, unusable = 0, dict[str, int]()
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for first, texts in source.texts(advance):
            here = np.arange(*np.searchsorted(rows, [first, first + len(texts)]))
            cleaned: list[str] = []
            taken: list[int] = []
            done: dict[int, str | None] = {}
            for at in here.tolist():
                row = int(rows[at])
                if row not in done:
                    text = clean_text(texts[row - first] or "")
                    reason = _unusable(text)
                    done[row] = None if reason else text
                    if reason:
                        _add(unusable, reason, 1)
                usable = done[row]
                if usable is not None:
                    taken.append(at)
                    cleaned.append(usable)
                    words += usable.count(" ") + 1
            if taken:
                writer.write_table(_notes_table(source, plan, np.array(taken), cleaned, authored, schema))
                kept[taken] = True
    return kept, words, unusable


def _unusable(text: str) -> str | None:
    """Why training and serving both refuse a cleaned text, None for a good one."""
    try:
        check_scorable(text)
    except NoteError:
        return "text is empty, a placeholder or under 10 words"
    return None


def _notes_table(
    source: SourceRecord, plan: _Plan, taken: Rows, texts: Sequence[str], authored: Any, schema: Any
) -> Any:
    notes = plan.note[taken]
    stays = source.notes.times.encounter[notes].tolist()
    columns: dict[str, Any] = {
        "note_id": source.notes.note_id[notes].tolist(),
        "patient_id": [source.patient_ids[stay] for stay in stays],
        "encounter_id": [source.encounter_ids[stay] for stay in stays],
        "note_type": source.notes.times.note_type[notes].tolist(),
        "authored": pa.array(authored[notes].astype("datetime64[s]")).cast(schema.field("authored").type),
        "text": list(texts),
        "split": plan.split[taken].tolist(),
        **{f"label_{name}": each[taken] for name, each in plan.labels.items()},
    }
    return pa.table(columns, schema=schema)


def _subject_numbers(patient_ids: Sequence[str]) -> dict[str, int]:
    """An int64 a patient, as MEDS wants: the source's own number where all ids are numbers, else a running one."""
    people = list(dict.fromkeys(patient_ids))
    plain = all(each.isascii() and each.isdigit() and len(each) <= 18 and str(int(each)) == each for each in people)
    return {each: int(each) if plain else place for place, each in enumerate(people)}


def _write_labels(source: SourceRecord, written: _Plan, registry: TaskRegistry, out: Path) -> None:
    """labels/<task>.parquet in the MEDS label schema, which allows no other column, and the same rows' note ids and
    splits in label_notes/<task>.parquet. A prediction is made when the note was written; times are UTC."""
    numbers = _subject_numbers(source.patient_ids)
    at = source.notes.times.encounter
    moment = to_utc(source.notes.times.latest, source.zone).astype("datetime64[us]")
    for task in registry.values():
        rows = np.flatnonzero(written.labels[task.name] >= 0)
        notes = written.note[rows]
        stays = at[notes].tolist()
        values = written.labels[task.name][rows]
        positive = task.positive_option
        value, kind = ("integer_value", values) if positive is None else ("boolean_value", values == positive)
        fields = [
            pa.field("subject_id", pa.int64(), nullable=False),
            pa.field("prediction_time", pa.timestamp("us"), nullable=False),
            pa.field(value, pa.int64() if positive is None else pa.bool_(), nullable=False),
        ]
        subjects = [numbers[source.patient_ids[stay]] for stay in stays]
        table = pa.table(
            [pa.array(subjects, pa.int64()), pa.array(moment[notes]), pa.array(kind)], names=[f.name for f in fields]
        )
        pq.write_table(table.cast(pa.schema(fields)), out / LABELS_FOLDER / f"{task.name}.parquet")
        beside = {
            "note_id": pa.array(source.notes.note_id[notes].tolist(), pa.string()),
            "encounter_id": pa.array([source.encounter_ids[stay] for stay in stays], pa.string()),
            "split": pa.array(written.split[rows].tolist(), pa.string()),
        }
        pq.write_table(pa.table(beside), out / LABEL_NOTES_FOLDER / f"{task.name}.parquet")
    people = pa.table({"patient_id": list(numbers), "subject_id": pa.array(numbers.values(), pa.int64())})
    pq.write_table(people, out / SUBJECTS_FILE)


def _manifest(
    source: SourceRecord,
    written: _Plan,
    registry: TaskRegistry,
    policy: LabelPolicy,
    splits: Splits,
    missing: dict[str, dict[str, int]],
    dropped: dict[str, dict[str, int]],
    words: int,
    folder: Path,
) -> DatasetManifest:
    stays = source.notes.times.encounter[written.note]
    days = to_utc(source.notes.times.earliest, source.zone)[written.note].astype(_DAY_FORMAT)
    order = [*SHARED, *sorted(name for name in set(written.split.tolist()) if name.startswith(TEMPORAL))]
    counts: dict[str, dict[str, NDArray[np.int64]]] = {}
    window: dict[str, tuple[str, str]] = {}
    for split in order:
        here = written.split == split
        if not here.any():
            continue
        window[split] = (str(days[here].min()), str(days[here].max()))
        counts[split] = {
            task.name: np.bincount(
                written.labels[task.name][here & (written.labels[task.name] >= 0)], minlength=len(task.options)
            )
            for task in registry.values()
        }
    files = [folder / SUBJECTS_FILE, *sorted(folder.glob("label*/*.parquet"))]
    return DatasetManifest(
        source=source.kind,
        lang1_version=__version__,
        tasks={task.name: [option.code for option in task.options] for task in registry.values()},
        patients=len({source.patient_ids[stay] for stay in stays.tolist()}),
        encounters=len(np.unique(stays)),
        notes=len(np.unique(written.note)),
        mean_words=round(words / len(written.note), 1),
        notes_by_split={split: int(np.count_nonzero(written.split == split)) for split in counts},
        window=window,
        label_counts={s: {t: int(each.sum()) for t, each in tasks.items()} for s, tasks in counts.items()},
        class_ratios={
            s: {t: (each / max(1, int(each.sum()))).round(5).tolist() for t, each in tasks.items()}
            for s, tasks in counts.items()
        },
        missing=missing,
        dropped=dropped,
        rules=policy,
        splits=splits,
        inputs=[InputFile(name=each.name, bytes=each.stat().st_size, sha256=_sha256(each)) for each in source.inputs],
        notes_sha256=_sha256(folder / NOTES_FILE),
        files_sha256={str(each.relative_to(folder)): _sha256(each) for each in files},
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
