"""The NDJSON files of a bulk export, downloaded as a stream that goes on after a break."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import httpx

from fhir_adapters.client.answers import failure, wire_failure
from fhir_adapters.client.bulk_state import BulkDataError, BulkLine, ExportFile, ExportState
from fhir_adapters.client.errors import FhirServerError
from fhir_adapters.client.exchange import Exchange
from fhir_adapters.client.ndjson import LineTooLongError, ndjson_lines
from fhir_adapters.client.wire import Reply, WireError
from fhir_adapters.errors import FhirInputError
from fhir_adapters.json_body import parse_json_object

# An export runs in the background: a server that asks for minutes gets them.
_LONGEST_PAUSE_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads files on the server's own origin or on one of `origins`. `max_attempts` is at one place in a file."""

    exchange: Exchange
    origins: frozenset[str]
    max_line_bytes: int
    max_attempts: int

    def lines(self, state: ExportState, file: int, skip: int) -> Iterator[BulkLine]:
        """The resources of one file after its first `skip` lines. Raises FhirServerError and BulkDataError."""
        entry = state.files[file]
        place, resources, attempt = skip, 0, 0
        while True:
            attempt += 1
            try:
                resources = 0
                for number, line in self._raw(entry, state.requires_token):
                    resources += 1
                    if number <= place:
                        continue
                    resource = self._resource(line, entry, file, number, len(state.files))
                    # What was given is not given again, and a file that moves forward is not given up.
                    place, attempt = number, 0
                    yield BulkLine(file, number, resource)
                break
            except LineTooLongError as error:
                raise self._bad(
                    f"is over {self.max_line_bytes} bytes", entry, file, error.line, len(state.files)
                ) from None
            except FhirServerError as error:
                until = self.exchange.until(_LONGEST_PAUSE_S)
                if not self.exchange.pause(max(attempt, 1), error, until, self.max_attempts):
                    raise
        if entry.count is not None and resources != entry.count:
            raise BulkDataError(
                f"bulk file {file + 1} of {len(state.files)} ({entry.type}) has {resources} resources and its manifest "
                f"says {entry.count}; start a new export",
                file,
                None,
            )

    def _raw(self, entry: ExportFile, with_token: bool) -> Iterator[tuple[int, bytes]]:
        """Numbers and bytes of the file's lines, from its beginning."""
        url = self.exchange.base.on_origin(entry.url, "a file of the export", self.origins)
        what, until = f"download {entry.type}", self.exchange.until()
        for renewed in count():
            token = self.exchange.tokens.token(until) if with_token else None
            headers = {"Accept": "application/fhir+ndjson, application/ndjson;q=0.9, */*;q=0.5"}
            if token:
                headers["Authorization"] = f"Bearer {token}"
            try:
                with self.exchange.wire.stream(url, headers=headers, until=until) as (status, answered, pieces):
                    if status == 200:
                        yield from ndjson_lines(pieces, self.max_line_bytes)
                        return
                    if status != 401 or not with_token or renewed or not self.exchange.tokens.refused(token):
                        raise self._failure(status, answered, what)
            except WireError as error:
                raise wire_failure(error, what, write=False) from None

    def _failure(self, status: int, headers: httpx.Headers, what: str) -> FhirServerError:
        return failure(Reply(status, headers, b""), what, now=self.exchange.clock.now(), write=False)

    def _resource(self, line: bytes, entry: ExportFile, file: int, number: int, files: int) -> dict[str, Any]:
        try:
            resource = parse_json_object(line)
        except FhirInputError:
            raise self._bad("is not a JSON object", entry, file, number, files) from None
        if resource.get("resourceType") != entry.type:
            raise self._bad("is a resource of another type", entry, file, number, files)
        return resource

    def _bad(self, why: str, entry: ExportFile, file: int, line: int, files: int) -> BulkDataError:
        return BulkDataError(
            f"bulk file {file + 1} of {files} ({entry.type}), line {line}: {why}; start a new export", file, line
        )
