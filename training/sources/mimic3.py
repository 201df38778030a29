"""MIMIC-III v1.4 as PhysioNet ships it, to the paper's external validation sets (paper, 5.2.3).

Readmission: one discharge summary a stay. Mortality and length of stay: one admission note a stay, chosen as the paper
says. Charlson classes come from DIAGNOSES_ICD beside them; there are no claims. Every patient's dates are shifted by
another amount, so there is no common end of the record, no censoring and no split by date: splits are by patient.
The stays are of intensive care patients, and a return to another hospital is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from lang1.charlson import IcdVersion
from lang1.label_rules import (
    Diagnoses,
    Encounters,
    HospitalRecord,
    LabelPolicy,
    NoteTimes,
    Rows,
    Times,
)
from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from lang1.tasks import TaskRegistry
from training.sources.columns import Advance, read_columns, repeats, stream_columns, time_form
from training.sources.errors import SourceError
from training.sources.record import Ledger, NoteIndex, SourceRecord
from training.sources.splits import SplitPlan, Splits
from training.synth.arrow import Table, pc

ADMISSIONS = ("SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME", "ADMISSION_TYPE", "HOSPITAL_EXPIRE_FLAG")
PATIENTS = ("SUBJECT_ID", "DOD_HOSP")
DIAGNOSES = ("HADM_ID", "ICD9_CODE")
NOTES = ("ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "CATEGORY", "DESCRIPTION", "ISERROR")
READMISSION_SHARES = (0.70, 0.15, 0.15)
STAY_SHARES = (0.80, 0.10, 0.10)
ADMISSION_NOTE_HOURS = 120.0

CATEGORY_ORDER = ("physician", "general", "nursing")
AUTHOR_ORDER = ("resident/attending", "resident", "attending", "fellow", "h&p")

_UTC = ZoneInfo("UTC")
_CLOCK = "%Y-%m-%d %H:%M:%S"


def mimic3_policy(in_hospital_deaths: Literal["leave-out", "negative"] = "leave-out") -> LabelPolicy:
    """The label rules of the MIMIC-III sets: exact durations and the 120 hours of the paper, nobody censored.

    The paper's 52,725 notes are about as many as there are stays with a discharge summary, which means that it kept
    the stays that ended in death; `negative` does so. Left out is what the label means elsewhere in this project.
    """
    return LabelPolicy(
        in_hospital_deaths=in_hospital_deaths,
        stay_length="elapsed",
        admission_note_hours_after=ADMISSION_NOTE_HOURS,
    )


def mimic3_splits(registry: TaskRegistry, seed: int = 3407) -> Splits:
    """By patient: 70/15/15 for tasks on discharge summaries, 80/10/10 for the others. Test patients of either are in
    the training set of neither, because the shares nest."""
    return Splits(
        plan=SplitPlan(shares=STAY_SHARES),
        tasks={
            task.name: SplitPlan(shares=READMISSION_SHARES)
            for task in registry.values()
            if task.trained_on(DISCHARGE_SUMMARY.loinc)
        },
        unit="patient",
        seed=seed,
    )


def mimic3_file(folder: Path, table: str) -> Path:
    """TABLE.csv or TABLE.csv.gz in `folder`, in capitals or small letters. Raises SourceError when there is none."""
    for name in (f"{table}.csv", f"{table}.csv.gz", f"{table.lower()}.csv", f"{table.lower()}.csv.gz"):
        if (folder / name).is_file():
            return folder / name
    raise SourceError(f"{table}.csv or {table}.csv.gz is not in the folder; send the MIMIC-III v1.4 files")


def read_mimic3(folder: Path, advance: Advance = lambda _: None) -> SourceRecord:
    """The stays, codes and chosen notes of a MIMIC-III folder.

    Raises SourceError for a missing file or column, an id that repeats or a time that cannot be read.
    """
    ledger = Ledger(fail=True)
    paths = {name: mimic3_file(folder, name) for name in ("ADMISSIONS", "PATIENTS", "DIAGNOSES_ICD", "NOTEEVENTS")}
    died_on = _deaths(paths["PATIENTS"], advance)
    stays, patient_ids, encounter_ids = _read_stays(paths["ADMISSIONS"], died_on, ledger, advance)
    row_of = {name: row for row, name in enumerate(encounter_ids)}
    codes = read_columns(paths["DIAGNOSES_ICD"], DIAGNOSES, advance)
    owner = _owners(codes["HADM_ID"], row_of)
    icd9 = codes["ICD9_CODE"].to_pylist()
    coded = np.array([code is not None for code in icd9], dtype=np.bool_)
    ledger.leave_out("DIAGNOSES_ICD", "no ICD9_CODE", ~coded)
    ledger.leave_out("DIAGNOSES_ICD", "stay not taken", coded & (owner < 0))
    kept = np.flatnonzero((owner >= 0) & coded)
    version = np.full(len(kept), int(IcdVersion.ICD_9_CM), dtype=np.int8)
    diagnoses = Diagnoses(owner[kept], [icd9[row] for row in kept.tolist()], version)
    notes = paths["NOTEEVENTS"]

    def texts(again: Advance) -> Iterator[tuple[int, list[str | None]]]:
        for span in stream_columns(notes, ("TEXT",), again):
            yield span.first, span.table["TEXT"].to_pylist()

    return SourceRecord(
        kind="mimic3",
        hospital=HospitalRecord(stays, diagnoses),
        patient_ids=patient_ids,
        encounter_ids=encounter_ids,
        notes=_index_notes(notes, row_of, patient_ids, ledger, advance),
        texts=texts,
        zone=_UTC,
        dropped=ledger.counts,
        inputs=tuple(paths.values()),
    )


def mimic3_bytes(folder: Path) -> int:
    """The bytes that `read_mimic3` and one reading of the texts report as they advance."""
    tables = ("ADMISSIONS", "PATIENTS", "DIAGNOSES_ICD", "NOTEEVENTS", "NOTEEVENTS")
    return sum(mimic3_file(folder, table).stat().st_size for table in tables)


def _time(table: Table, column: str, path: Path, form: str = _CLOCK, first: int = 0) -> Times:
    """A column of PhysioNet's times; NaT for an empty cell. `first` is the index of the table's first record."""
    cells = table[column]
    parsed = pc.strptime(cells, format=form, unit="s", error_is_null=True)
    wrong = pc.and_(pc.is_null(parsed), pc.is_valid(cells))
    if pc.any(wrong).as_py():
        record = first + pc.index(wrong, True).as_py() + 1
        raise SourceError(f"{path.name}: record {record}: {column} is not {time_form(form)}")
    return np.asarray(parsed.to_numpy(), dtype="datetime64[s]")


def _deaths(path: Path, advance: Advance) -> dict[str, np.datetime64]:
    table = read_columns(path, PATIENTS, advance)
    day = _time(table, "DOD_HOSP", path)
    ids = table["SUBJECT_ID"].to_pylist()
    return {ids[row]: day[row] for row in np.flatnonzero(~np.isnat(day)).tolist()}


def _read_stays(
    path: Path, died_on: dict[str, np.datetime64], ledger: Ledger, advance: Advance
) -> tuple[Encounters, list[str], list[str]]:
    table = read_columns(path, ADMISSIONS, advance)
    ids, people = table["HADM_ID"].to_pylist(), table["SUBJECT_ID"].to_pylist()
    admitted, discharged = _time(table, "ADMITTIME", path), _time(table, "DISCHTIME", path)

    def where(row: int) -> str:
        return f"{path.name}: record {row + 1}"

    none = np.array([stay is None or person is None for stay, person in zip(ids, people, strict=True)], dtype=np.bool_)
    ledger.bad("ADMISSIONS", "no HADM_ID or SUBJECT_ID", none, where)
    ledger.bad("ADMISSIONS", "HADM_ID was there before", repeats(ids), where)
    ledger.bad("ADMISSIONS", "no ADMITTIME", np.isnat(admitted), where)
    flag = table["HOSPITAL_EXPIRE_FLAG"].to_pylist()
    wrong = np.array([value not in {"0", "1"} for value in flag], dtype=np.bool_)
    ledger.bad("ADMISSIONS", "HOSPITAL_EXPIRE_FLAG is not 0 or 1", wrong, where)
    backwards = np.asarray(discharged < admitted)
    # An organ donor is admitted again on paper, after the death.
    death = np.array([died_on.get(person, np.datetime64("NaT", "s")) for person in people], dtype="datetime64[s]")
    donor = ~backwards & (admitted.astype("datetime64[D]") > death.astype("datetime64[D]"))
    ledger.leave_out("ADMISSIONS", "discharge before admission", backwards)
    ledger.leave_out("ADMISSIONS", "admitted after the recorded death", donor)
    kept = np.flatnonzero(~backwards & ~donor)
    kind = np.array(table["ADMISSION_TYPE"].to_pylist(), dtype=object)[kept]
    patient_ids = [people[row] for row in kept.tolist()]
    number: dict[str, int] = {}
    no = np.zeros(len(kept), dtype=np.bool_)
    stays = Encounters(
        patient=np.fromiter((number.setdefault(each, len(number)) for each in patient_ids), np.int64, len(kept)),
        admitted=admitted[kept],
        discharged=discharged[kept],
        died=np.array([int(flag[row]) for row in kept.tolist()], dtype=np.int8),
        inpatient=~no,
        left_out=no,
        planned=np.asarray(kind == "ELECTIVE", dtype=np.bool_),
        transferred_in=no,
        newborn=np.asarray(kind == "NEWBORN", dtype=np.bool_),
    )
    return stays, patient_ids, [ids[row] for row in kept.tolist()]


def _owners(cells: Any, row_of: dict[str, int]) -> Rows:
    # v1.4 writes a whole number; a copy that went through pandas has "100001.0".
    ids = cells.to_pylist()
    return np.fromiter(
        (-1 if each is None else row_of.get(each.removesuffix(".0"), -1) for each in ids), np.int64, len(ids)
    )


def note_rank(category: str | None, description: str | None) -> int | None:
    """How early an admission note is taken, from 0; None for what is none. Paper, 5.2.3.

    An admission note is described so ("readmission" is another thing) and is a physician's, a general or a nurse's.
    """
    kind, words = (category or "").strip().lower(), (description or "").lower()
    if "admission" not in words or "readmission" in words:
        return None
    family = next((place for place, name in enumerate(CATEGORY_ORDER) if kind.startswith(name)), None)
    if family is None:
        return None
    author = next((place for place, name in enumerate(AUTHOR_ORDER) if name in words), len(AUTHOR_ORDER))
    return family * (len(AUTHOR_ORDER) + 1) + author


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Notes that a stay's note may be taken from, (n,) each. `rank`, then `age`, then `-length`: the least is taken."""

    row: Rows
    note_id: NDArray[np.str_]
    stay: Rows
    note_type: NDArray[np.str_]
    earliest: Times
    latest: Times
    rank: Rows
    age: Rows
    length: Rows


