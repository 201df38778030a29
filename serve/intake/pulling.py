"""A bulk export, or files of one, into a running service: with a state file, so that a break costs a window at most."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from fhir_adapters.client.bulk import BulkExport
from fhir_adapters.client.bulk_state import BulkDataError, ExportState
from fhir_adapters.errors import FhirInputError
from fhir_adapters.json_body import parse_json_object
from serve.errors import SettingsError
from serve.intake.feeding import MAX_ENTRIES, ServiceFeed, Tally, batches

_MAX_LINE_BYTES: Final = 16 * 2**20


class PullState:
    """The state file: the export under way, where the last one ended, and how far each local file was read.

    It names URLs of the export, which open it to whoever has a token: mode 0600, replaced whole.
    """

    def __init__(self, path: Path) -> None:
        """Raises SettingsError for a file that is none of ours."""
        self._path = path
        self.export: ExportState | None = None
        self.since: str | None = None
        self.files: dict[str, int] = {}
        if path.exists():
            try:
                held = json.loads(path.read_text(encoding="utf-8"))
                self.export = ExportState.from_json(held["export"]) if held["export"] is not None else None
                self.since = held["since"]
                self.files = {str(name): int(lines) for name, lines in held["files"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                raise SettingsError(
                    f"state file {path} is not of lang1 pull; give another path, or remove it"
                ) from None

    def save(self) -> None:
        """Write it whole or not at all."""
        held = {"export": self.export.to_json() if self.export else None, "since": self.since, "files": self.files}
        beside = self._path.with_name(f"{self._path.name}.new")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            json.dump(held, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)


def pull_export(
    export: BulkExport,
    feed: ServiceFeed,
    state: PullState,
    *,
    start: Callable[[str | None], ExportState],
    wait: Callable[[ExportState], ExportState],
    parallel: int,
    max_entries: int = MAX_ENTRIES,
    advance: Callable[[int], None],
) -> Tally:
    """Start or go on with an export and send all of it. `start` gets the `since` that the state holds.

    A line that is no resource is counted and passed over. Raises FhirServerError, BulkDataError and FeedError; the
    state then holds what was done.
    """
    if state.export is None:
        state.export = start(state.since)
        state.save()
    if not state.export.ready:
        state.export = wait(state.export)
        state.save()
    tally = Tally()
    while not state.export.finished:
        try:
            _send_lines(export, feed, state, tally, parallel, max_entries, advance)
        except BulkDataError as error:
            if error.line is None:
                raise
            tally.refused["structure"] += 1
            state.export = replace(state.export, files_done=error.file, lines_done=error.line)
            state.save()
    export.finish(state.export)
    state.since, state.export = state.export.transaction_time, None
    state.save()
    return tally


def _send_lines(
    export: BulkExport, feed: ServiceFeed, state: PullState, tally: Tally, parallel: int, max_entries: int,
    advance: Callable[[int], None],
) -> None:  # fmt: skip
    """Send what is left of the export. What was read before an error is sent before the error is raised."""
    assert state.export is not None
    broken: list[BulkDataError] = []

    def lines() -> Iterator[tuple[ExportState, dict[str, Any]]]:
        assert state.export is not None
        begun = state.export
        try:
            for line in export.lines(begun):
                yield begun.after(line), line.resource
        except BulkDataError as error:
            broken.append(error)

    for place, sent in _sent(batches(lines(), max_entries), feed, parallel):
        tally.add(sent)
        advance(sent.total)
        state.export = place
        state.save()
    if broken:
        raise broken[0]
    # Empty files have no last line.
    state.export = replace(state.export, files_done=len(state.export.files), lines_done=0)
    state.save()


def pull_file(
    path: Path, feed: ServiceFeed, state: PullState, *, parallel: int, max_entries: int = MAX_ENTRIES,
    advance: Callable[[int], None],
) -> Tally:  # fmt: skip
    """Send an NDJSON file from the line at which the state stands. Raises FeedError and OSError."""
    name = str(path.absolute())
    tally = Tally()

    def lines() -> Iterator[tuple[int, dict[str, Any]]]:
        done = state.files.get(name, 0)
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), 1):
                if number <= done or not line.strip():
                    continue
                try:
                    yield number, parse_json_object(line)
                except FhirInputError as error:
                    tally.refused[error.code] += 1

    for place, sent in _sent(batches(lines(), max_entries), feed, parallel):
        tally.add(sent)
        advance(sent.total)
        state.files[name] = place
        state.save()
    return tally


def _sent(
    groups: Iterator[tuple[Any, Sequence[dict[str, Any]]]], feed: ServiceFeed, parallel: int
) -> Iterator[tuple[Any, Tally]]:
    """Place and tally of each window of groups, in order: a place is only passed when all before it is done."""
    with ThreadPoolExecutor(parallel, thread_name_prefix="feed") as pool:
        while window := list(islice(groups, parallel)):
            together = Tally()
            for tally in pool.map(lambda group: feed.send(group[1]), window):
                together.add(tally)
            yield window[-1][0], together
