"""Reading notes from files, one at a time: FHIR JSON, NDJSON, plain text, or a folder of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fhir_adapters.attachments.extraction import ExtractionError
from fhir_adapters.attachments.media_types import decode_text
from fhir_adapters.errors import FhirInputError
from fhir_adapters.json_body import parse_json_object

NDJSON_SUFFIXES: Final = frozenset({".ndjson", ".jsonl"})
SUFFIXES: Final = NDJSON_SUFFIXES | {".json", ".txt"}
DEFAULT_MAX_BYTES: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class NoteFileItem:
    """One note of a file: exactly one of `resource` (DocumentReference or Parameters), `text` and `error` is set.

    `source` is the file's path; `index` counts from 0 within it (lines of NDJSON, entries of a Bundle).
    """

    source: str
    index: int
    resource: dict[str, Any] | None = None
    text: str | None = None
    note_type: str | None = None
    """LOINC, for plain text: the type that the caller said these notes are of."""
    error: FhirInputError | None = None


def read_note_files(
    path: Path, *, note_type: str | None = None, max_bytes: int = DEFAULT_MAX_BYTES
) -> Iterator[NoteFileItem]:
    """Every note under `path` (a file, or a folder searched in name order for SUFFIXES), streamed line by line.

    `max_bytes` caps a file of JSON or text and a line of NDJSON. A note that cannot be read is an item with an error
    (422, 400 or 413) and the rest goes on; a path that does not exist is one too.
    """
    if path.is_dir():
        files = sorted(found for found in path.rglob("*") if found.suffix.lower() in SUFFIXES and found.is_file())
        for file in files:
            yield from _read_file(file, note_type, max_bytes)
        if not files:
            yield _failed(
                path, 0, "required", f"the folder holds no file ending in {', '.join(sorted(SUFFIXES))}; add one"
            )
        return
    yield from _read_file(path, note_type, max_bytes)


def _read_file(path: Path, note_type: str | None, max_bytes: int) -> Iterator[NoteFileItem]:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        yield _failed(path, 0, "not-supported", f"the file does not end in {', '.join(sorted(SUFFIXES))}; rename it")
        return
    try:
        if suffix in NDJSON_SUFFIXES:
            yield from _lines(path, max_bytes)
            return
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as error:
        yield _failed(path, 0, "not-found", f"the file cannot be read ({type(error).__name__}); check path and rights")
        return
    if len(data) > max_bytes:
        yield _failed(path, 0, "too-long", f"the file is over the cap of {max_bytes} bytes; split it into NDJSON")
    elif suffix == ".txt":
        yield _plain(path, data, note_type)
    else:
        yield from _json(path, 0, data)


def _lines(path: Path, max_bytes: int) -> Iterator[NoteFileItem]:
    with path.open("rb") as stream:
        index = 0
        while line := stream.readline(max_bytes + 1):
            if len(line) > max_bytes:
                while not line.endswith(b"\n") and (line := stream.readline(max_bytes)):
                    pass
                yield _failed(path, index, "too-long", f"the line is over the cap of {max_bytes} bytes; send it alone")
            elif line.strip():
                yield from _json(path, index, line)
            else:
                continue
            index += 1


def _json(path: Path, index: int, data: bytes) -> Iterator[NoteFileItem]:
    try:
        resource = parse_json_object(data)
    except FhirInputError as error:
        yield NoteFileItem(str(path), index, error=error)
        return
    if resource.get("resourceType") != "Bundle":
        yield NoteFileItem(str(path), index, resource=resource)
        return
    entries = resource.get("entry")
    inner = [e.get("resource") if isinstance(e, dict) else None for e in (entries if isinstance(entries, list) else [])]
    # A Bundle of a patient's record holds much else; only its documents are notes.
    documents = {
        at: r for at, r in enumerate(inner) if isinstance(r, dict) and r.get("resourceType") == "DocumentReference"
    }
    for place, document in documents.items():
        yield NoteFileItem(str(path), index + place, resource=document)
    if not documents:
        yield _failed(path, index, "required", "the Bundle holds no DocumentReference; send one that holds notes")


def _plain(path: Path, data: bytes, note_type: str | None) -> NoteFileItem:
    try:
        return NoteFileItem(str(path), 0, text=decode_text(data, None), note_type=note_type)
    except ExtractionError as error:
        return _failed(path, 0, error.code, error.message)


def _failed(path: Path, index: int, code: str, message: str) -> NoteFileItem:
    return NoteFileItem(str(path), index, error=FhirInputError(message, code=code))
