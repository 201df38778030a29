"""A dataset folder (`lang1 data build`, `lang1 data synth`) as a source: notes.parquet, and when outcomes were known.

When an outcome became final is read from outcomes.parquet beside the notes (encounter, task, known_at, discharged_at:
what `lang1 monitor replay` reads), or from columns `known_<task>` and `discharged` of the notes; else it is taken from
the calendar, with the stay's end from its discharge summary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lang1.note_types import DISCHARGE_SUMMARY
from lang1.tasks import TaskRegistry
from training.dataset import Dataset
from training.recipe import RecipeError
from training.retraining.source import Floats, Ints, NoteRows, Strings, known_when
from training.sources.splits import unit_shares
from training.synth.arrow import Table, pa, pc, pq
from training.synth.factors import AGE_BANDS, SEXES
from training.synth.generate import NOTES_FILE

OUTCOMES_FILE = "outcomes.parquet"
READ = ("note_id", "patient_id", "encounter_id", "note_type", "authored", "text")
_GROUP = "group_"
_BATCH = 4096
_FAR_S = 4e11  # some 12,000 years: "never" in files that have no word for it


class FolderSource:
    """A dataset folder, its labels read and its texts left on the disk. Raises RecipeError."""

    def __init__(self, dataset: Dataset, registry: TaskRegistry, seed: int) -> None:
        if "authored" not in dataset.columns:
            raise RecipeError(f"{dataset.folder / NOTES_FILE} lacks authored; retraining needs each note's time")
        self._file = dataset.folder / NOTES_FILE
        self._dataset = dataset
        self._rows = _rows(dataset, registry, seed)

    @property
    def rows(self) -> NoteRows:
        return self._rows

    @property
    def sha256(self) -> str:
        return self._dataset.notes_sha256

    @property
    def about(self) -> Mapping[str, Any]:
        kept = ("simulator_version", "config", "source")
        manifest = self._dataset.manifest
        return {"source_sha256": self.sha256} | {key: manifest[key] for key in kept if key in manifest}

    def read(self, wanted: Ints) -> Iterator[tuple[Ints, Table]]:
        """As `NoteSource.read`; row groups without a wanted note are not touched."""
        with pq.ParquetFile(self._file) as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            ends = np.cumsum(sizes)
            for group, (end, size) in enumerate(zip(ends.tolist(), sizes, strict=True)):
                low, high = np.searchsorted(wanted, [end - size, end])
                if low == high:
                    continue
                table = file.read_row_group(group, columns=list(READ))
                for start in range(int(low), int(high), _BATCH):
                    rows = wanted[start : min(start + _BATCH, int(high))]
                    yield rows, table.take(pa.array(rows - (end - size)))


def _rows(dataset: Dataset, registry: TaskRegistry, seed: int) -> NoteRows:
    groups = sorted(name for name in dataset.columns if name.startswith(_GROUP))
    given = [name for name in ("discharged", *(f"known_{task}" for task in registry)) if name in dataset.columns]
    context = ["context"] if "context" in dataset.columns and dataset.knows_the_truth else []
    labels = [f"label_{task}" for task in registry]
    table = pq.read_table(
        dataset.folder / NOTES_FILE,
        columns=["patient_id", "encounter_id", "note_type", "authored", *labels, *groups, *given, *context],
    )
    encounters = table["encounter_id"].to_pylist()
    encounter = _codes(table["encounter_id"])
    note_type: Strings = np.asarray(table["note_type"].to_pylist(), dtype=np.str_)
    authored_s = _seconds(table["authored"])
    outcomes = _outcomes(dataset.folder / OUTCOMES_FILE, table["encounter_id"], registry)
    discharged_s = (
        _seconds(table["discharged"]) if "discharged" in given
        else outcomes["discharged"] if "discharged" in outcomes
        else _from_summaries(encounter, note_type, authored_s)
    )  # fmt: skip
    known: dict[str, Floats] = {}
    for name, task in registry.items():
        asked = np.isin(note_type, task.note_types)
        label = table[f"label_{name}"].to_numpy()
        if f"known_{name}" in given:
            when = _seconds(table[f"known_{name}"])
            when = np.where(np.isnan(when), np.inf, when)
        elif name in outcomes:
            when = outcomes[name]
        else:
            when = known_when(task, authored_s, discharged_s)
            asked &= label >= 0  # without a time of its own a missing label cannot be told from an open one
        known[name] = np.where(asked, np.where(when > _FAR_S, np.inf, when), np.nan)
    parts: dict[str, Strings] = {
        name.removeprefix(_GROUP): np.asarray([str(each) for each in table[name].to_pylist()], dtype=np.str_)
        for name in groups
    }
    if context:
        drawn = np.asarray(pc.list_flatten(table["context"])).reshape(len(table), -1)
        bands = np.asarray([f"{low} to {high}" for low, high in AGE_BANDS])
        parts |= {"age": bands[drawn[:, 0]], "sex": np.asarray(SEXES)[drawn[:, 1]]}
    return NoteRows(
        patient=_codes(table["patient_id"]),
        encounter=encounter,
        note_type=note_type,
        drawn=unit_shares(encounters, seed),
        authored_s=authored_s,
        discharged_s=discharged_s,
        labels={name: table[f"label_{name}"].to_numpy().astype(np.int8) for name in registry},
        known_s=known,
        parts=parts,
    )


def _codes(column: Any) -> Ints:
    return np.asarray(pc.dictionary_encode(column.combine_chunks()).indices, dtype=np.int64)


def _seconds(column: Any) -> Floats:
    """Seconds since 1970, nan for null."""
    return np.asarray(
        pc.cast(pc.cast(column, pa.timestamp("s", tz=column.type.tz), safe=False), pa.int64()).to_numpy(
            zero_copy_only=False
        ),
        dtype=np.float64,
    )


def _from_summaries(encounter: Ints, note_type: Strings, authored_s: Floats) -> Floats:
    """The end of each note's stay, from the time of its discharge summary; nan where there is none."""
    ends = np.full(int(encounter.max(initial=-1)) + 1, np.nan)
    summaries = note_type == DISCHARGE_SUMMARY.loinc
    np.fmax.at(ends, encounter[summaries], authored_s[summaries])
    return np.asarray(ends[encounter])


def _outcomes(path: Path, encounters: Any, registry: TaskRegistry) -> dict[str, Floats]:
    """Task, and "discharged", to the time of each note (N,); inf for an outcome that the file does not have."""
    if not path.is_file():
        return {}
    try:
        table = pq.read_table(path, columns=["encounter", "task", "known_at", "discharged_at"])
    except (pa.ArrowException, OSError, KeyError) as error:
        raise RecipeError(
            f"{path} cannot be read ({type(error).__name__}); its columns are encounter, task, known_at, discharged_at"
        ) from None
    found: dict[str, Floats] = {}
    for name in registry:
        part = table.filter(pc.equal(table["task"], name))
        if not part.num_rows:
            continue
        at = np.asarray(pc.fill_null(pc.index_in(encounters, value_set=part["encounter"].combine_chunks()), -1))
        known, left = _seconds(part["known_at"]), _seconds(part["discharged_at"])
        found[name] = np.where(at >= 0, known[at], np.inf)
        found["discharged"] = np.where(at >= 0, left[at], found.get("discharged", np.nan))
    return found
