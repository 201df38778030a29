"""A hospital's own export: CSV or Parquet files with a mapping file (`training.sources.mapping`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from lang1.charlson import IcdVersion, is_code
from lang1.label_rules import (
    CLAIM_STATUSES,
    NO_LABEL,
    REASONS,
    Claims,
    ClaimStatus,
    Diagnoses,
    Encounters,
    Flags,
    HospitalRecord,
    LabelPolicy,
    Missing,
    NoteTimes,
    Rows,
    StayLabels,
    Times,
)
from lang1.tasks import TaskRegistry
from training.sources.columns import (
    Advance,
    Clock,
    Span,
    file_columns,
    missing_column_hint,
    parse_times,
    repeats,
    stream_columns,
    time_form,
)
from training.sources.errors import MappingError
from training.sources.mapping import Answers, Codes, Flag, Mapping, Payers, TimeColumn, fold
from training.sources.record import Ledger, NoteIndex, SourceRecord
from training.synth.arrow import Table, pa

_ICD_NAMES = {
    "9": 9, "icd9": 9, "icd-9": 9, "icd9cm": 9, "icd-9-cm": 9, "http://hl7.org/fhir/sid/icd-9-cm": 9,
    "10": 10, "icd10": 10, "icd-10": 10, "icd10cm": 10, "icd-10-cm": 10, "http://hl7.org/fhir/sid/icd-10-cm": 10,
    "http://hl7.org/fhir/sid/icd-10": 10,
}  # fmt: skip


class _Source:
    """One table of the mapping: its files as one run of records."""

    def __init__(self, key: str, files: str | tuple[str, ...], columns: dict[str, str], base: Path) -> None:
        """`columns` maps a key of the mapping to the column it names. Raises MappingError for one that is not there."""
        self.key = key
        self.paths = [base / name for name in ((files,) if isinstance(files, str) else files)]
        self.columns = list(dict.fromkeys(columns.values()))
        self.starts: list[int] = []
        for path in self.paths:
            if not path.is_file():
                raise MappingError(f"{key}.file: {path} is not there")
            present = file_columns(path)
            for name, column in columns.items():
                if column not in present:
                    raise MappingError(
                        f"{key}.{name}: {path.name} has no column {column!r} among {missing_column_hint(present)}"
                    )

    def spans(self, advance: Advance) -> Iterator[Span]:
        self.starts = []
        done = 0
        for path in self.paths:
            self.starts.append(done)
            rows = 0
            for span in stream_columns(path, self.columns, advance):
                yield Span(done + span.first, span.table)
                rows += span.table.num_rows
            done += rows

    def read(self, advance: Advance) -> Table:
        schema = pa.schema([(name, pa.string()) for name in self.columns])
        return pa.concat_tables([schema.empty_table(), *(span.table for span in self.spans(advance))])

    def where(self, row: int) -> str:
        """The file and record of a row, for an error."""
        file = int(np.searchsorted(self.starts, row, side="right")) - 1
        return f"{self.paths[file].name}: record {row - self.starts[file] + 1}"


def read_tables(
    mapping: Mapping, base: Path, registry: TaskRegistry, advance: Advance = lambda _: None
) -> SourceRecord:
    """The export that `mapping` describes; file names are relative to `base`.

    Raises MappingError for a file, column or task that is not there, SourceError for a bad record (or counts it, with
    `bad_rows: drop`).
    """
    zone = ZoneInfo(mapping.timezone)
    ledger = Ledger(fail=mapping.bad_rows == "fail")
    stays = _Stays(mapping, base, registry, zone, ledger, advance)
    inputs = list(stays.source.paths)
    diagnoses, claims = None, None
    if mapping.diagnoses is not None:
        diagnoses = _read_diagnoses(mapping.diagnoses, base, stays.row_of, ledger, advance, inputs)
    if mapping.claims is not None:
        claims = _read_claims(mapping.claims, base, stays.row_of, zone, ledger, advance, inputs)
    source = _notes_source(mapping, base)
    inputs += source.paths
    index = _index_notes(mapping, source, stays, zone, ledger, advance)

    def texts(again: Advance) -> Iterator[tuple[int, list[str | None]]]:
        named = mapping.notes.text
        parts = [named] if isinstance(named, str) else list(named)
        reader = _Source("notes", mapping.notes.file, {part: part for part in parts}, base)
        for span in reader.spans(again):
            cells = [span.table[part].to_pylist() for part in parts]
            joined = ["\n".join(filter(None, row)) or None for row in zip(*cells, strict=True)]
            yield span.first, joined

    return SourceRecord(
        kind="tables",
        hospital=HospitalRecord(stays.encounters, diagnoses, claims, stays.given),
        patient_ids=stays.patient_ids,
        encounter_ids=stays.encounter_ids,
        notes=index,
        texts=texts,
        zone=zone,
        dropped=ledger.counts,
        inputs=tuple(inputs),
    )


def policy_of(mapping: Mapping) -> LabelPolicy:
    """The rules of the mapping, with the end of the record: the midnight after its last day."""
    end = datetime.combine(mapping.observed_until + timedelta(days=1), datetime.min.time())
    return mapping.rules.model_copy(update={"observed_until": end})


def input_bytes(mapping: Mapping, base: Path) -> int:
    """The bytes that `read_tables` and one reading of the texts report as they advance."""
    tables = [mapping.encounters, mapping.diagnoses, mapping.claims, mapping.notes, mapping.notes]
    names = [
        name for table in tables if table for name in ([table.file] if isinstance(table.file, str) else table.file)
    ]
    return sum((base / name).stat().st_size for name in names if (base / name).is_file())


def _holds(cells: list[str | None], flag: Flag) -> Flags:
    wanted = {fold(value) for value in flag.values}
    return np.fromiter((cell is not None and fold(cell) in wanted for cell in cells), np.bool_, len(cells))


def _empty(cells: list[str | None]) -> Flags:
    return np.fromiter((cell is None or not cell.strip() for cell in cells), np.bool_, len(cells))


def _clock(table: Table, column: TimeColumn, zone: ZoneInfo) -> Clock:
    return parse_times(table[column.column], column.format, zone)


class _Stays:
    """The encounters table, read and checked."""

    def __init__(
        self, mapping: Mapping, base: Path, registry: TaskRegistry, zone: ZoneInfo, ledger: Ledger, advance: Advance
    ) -> None:
        named = mapping.encounters
        flags = {
            name: each
            for name in ("inpatient", "left_out", "planned", "transferred_in", "newborn")
            if (each := getattr(named, name)) is not None
        }
        columns = {
            "encounter_id": named.encounter_id, "patient_id": named.patient_id, "admitted": named.admitted.column,
            "discharged": named.discharged.column, "disposition": named.disposition.column,
            **{name: each.column for name, each in flags.items()},
        }  # fmt: skip
        self.source = _Source("encounters", named.file, columns, base)
        _check_answers(mapping, registry, self.source.paths)
        self.source.columns += [
            each.column for each in mapping.labels.values() if each.column not in self.source.columns
        ]
        table = self.source.read(advance)
        admitted, discharged = _clock(table, named.admitted, zone), _clock(table, named.discharged, zone)
        ids: list[str | None] = table[named.encounter_id].to_pylist()
        people: list[str | None] = table[named.patient_id].to_pylist()
        end = np.datetime64(mapping.observed_until) + np.timedelta64(1, "D")
        checks = (
            ("no encounter_id", _empty(ids)),
            ("no patient_id", _empty(people)),
            ("encounter_id was there before", repeats([each or "" for each in ids]) & ~_empty(ids)),
            (f"admitted is not {time_form(named.admitted.format)}", admitted.bad),
            ("no admission time", np.isnat(admitted.times) & ~admitted.bad),
            (f"discharged is not {time_form(named.discharged.format)}", discharged.bad),
            (Missing.BAD_TIMES.value, discharged.latest < admitted.times),
            ("admitted after observed_until", admitted.times >= end),
        )
        keep = np.ones(table.num_rows, dtype=np.bool_)
        for reason, bad in checks:
            ledger.bad("encounters", reason, bad & keep, self.source.where)
            keep &= ~bad
        kept = np.flatnonzero(keep)
        self.encounter_ids = [str(ids[row]) for row in kept.tolist()]
        self.patient_ids = [str(people[row]) for row in kept.tolist()]
        self.row_of = {name: row for row, name in enumerate(self.encounter_ids)}
        number: dict[str, int] = {}
        patient = np.fromiter((number.setdefault(each, len(number)) for each in self.patient_ids), np.int64, len(kept))
        disposition = table[named.disposition.column].to_pylist()
        died = np.where(_holds(disposition, named.disposition), 1, np.where(_empty(disposition), -1, 0))
        out = discharged.times.copy()
        died[np.isnat(out) & (died == 0)] = -1
        # What ends after the export ends is not over: its outcome is not part of the record.
        died[out >= end] = -1
        out[out >= end] = np.datetime64("NaT")

        def flag(name: str, otherwise: bool) -> Flags:
            if name not in flags:
                return np.full(len(kept), otherwise)
            return _holds(table[flags[name].column].to_pylist(), flags[name])[kept]

        # A discharge day without a time is after an admission of that day.
        out = np.where(discharged.is_date & (out < admitted.times), admitted.times, out)
        self.encounters = Encounters(
            patient=patient,
            admitted=admitted.times[kept],
            discharged=out[kept],
            died=died[kept].astype(np.int8),
            inpatient=flag("inpatient", True),
            left_out=flag("left_out", False),
            planned=flag("planned", False),
            transferred_in=flag("transferred_in", False),
            newborn=flag("newborn", False),
        )
        self.given = {
            name: _answers(
                [cell for cell, here in zip(table[each.column].to_pylist(), keep.tolist(), strict=True) if here],
                each,
                [option.code for option in registry[name].options],
                self.encounters,
            )
            for name, each in mapping.labels.items()
        }


def _check_answers(mapping: Mapping, registry: TaskRegistry, paths: Sequence[Path]) -> None:
    for name, each in mapping.labels.items():
        if name not in registry:
            raise MappingError(f"labels.{name}: no such task; known: {', '.join(registry)} (more with --tasks)")
        codes = [option.code for option in registry[name].options]
        for value in each.values.values():
            if value not in codes:
                raise MappingError(f"labels.{name}.values: {value!r} is no option code; known: {', '.join(codes)}")
        for path in paths:
            if each.column not in file_columns(path):
                raise MappingError(f"labels.{name}.column: {path.name} has no column {each.column!r}")
    for name in mapping.splits.tasks:
        if name not in registry:
            raise MappingError(f"splits.tasks.{name}: no such task; known: {', '.join(registry)} (more with --tasks)")


def _answers(cells: list[str | None], each: Answers, codes: list[str], stays: Encounters) -> StayLabels:
    options = {fold(value): codes.index(code) for value, code in each.values.items()}
    label = np.fromiter(
        (NO_LABEL if cell is None else options.get(fold(cell), NO_LABEL) for cell in cells), np.int8, len(cells)
    )
    reason = np.where(label == NO_LABEL, REASONS.index(Missing.NO_VALUE), -1).astype(np.int8)
    return StayLabels(label, reason, np.full(len(stays), np.datetime64("NaT", "s")))


def _owners(ids: list[str | None], row_of: dict[str, int]) -> Rows:
    return np.fromiter((-1 if each is None else row_of.get(each, -1) for each in ids), np.int64, len(ids))


def _read_diagnoses(
    named: Codes, base: Path, row_of: dict[str, int], ledger: Ledger, advance: Advance, inputs: list[Path]
) -> Diagnoses:
    version_column = named.icd_version.column
    columns = {"encounter_id": named.encounter_id, "code": named.code}
    if version_column is not None:
        columns["icd_version.column"] = version_column
    source = _Source("diagnoses", named.file, columns, base)
    inputs += source.paths
    table = source.read(advance)
    owner = _owners(table[named.encounter_id].to_pylist(), row_of)
    codes = [each or "" for each in table[named.code].to_pylist()]
    if named.icd_version.value is not None:
        version = np.full(len(codes), int(named.icd_version.value), dtype=np.int8)
    else:
        cells = table[version_column].to_pylist()
        version = np.fromiter((_ICD_NAMES.get(fold(each or ""), -1) for each in cells), np.int8, len(cells))
    known = {int(each): each for each in IcdVersion}
    shaped = np.fromiter(
        (kind in known and is_code(code, known[kind]) for code, kind in zip(codes, version.tolist(), strict=True)),
        np.bool_,
        len(codes),
    )
    ledger.leave_out("diagnoses", "encounter not taken", owner < 0)
    ledger.leave_out("diagnoses", "ICD version not 9 or 10", (owner >= 0) & (version < 0))
    ledger.leave_out("diagnoses", "not a code of its ICD version", (owner >= 0) & (version >= 0) & ~shaped)
    kept = np.flatnonzero((owner >= 0) & shaped)
    return Diagnoses(owner[kept], [codes[row] for row in kept.tolist()], version[kept])


def _read_claims(
    named: Payers,
    base: Path,
    row_of: dict[str, int],
    zone: ZoneInfo,
    ledger: Ledger,
    advance: Advance,
    inputs: list[Path],
) -> Claims:
    columns = {"encounter_id": named.encounter_id, "status.column": named.status.column}
    if named.claim_id is not None:
        columns["claim_id"] = named.claim_id
    if named.decided is not None:
        columns["decided"] = named.decided.column
    source = _Source("claims", named.file, columns, base)
    inputs += source.paths
    table = source.read(advance)
    owner = _owners(table[named.encounter_id].to_pylist(), row_of)
    means = {fold(value): CLAIM_STATUSES.index(status) for value, status in named.status.values.items()}
    unknown = CLAIM_STATUSES.index(ClaimStatus.UNKNOWN)
    status = np.fromiter(
        (means.get(fold(each or ""), unknown) for each in table[named.status.column].to_pylist()), np.int8, len(owner)
    )
    decided: Times = np.full(len(owner), np.datetime64("NaT", "s"))
    bad = np.zeros(len(owner), dtype=np.bool_)
    if named.decided is not None:
        clock = _clock(table, named.decided, zone)
        decided, bad = clock.times, clock.bad
        ledger.bad("claims", f"decided is not {time_form(named.decided.format)}", bad, source.where)
    ledger.leave_out("claims", "encounter not taken", (owner < 0) & ~bad)
    claim = np.arange(len(owner))
    if named.claim_id is not None:
        number: dict[tuple[str, int], int] = {}
        # A row without an id is a claim of its own; an id that two stays share is two claims.
        names = table[named.claim_id].to_pylist()
        claim = np.fromiter(
            (
                number.setdefault((f"#{row}" if name is None else f"={name}", stay), len(number))
                for row, (name, stay) in enumerate(zip(names, owner.tolist(), strict=True))
            ),
            np.int64,
            len(owner),
        )
    kept = np.flatnonzero((owner >= 0) & ~bad)
    return Claims(owner[kept], claim[kept], status[kept], decided[kept])


def _notes_source(mapping: Mapping, base: Path) -> _Source:
    named = mapping.notes
    columns = {
        "note_id": named.note_id, "encounter_id": named.encounter_id, "authored": named.authored.column,
        "note_type.column": named.note_type.column,
    }  # fmt: skip
    if named.patient_id is not None:
        columns["patient_id"] = named.patient_id
    parts = [named.text] if isinstance(named.text, str) else list(named.text)
    for part in parts:
        _Source("notes", named.file, {"text": part}, base)
    return _Source("notes", named.file, columns, base)


def _index_notes(
    mapping: Mapping, source: _Source, stays: _Stays, zone: ZoneInfo, ledger: Ledger, advance: Advance
) -> NoteIndex:
    named = mapping.notes
    table = source.read(advance)
    ids: list[str | None] = table[named.note_id].to_pylist()
    owner = _owners(table[named.encounter_id].to_pylist(), stays.row_of)
    types = {fold(value): loinc for value, loinc in named.note_type.values.items()}
    loinc = np.array([types.get(fold(each or ""), "") for each in table[named.note_type.column].to_pylist()], dtype=str)
    authored = _clock(table, named.authored, zone)
    wanted = loinc != ""
    ledger.leave_out("notes", "note type not in the map", ~wanted)
    ledger.leave_out("notes", "encounter not taken", wanted & (owner < 0))
    keep = wanted & (owner >= 0)
    checks = [
        ("no note_id", _empty(ids)),
        (f"authored is not {time_form(named.authored.format)}", authored.bad),
        ("note_id was there before", repeats([each or "" for each in ids]) & ~_empty(ids)),
    ]
    if named.patient_id is not None:
        people = table[named.patient_id].to_pylist()
        other = [at >= 0 and person != stays.patient_ids[at] for at, person in zip(owner.tolist(), people, strict=True)]
        checks.append(("the note's patient is not its encounter's", np.array(other, dtype=np.bool_)))
    for reason, bad in checks:
        ledger.bad("notes", reason, bad & keep, source.where)
        keep &= ~bad
    kept = np.flatnonzero(keep)
    return NoteIndex(
        row=kept,
        note_id=np.array([str(ids[row]) for row in kept.tolist()], dtype=str),
        times=NoteTimes(owner[kept], loinc[kept], authored.times[kept], authored.latest[kept]),
    )
