"""Bulk data export: kick-off, polling, and the files as a stream of resources. HL7 Bulk Data Access 2.0.

    state = export.start("Group/42", types=["DocumentReference"], since=last.transaction_time)
    state = export.wait(state, timeout_s=3600)
    for line in export.lines(state, save): ...
    export.finish(state)

Whoever runs it keeps the state after each step, and goes on from it after a restart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from fhir_adapters.client.answers import failure, issue_code, json_of, retry_after
from fhir_adapters.client.bulk_files import FileReader
from fhir_adapters.client.bulk_state import BulkLine, ExportFile, ExportState
from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import ErrorKind, FhirServerError
from fhir_adapters.client.exchange import FHIR_JSON
from fhir_adapters.client.urls import origin_of
from fhir_adapters.references import objects, text_of

_LEVEL: Final = re.compile(r"Patient|Group/[A-Za-z0-9\-.]{1,64}|")
_SHORTEST_POLL_S: Final = 0.05
_FIRST_POLL_S: Final = 1.0
_LONGEST_POLL_S: Final = 60.0
# With one of these the server asks for another poll; any other code says that the export itself failed.
_PASSING: Final = frozenset({"transient", "throttled", "timeout", "lock-error", "no-store", "incomplete", None})


@dataclass(frozen=True, slots=True)
class Pending:
    """The export is not ready. `retry_after_s` is the server's wish; `percent` what X-Progress says of it."""

    retry_after_s: float | None
    percent: float | None