def _joined(parts: list[_Candidates]) -> _Candidates:
    kinds = ("i8", "U1", "i8", "U1", "M8[s]", "M8[s]", "i8", "i8", "i8")
    names = _Candidates.__slots__
    return _Candidates(
        *(
            np.concatenate([np.zeros(0, dtype=kind), *(getattr(part, name) for part in parts)])
            for name, kind in zip(names, kinds, strict=True)
        )
    )


def _candidates(
    table: Table, first: int, path: Path, row_of: dict[str, int], patient_ids: list[str], ledger: Ledger
) -> _Candidates:
    categories, descriptions = table["CATEGORY"].to_pylist(), table["DESCRIPTION"].to_pylist()
    summary = np.array([(each or "").strip().lower() == "discharge summary" for each in categories], dtype=np.bool_)
    ranks = [note_rank(*each) for each in zip(categories, descriptions, strict=True)]
    admission = np.array([rank is not None for rank in ranks], dtype=np.bool_) & ~summary
    keep = summary | admission
    ledger.leave_out("NOTEEVENTS", "neither a discharge summary nor an admission note", ~keep)
    stay = _owners(table["HADM_ID"], row_of)
    people = table["SUBJECT_ID"].to_pylist()
    addendum = np.array(["addendum" in (each or "").lower() for each in descriptions], dtype=np.bool_)
    other = np.array(
        [at >= 0 and person != patient_ids[at] for at, person in zip(stay.tolist(), people, strict=True)],
        dtype=np.bool_,
    )
    for reason, left in (
        ("ISERROR is 1", np.array([each == "1" for each in table["ISERROR"].to_pylist()], dtype=np.bool_)),
        ("no HADM_ID", np.asarray(pc.is_null(table["HADM_ID"]).to_numpy())),
        ("stay not taken", stay < 0),
        ("the note's patient is not its stay's", other),
        ("addendum to a discharge summary", summary & addendum),
        ("no text", np.asarray(pc.is_null(table["TEXT"]).to_numpy())),
    ):
        ledger.leave_out("NOTEEVENTS", reason, left & keep)
        keep &= ~left
    day = _time(table, "CHARTDATE", path, "%Y-%m-%d", first)
    exact = _time(table, "CHARTTIME", path, first=first)
    earliest = np.where(np.isnat(exact), day, exact)
    latest = np.where(np.isnat(exact), day + np.timedelta64(86_399, "s"), exact)
    kept = np.flatnonzero(keep)
    length = pc.fill_null(pc.binary_length(table["TEXT"]), 0).to_numpy().astype(np.int64)
    types = np.where(summary, DISCHARGE_SUMMARY.loinc, HISTORY_AND_PHYSICAL.loinc)
    rank = np.array([0 if each is None else each for each in ranks], dtype=np.int64)
    # Of several summaries the last one charted is the finished one; admission notes go by the paper's order alone.
    age = np.where(summary, -day.astype(np.int64), 0)
    return _Candidates(
        row=kept + first,
        note_id=np.array(table["ROW_ID"].to_pylist(), dtype=str)[kept],
        stay=stay[kept],
        note_type=types[kept],
        earliest=earliest[kept],
        latest=latest[kept],
        rank=np.where(summary, 0, rank)[kept],
        age=age[kept],
        length=length[kept],
    )


