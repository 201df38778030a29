"""A FHIR bulk export (R4 NDJSON) as a source: Encounter, Condition, claims and DocumentReference, as files of a folder.

Resources are told apart by their `resourceType`, so that the files may have any name that ends in .ndjson and hold
several types. Facts are read as the running service reads them (`fhir_adapters.outcomes`), documents too: status,
security labels, attachments (text, HTML, RTF, C-CDA, PDF), Binary resources of the same export.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from fhir_adapters.attachments.limits import AttachmentLimits
from fhir_adapters.attachments.reading import read_document_text
from fhir_adapters.document_reference import (
    NotePolicy,
    ParsedDocument,
    check_scorable_status,
    parse_document_reference,
)
from fhir_adapters.errors import FhirInputError
from fhir_adapters.json_body import parse_json_object
from fhir_adapters.outcomes.elements import canonical_name, to_ms
from fhir_adapters.outcomes.facts import FACT_TYPES, Reading
from fhir_adapters.outcomes.reading import read_fact
from fhir_adapters.references import parse_instant, text_of
from lang1.label_rules import NoteTimes
from lang1.tasks import TaskRegistry
from training.sources.columns import Advance
from training.sources.errors import SourceError
from training.sources.fhir_facts import Facts, record_of_facts, wall_clock
from training.sources.fhir_lines import MAX_LINE_BYTES, ExportedBinaries, Line, export_files, read_lines
from training.sources.fhir_source import FhirSource
from training.sources.record import NoteIndex, SourceRecord

_NOTES_A_BLOCK = 512
_DOCUMENTS = "DocumentReference"


def fhir_bytes(folder: Path) -> int:
    """About the bytes that `read_fhir` and one reading of the texts report as they advance."""
    sizes = {path: path.stat().st_size for path in export_files(folder)}
    return sum(sizes.values()) + sum(size for path, size in sizes.items() if path.name.startswith(_DOCUMENTS))


class _Ledger:
    """Counts what is left out; with `fail`, a bad record is an error that says where it is."""

    def __init__(self, fail: bool) -> None:
        self._fail = fail
        self.counts: dict[str, dict[str, int]] = {}

    def leave_out(self, table: str, reason: str, count: int = 1) -> None:
        reasons = self.counts.setdefault(table, {})
        reasons[reason] = reasons.get(reason, 0) + count

    def bad(self, table: str, reason: str, where: Line) -> None:
        if self._fail:
            raise SourceError(f"{where}: {reason}; mend the export, or set bad_rows: drop to count and go on")
        self.leave_out(table, reason)


@dataclass(frozen=True, slots=True)
class _Document:
    """A document without its contents, and where they are. `names` are its reference and identifiers."""

    line: Line
    parsed: ParsedDocument
    names: tuple[str, ...]
    written: datetime | None


@dataclass(slots=True)
class _Export:
    """What the first reading finds."""

    reading: Reading
    ledger: _Ledger
    binaries: ExportedBinaries
    facts: Facts = field(default_factory=Facts)
    documents: list[_Document] = field(default_factory=list)

    def take(self, line: Line, data: bytes | None) -> None:
        """One line of a file. A bad one is counted, or raises SourceError."""
        if data is None:
            self.ledger.bad("lines", f"longer than {MAX_LINE_BYTES >> 20} MB", line)
            return
        kind = "lines"
        try:
            resource = parse_json_object(data)
            kind = str(resource.get("resourceType"))
            if kind in FACT_TYPES:
                self.facts.add(read_fact(resource, self.reading))
            elif kind == _DOCUMENTS:
                self._take_document(line, resource)
            elif kind == "Binary" and (name := text_of(resource, "id")):
                self.binaries.lines[name] = line
        except FhirInputError as error:
            self.ledger.bad(kind, str(error), line)

    def _take_document(self, line: Line, resource: dict[str, Any]) -> None:
        parsed = parse_document_reference(resource)
        try:
            check_scorable_status(parsed, NotePolicy())
        except FhirInputError as error:
            # No mistake of the export: what is not scored is not learned from either.
            self.ledger.leave_out(_DOCUMENTS, f"{error.expression}: {error.code}")
            return
        attachment = parsed.contents[0].get("attachment") if parsed.contents else None
        literal = f"{_DOCUMENTS}/{parsed.document_id}" if parsed.document_id else None
        names = tuple(filter(None, (literal, parsed.master_identifier, parsed.identifier)))
        written = parse_instant(parsed.date or text_of(attachment, "creation") or "")
        # The text stays in the file: an export holds more of it than memory does.
        self.documents.append(_Document(line, replace(parsed, contents=()), names, written))


def read_fhir(
    folder: Path, source: FhirSource, registry: TaskRegistry, advance: Advance = lambda _: None
) -> SourceRecord:
    """The stays, codes, claims and documents of an export.

    Raises SourceError for a bad record (or counts it, with `bad_rows: drop`) and for an export without a stay.
    """
    zone, ledger = ZoneInfo(source.timezone), _Ledger(source.bad_rows == "fail")
    files = export_files(folder)
    # What lies after the last day may be in the export and is no mistake; it is left out further on.
    now = max(datetime.now(UTC), source.end.replace(tzinfo=zone))
    reading = Reading(source.outcomes, zone, now, source.base_url)
    export = _Export(reading, ledger, ExportedBinaries(source.base_url))
    for path in files:
        for line, data in read_lines(path, advance):
            export.take(line, data)
    found = record_of_facts(export.facts, zone, source.end, source.outcomes.denials_final_after_days)
    for table, reasons in found.left_out.items():
        for reason, count in reasons.items():
            ledger.leave_out(table, reason, count)
    if not found.stays:
        raise SourceError("the export has no Encounter that has begun by observed_until; export Encounter, too")
    notes = _notes_of_stays(export, found.row_of, registry)

    def texts(again: Advance) -> Iterator[tuple[int, list[str | None]]]:
        for first in range(0, len(notes), _NOTES_A_BLOCK):
            block = notes[first : first + _NOTES_A_BLOCK]
            yield first, [_text(each.line, export.binaries, ledger, again) for each, _ in block]

    return SourceRecord(
        kind="fhir",
        hospital=found.hospital,
        patient_ids=[each.subject.removeprefix("Patient/") for each in found.stays],
        encounter_ids=[each.identity.reference.removeprefix("Encounter/") for each in found.stays],
        notes=_index(notes, zone),
        texts=texts,
        zone=zone,
        dropped=ledger.counts,
        inputs=tuple(files),
    )


def _notes_of_stays(export: _Export, row_of: dict[str, int], registry: TaskRegistry) -> list[tuple[_Document, int]]:
    """The documents that are notes of a stay, each with the stay's row."""
    asked = {loinc for task in registry.values() for loinc in task.note_types}
    base_url, ledger = export.reading.base_url, export.ledger
    replaced = {canonical_name(name, base_url) for each in export.documents for name in each.parsed.replaces}
    newest: dict[str, _Document] = {}
    for each in export.documents:
        name = each.names[0] if each.names else str(each.line)
        if name not in newest or (each.parsed.last_updated or "") >= (newest[name].parsed.last_updated or ""):
            newest[name] = each
    kept: list[tuple[_Document, int]] = []
    for each in export.documents:
        encounters = [each.parsed.encounter and canonical_name(each.parsed.encounter, base_url)]
        encounters.append(each.parsed.encounter_identifier)
        row = next((row_of[name] for name in encounters if name in row_of), None)
        if each.parsed.note_type not in asked:
            ledger.leave_out(_DOCUMENTS, "of no note type that a task is trained on")
        elif not each.names:
            ledger.bad(_DOCUMENTS, "neither id nor identifier", each.line)
        elif newest[each.names[0]] is not each:
            ledger.leave_out(_DOCUMENTS, "a newer version is there")
        elif not replaced.isdisjoint(each.names):
            ledger.leave_out(_DOCUMENTS, "replaced by another document")
        elif row is None:
            ledger.leave_out(_DOCUMENTS, "encounter not taken")
        elif each.written is None:
            ledger.bad(_DOCUMENTS, "neither date nor attachment.creation is a time with its zone", each.line)
        else:
            kept.append((each, row))
    return kept


def _index(notes: list[tuple[_Document, int]], zone: ZoneInfo) -> NoteIndex:
    times = wall_clock((to_ms(each.written) if each.written else None for each, _ in notes), zone)
    return NoteIndex(
        row=np.arange(len(notes)),
        note_id=np.array([each.names[0].removeprefix(f"{_DOCUMENTS}/") for each, _ in notes], dtype=str),
        times=NoteTimes(
            np.array([row for _, row in notes], dtype=np.int64),
            np.array([each.parsed.note_type for each, _ in notes], dtype=str),
            times,
            times,
        ),
    )


def _text(line: Line, binaries: ExportedBinaries, ledger: _Ledger, advance: Advance) -> str | None:
    """A document's text; None, and no more than that, for one that cannot be read and may be left out."""
    advance(line.length)
    try:
        document = parse_document_reference(parse_json_object(line.read()))
        return read_document_text(document.contents, binaries, AttachmentLimits())
    except FhirInputError as error:
        ledger.bad(_DOCUMENTS, str(error), line)
        return None
