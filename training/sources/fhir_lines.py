"""Lines of the NDJSON files of an export: read once in order, and single ones again by their place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fhir_adapters.attachments.fetching import FetchedBinary
from fhir_adapters.errors import FhirInputError
from training.sources.columns import Advance
from training.sources.errors import SourceError

MAX_LINE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Line:
    """Where a line is: its file, its number from 1, the byte at which it starts, and its length."""

    path: Path
    number: int
    start: int
    length: int

    def __str__(self) -> str:
        return f"{self.path.name}: line {self.number}"

    def read(self) -> bytes:
        """The line again."""
        with self.path.open("rb") as stream:
            stream.seek(self.start)
            return stream.read(self.length)


def export_files(folder: Path) -> list[Path]:
    """The NDJSON files of an export, by name. Raises SourceError when there is none."""
    found = sorted(folder.glob("*.ndjson"))
    if not found:
        raise SourceError("the folder has no file that ends in .ndjson; give the folder of the export")
    return found


def read_lines(path: Path, advance: Advance) -> Iterator[tuple[Line, bytes | None]]:
    """Every line that is not empty; None in place of one that is over MAX_LINE_BYTES."""
    start, number = 0, 0
    with path.open("rb") as stream:
        while piece := stream.readline(MAX_LINE_BYTES + 1):
            number, length = number + 1, len(piece)
            too_long = length > MAX_LINE_BYTES
            while too_long and not piece.endswith(b"\n") and (piece := stream.readline(MAX_LINE_BYTES)):
                length += len(piece)
            advance(length)
            if too_long:
                yield Line(path, number, start, length), None
            elif piece.strip():
                yield Line(path, number, start, length), piece
            start += length


@dataclass(slots=True)
class ExportedBinaries:
    """The Binary resources of an export, where documents find their notes (`attachments.fetching.Fetcher`)."""

    fhir_base: str | None
    lines: dict[str, Line] = field(default_factory=dict)

    def fetch(self, url: str) -> FetchedBinary:
        """The Binary at a checked `url`. Raises FhirInputError 424 not-found when the export has none of that id."""
        name = url.partition("Binary/")[2].partition("/")[0]
        if name not in self.lines:
            raise FhirInputError(
                "attachment.url is a Binary that the export does not hold; export Binary, too",
                code="not-found",
                status=424,
                expression="DocumentReference.content.attachment.url",
            )
        return FetchedBinary("application/fhir+json", self.lines[name].read())