def _index_notes(
    path: Path, row_of: dict[str, int], patient_ids: list[str], ledger: Ledger, advance: Advance
) -> NoteIndex:
    """One discharge summary and one admission note a stay. The texts are read here for their lengths alone."""
    spans = stream_columns(path, (*NOTES, "TEXT"), advance)
    found = _joined([_candidates(span.table, span.first, path, row_of, patient_ids, ledger) for span in spans])
    order = np.lexsort((found.row, -found.length, found.age, found.rank, found.note_type, found.stay))
    stay, loinc = found.stay[order], found.note_type[order]
    best = np.ones(len(order), dtype=np.bool_)
    best[1:] = (stay[1:] != stay[:-1]) | (loinc[1:] != loinc[:-1])
    chosen = np.zeros(len(order), dtype=np.bool_)
    chosen[order[best]] = True
    for note_type, words in ((DISCHARGE_SUMMARY, "discharge summary"), (HISTORY_AND_PHYSICAL, "admission note")):
        rest = ~chosen & (found.note_type == note_type.loinc)
        ledger.leave_out("NOTEEVENTS", f"another {words} of the stay was taken", rest)
    kept = np.flatnonzero(chosen)
    times = NoteTimes(found.stay[kept], found.note_type[kept], found.earliest[kept], found.latest[kept])
    return NoteIndex(found.row[kept], found.note_id[kept], times)