class BulkExport:
    """Exports of one FHIR server. `allowed_origins` may hold files beside the server's own origin."""

    def __init__(
        self,
        client: FhirClient,
        *,
        allowed_origins: Iterable[str] = (),
        max_line_bytes: int = 16 * 2**20,
        max_files: int = 100_000,
        max_attempts: int = 8,
    ) -> None:
        """`max_attempts` is in a row, at one poll or one place in a file. Raises ClientConfigError."""
        self._exchange = client.exchange
        self._origins = frozenset(origin_of(each) for each in allowed_origins)
        self._max_files = max_files
        self._max_attempts = max_attempts
        self._files = FileReader(client.exchange, self._origins, max_line_bytes, max_attempts)

    def start(
        self,
        level: str = "",
        *,
        types: Iterable[str] = (),
        since: str | None = None,
        type_filters: Iterable[str] = (),
    ) -> ExportState:
        """Kick off an export of `Patient`, `Group/<id>` or, with "", everything. Not tried again inside.

        `since` is a FHIR instant, best the `transaction_time` of the export before. `type_filters` are searches such as
        `DocumentReference?type=…`. Raises FhirServerError: `throttled` where the server runs too many exports.
        """
        if not _LEVEL.fullmatch(level) or level.endswith(("/.", "/..")):
            raise ValueError("level must be Patient, Group/<id> or empty")
        params = [("_outputFormat", "application/fhir+ndjson")]
        if names := ",".join(types):
            params.append(("_type", names))
        if since is not None:
            params.append(("_since", since))
        params += [("_typeFilter", each) for each in type_filters]
        path = f"{level}/$export" if level else "$export"
        reply = self._exchange.send(
            "GET", f"{self._exchange.base.join(path)}?{urlencode(params)}",
            {"Accept": FHIR_JSON, "Prefer": "respond-async"}, None, "start the export", until=self._exchange.until(),
        )  # fmt: skip
        if reply.status != 202:
            raise failure(reply, "start the export", now=self._exchange.clock.now(), write=False)
        return ExportState(self._checked(reply.headers.get("content-location", ""), "the export's status"))

    def poll(self, state: ExportState) -> ExportState | Pending:
        """Ask once. Raises FhirServerError: `rejected` where the export failed, `not-found` where it is gone."""
        url = self._checked(state.status_url, "the export's status")
        reply = self._exchange.send(
            "GET", url, {"Accept": "application/json"}, None, "poll the export", until=self._exchange.until()
        )
        if reply.status == 202:
            after = retry_after(reply.headers.get("retry-after"), self._exchange.clock.now())
            return Pending(after, _percent(reply.headers.get("x-progress", "")))
        if reply.status == 200:
            return self._ready(state, json_of(reply, "poll the export"))
        error = failure(reply, "poll the export", now=self._exchange.clock.now(), write=False)
        code = issue_code(reply.body)
        if reply.status >= 500 and code not in _PASSING:
            raise FhirServerError(
                f"the server ended the export with {reply.status}; start a new one",
                kind=ErrorKind.REJECTED,
                status=reply.status,
                code=code,
            )
        raise error

    def wait(
        self, state: ExportState, *, timeout_s: float, progress: Callable[[Pending], None] | None = None
    ) -> ExportState:
        """Poll until the manifest is here, as often as the server asks. Failures that may pass are polled through.

        Raises FhirServerError; `unavailable` also when `timeout_s` is over: the export runs on, and can be waited for.
        """
        clock = self._exchange.clock
        until, own_wait_s, failures = clock.monotonic() + timeout_s, _FIRST_POLL_S, 0
        while not state.ready:
            asked_s: float | None
            try:
                answer = self.poll(state)
                if isinstance(answer, ExportState):
                    return answer
                failures, asked_s = 0, answer.retry_after_s
                if progress is not None:
                    progress(answer)
            except FhirServerError as error:
                failures += 1
                if error.kind not in (ErrorKind.UNAVAILABLE, ErrorKind.THROTTLED) or failures >= self._max_attempts:
                    raise
                asked_s = error.retry_after_s
            wait_s = own_wait_s if asked_s is None else max(asked_s, _SHORTEST_POLL_S)
            own_wait_s = min(own_wait_s * 1.5, _LONGEST_POLL_S)
            if clock.monotonic() + wait_s > until:
                raise FhirServerError(
                    f"the export was not ready within {timeout_s:g} s; wait again later", kind=ErrorKind.UNAVAILABLE
                )
            clock.sleep(wait_s)
        return state

    def lines(
        self, state: ExportState, save: Callable[[ExportState], None] | None = None
    ) -> Generator[BulkLine, None, None]:
        """Every resource after the state's place, file by file. `save` gets the state after each file taken whole.

        For a finer place keep `state.after(line)`. A download that breaks off goes on at the next line. Raises
        FhirServerError, `not-found` where the files are gone, and BulkDataError naming file and line.
        """
        if not state.ready:
            raise ValueError("the export is not ready; wait for it")
        for file in range(state.files_done, len(state.files)):
            skip = state.lines_done if file == state.files_done else 0
            yield from self._files.lines(state, file, skip)
            if save is not None:
                save(state.after_file(file))

    def finish(self, state: ExportState) -> None:
        """Tell the server that its files may go. One that has them no longer, or takes no DELETE, is content."""
        url = self._checked(state.status_url, "the export's status")
        reply = self._exchange.send(
            "DELETE", url, {"Accept": FHIR_JSON}, None, "finish the export", until=self._exchange.until()
        )
        if reply.status not in (200, 202, 204, 404, 405, 410, 501):
            raise failure(reply, "finish the export", now=self._exchange.clock.now(), write=False)

    def _checked(self, url: str, what: str) -> str:
        return self._exchange.base.on_origin(url, what, self._origins)

    def _ready(self, state: ExportState, manifest: Mapping[str, Any]) -> ExportState:
        time = text_of(manifest, "transactionTime")
        files, deleted = self._entries(manifest.get("output")), self._entries(manifest.get("deleted"))
        if time is None or files is None or deleted is None:
            raise FhirServerError(
                "poll the export: the manifest has no transactionTime or an entry without type and url",
                kind=ErrorKind.UNAVAILABLE,
                status=200,
            )
        if len(files) > self._max_files:
            raise FhirServerError(
                f"the export has over {self._max_files} files; narrow it by type or since", kind=ErrorKind.TOO_LONG
            )
        return replace(
            state, transaction_time=time, requires_token=manifest.get("requiresAccessToken") is not False,
            files=files, deleted=deleted, error_files=len(objects(manifest.get("error"))),
        )  # fmt: skip

    def _entries(self, given: object) -> tuple[ExportFile, ...] | None:
        found = []
        for entry in objects(given):
            type_, url, count = text_of(entry, "type"), text_of(entry, "url"), entry.get("count")
            if type_ is None or url is None or not re.fullmatch(r"[A-Z][A-Za-z]{1,63}", type_):
                return None
            whole = isinstance(count, int) and not isinstance(count, bool) and count >= 0
            found.append(ExportFile(type_, self._checked(url, "a file of the export"), count if whole else None))
        return tuple(found)


def _percent(text: str) -> float | None:
    # The number alone: the rest is the server's words.
    found = re.search(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%", text)
    return None if found is None else min(float(found[1]), 100.0)
