"""The chosen notes to the disk: a holdout folder, and a dataset folder to train on. Each appears whole or not."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lang1.bundle import file_sha256
from lang1.notes import clean_text
from lang1.tasks import TaskRegistry
from monitoring.cohorts import date_of
from training.dataset import TEST, TRAIN, VALIDATION
from training.retraining.holdout import GROUP, HOLDOUT_FILE, Drawn, HoldoutManifest, sample_of
from training.retraining.periods import Periods, Windows
from training.retraining.source import Ints, NoteRows, NoteSource
from training.retraining.spec import HoldoutPlan
from training.synth.arrow import Table, pa, pq
from training.synth.generate import MANIFEST_FILE, NOTES_FILE

_TEXTS = ("note_id", "patient_id", "encounter_id", "note_type")


def write_holdout(
    out: Path,
    source: NoteSource,
    registry: TaskRegistry,
    drawn: Drawn,
    windows: Mapping[str, Windows],
    plan: HoldoutPlan,
    *,
    seen: Any,
    as_of: str,
    seed: int,
) -> HoldoutManifest:
    """Write `out`/notes.parquet and holdout.json. seen (n,) bool of `drawn.rows`."""
    extra = [(f"label_{name}", pa.int8()) for name in registry] + [
        (f"weight_{name}", pa.float64()) for name in registry
    ]
    schema = _schema(source.rows, [("seen", pa.bool_()), *extra])
    kept: list[Ints] = []
    with _whole(out) as folder:
        with pq.ParquetWriter(folder / NOTES_FILE, schema, compression="zstd") as writer:
            for rows, table in source.read(drawn.rows):
                at = np.searchsorted(drawn.rows, rows)
                columns: dict[str, Any] = {"seen": seen[at]}
                columns |= {f"label_{name}": drawn.labels[name][at] for name in registry}
                columns |= {f"weight_{name}": drawn.weights[name][at] for name in registry}
                writer.write_table(_joined(table, source.rows, rows, columns, schema))
                kept.append(at)
        written = np.concatenate([np.zeros(0, np.int64), *kept])
        patients = source.rows.patient[drawn.rows[written]]
        manifest = HoldoutManifest(
            as_of=as_of, seed=seed, controls_per_case=plan.controls_per_case, max_events=plan.max_events,
            tasks={
                name: sample_of(task, drawn.labels[name][written], windows[name].days, drawn.window_counts[name])
                for name, task in registry.items()
            },
            notes=len(written), patients=len(np.unique(patients)),
            seen_patients=len(np.unique(patients[seen[written]])),
            about=dict(source.about), notes_sha256=file_sha256(folder / NOTES_FILE),
        )  # fmt: skip
        (folder / HOLDOUT_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def write_training(
    out: Path, source: NoteSource, registry: TaskRegistry, periods: Periods, holdout: Path, *, as_of: str
) -> dict[str, Any]:
    """Write `out` as a dataset folder, without texts that the holdout also has, and return its manifest."""
    held_out = {_digest(text) for text in pq.read_table(holdout / NOTES_FILE, columns=["text"])["text"].to_pylist()}
    schema = _schema(source.rows, [("split", pa.string()), *((f"label_{name}", pa.int8()) for name in registry)])
    kept: list[Ints] = []
    same = 0
    with _whole(out) as folder:
        with pq.ParquetWriter(folder / NOTES_FILE, schema, compression="zstd") as writer:
            for rows, table in source.read(periods.rows):
                own = np.array([_digest(text) not in held_out for text in table["text"].to_pylist()], dtype=np.bool_)
                same += int((~own).sum())
                if not own.any():
                    continue
                rows, table = rows[own], table.filter(pa.array(own))
                at = np.searchsorted(periods.rows, rows)
                columns: dict[str, Any] = {"split": periods.split[at].tolist()}
                columns |= {f"label_{name}": periods.labels[name][at] for name in registry}
                writer.write_table(_joined(table, source.rows, rows, columns, schema))
                kept.append(at)
        manifest = _manifest(source, registry, periods, np.concatenate([np.zeros(0, np.int64), *kept]))
        manifest |= {"as_of": as_of, "same_text_as_holdout": same, "notes_sha256": file_sha256(folder / NOTES_FILE)}
        (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def _digest(text: str) -> bytes:
    return hashlib.blake2b(clean_text(text).encode(), digest_size=16).digest()


def _schema(rows: NoteRows, extra: list[tuple[str, Any]]) -> Any:
    fields = [(name, pa.string()) for name in _TEXTS]
    fields += [("authored", pa.timestamp("s", tz="UTC")), ("text", pa.string())]
    return pa.schema([*fields, *extra, *((f"{GROUP}{name}", pa.string()) for name in rows.parts)])


def _joined(table: Table, rows: NoteRows, at: Ints, columns: Mapping[str, Any], schema: Any) -> Table:
    parts = {f"{GROUP}{name}": levels[at].tolist() for name, levels in rows.parts.items()}
    given = {name: table[name] for name in (*_TEXTS, "text")}
    authored = table["authored"].cast(pa.timestamp("s", tz="UTC"), safe=False)
    return pa.table({**given, "authored": authored, **columns, **parts}).select(schema.names).cast(schema)


def _manifest(source: NoteSource, registry: TaskRegistry, periods: Periods, written: Ints) -> dict[str, Any]:
    split = periods.split[written]
    authored_s = source.rows.authored_s[periods.rows[written]]
    counts: dict[str, dict[str, Any]] = {}
    for part in (TRAIN, VALIDATION, TEST):
        here = split == part
        counts[part] = {
            name: np.bincount(
                periods.labels[name][written][here & (periods.labels[name][written] >= 0)], minlength=len(task.options)
            )
            for name, task in registry.items()
        }
    return {
        **source.about,
        "notes_by_split": {part: int((split == part).sum()) for part in counts},
        "window": {
            part: (date_of(float(authored_s[split == part].min())), date_of(float(authored_s[split == part].max())))
            for part in counts
            if (split == part).any()
        },
        "label_counts": {p: {t: int(each.sum()) for t, each in tasks.items()} for p, tasks in counts.items()},
        "class_ratios": {
            p: {t: (each / max(1, int(each.sum()))).round(5).tolist() for t, each in tasks.items()}
            for p, tasks in counts.items()
        },
        "waiting": dict(periods.waiting),
    }


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder to write in that takes the place of `out` at the end. It holds notes: its owner alone may read it."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    try:
        yield partial
        shutil.rmtree(out, ignore_errors=True)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
