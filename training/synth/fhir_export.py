"""The hospital as a bulk export: one NDJSON file a resource type, written chunk by chunk; and as a feed, by time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import IO

from training.synth.chunk import Chunk, chunk_count, make_chunk
from training.synth.config import SynthConfig
from training.synth.fhir_parts import Resource, houses
from training.synth.fhir_record import TYPES, chunk_versions

FHIR_FOLDER = "fhir"
ENDING = ".ndjson"


@dataclass(frozen=True, slots=True)
class FhirOptions:
    """`as_of`: the export holds what was so at the start of this day (UTC), None for the day after the last year.
    `binaries`: notes as Binary resources that documents link to, instead of inline."""

    as_of: date | None = None
    binaries: bool = False

    def as_of_s(self, config: SynthConfig) -> int:
        return second_of(self.as_of or date(config.last_year + 1, 1, 1))


def second_of(day: date) -> int:
    """00:00 UTC of a day, in seconds since 1970."""
    return int(datetime.combine(day, time(0), tzinfo=UTC).timestamp())


def line(resource: Resource) -> bytes:
    """A resource as a line of NDJSON."""
    return json.dumps(resource, separators=(",", ":")).encode("ascii") + b"\n"


def chunk_ndjson(config: SynthConfig, number: int, chunk: Chunk, options: FhirOptions) -> dict[str, bytes]:
    """Type to lines: of every resource the version that held at `as_of`, and nothing of what came later."""
    as_of_s = options.as_of_s(config)
    latest: dict[tuple[str, str], Resource] = {}
    for at_s, resource in chunk_versions(config, number, chunk, binaries=options.binaries):
        if at_s < as_of_s:
            latest[resource["resourceType"], resource["id"]] = resource
    lines: dict[str, list[bytes]] = {}
    for (kind, _), resource in latest.items():
        lines.setdefault(kind, []).append(line(resource))
    return {kind: b"".join(found) for kind, found in lines.items()}


class FhirFolder:
    """The files of an export, appended to chunk by chunk."""

    def __init__(self, folder: Path, config: SynthConfig, options: FhirOptions) -> None:
        """Opens the files, and replaces those of an earlier export."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"*{ENDING}"):
            old.unlink()
        self.folder = folder
        self._open = ExitStack()
        self._files: dict[str, IO[bytes]] = {}
        for kind in TYPES:
            if kind != "Binary" or options.binaries:
                self._file(kind)
        start_s = second_of(date(config.first_year, 1, 1))
        for resource in houses(start_s):
            self._file(resource["resourceType"]).write(line(resource))

    def _file(self, kind: str) -> IO[bytes]:
        if kind not in self._files:
            self._files[kind] = self._open.enter_context((self.folder / f"{kind}{ENDING}").open("wb"))
        return self._files[kind]

    def write(self, lines: Mapping[str, bytes]) -> None:
        for kind, found in lines.items():
            self._file(kind).write(found)

    def close(self) -> list[Path]:
        """Close the files and return their paths."""
        self._open.close()
        return [self.folder / f"{kind}{ENDING}" for kind in sorted(self._files)]


def fhir_feed(
    config: SynthConfig,
    first_day: date,
    last_day: date,
    wanted: Callable[[Resource], bool] = lambda _: True,
) -> Iterator[tuple[datetime, Resource]]:
    """Every version of every resource that becomes so from `first_day` to `last_day`, in order of time, as an EHR would
    send them: an Encounter on admission, on discharge and once coded; notes; claims and their answers.

    Holds what is `wanted` of the period in memory. Organizations and Locations come first.
    """
    low, high = second_of(first_day), second_of(last_day) + 86_400
    found: list[tuple[int, int, bytes]] = [(low, i, line(each)) for i, each in enumerate(houses(low)) if wanted(each)]
    for number in range(chunk_count(config)):
        for at_s, resource in chunk_versions(config, number, make_chunk(config, number)):
            if low <= at_s < high and wanted(resource):
                found.append((at_s, len(found), line(resource)))
    found.sort(key=lambda each: each[:2])
    for at_s, _, each in found:
        yield datetime.fromtimestamp(at_s, UTC), json.loads(each)
