"""The test EHR's bulk `$export`: kick-off, polling, manifest, NDJSON files."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from tests.ehr.messages import PLANTED, Refused, Reply, Request, outcome, plain_json
from tests.ehr.search import instant, search
from tests.ehr.store import ResourceStore

EXPORT = re.compile(r"(?:(?:Patient|Group/[A-Za-z0-9\-.]{1,64})/)?\$export")


@dataclass
class Export:
    request: str
    transaction_time: str
    files: list[tuple[str, list[bytes]]]
    polls: int = 0


@dataclass
class BulkBehaviour:
    pending_polls: int = 1
    """How often the status is 202 before it is 200."""
    retry_after_s: float | None = 0
    lines_per_file: int = 1000
    error_files: int = 0
    requires_access_token: bool = True
    output_base: str | None = None
    """Origin of the files' URLs in the manifest, in place of the server's own."""
    counts: bool = True
    corrupt: dict[tuple[str, int], bytes] = field(default_factory=dict)
    """Type and line (from 1, in the whole export of the type): what stands there instead."""


class BulkServer:
    """`exports` by their id, until they are deleted; `deleted` are the ids of those that were."""

    def __init__(self, store: ResourceStore, origin: str) -> None:
        self.behaviour = BulkBehaviour()
        self.exports: dict[str, Export] = {}
        self.deleted: list[str] = []
        self._store = store
        self._origin = origin
        self._ids = itertools.count(1)

    def start(self, request: Request, url: str) -> Reply:
        if not request.prefers("respond-async") or "fhir+json" not in request.headers.get("accept", ""):
            raise Refused(400, "invalid")
        types = [each for name, value in request.query if name == "_type" for each in value.split(",")]
        since = request.param("_since")
        filters = [value for name, value in request.query if name == "_typeFilter"]
        files = []
        for type_ in types or self._store.types():
            found = self._store.of_type(type_)
            if since is not None:
                found = [each for each in found if instant(each["meta"]["lastUpdated"]) >= instant(since)]
            wanted = [each.partition("?")[2] for each in filters if each.partition("?")[0] == type_]
            if wanted:
                found = [
                    each for each in found
                    if any(search([each], parse_qsl(query), strict=True) for query in wanted)
                ]  # fmt: skip
            lines = [json.dumps(each, ensure_ascii=False).encode() for each in found]
            lines = [self.behaviour.corrupt.get((type_, place), line) for place, line in enumerate(lines, 1)]
            step = self.behaviour.lines_per_file
            files += [(type_, lines[start : start + step]) for start in range(0, len(lines), step)]
        id_ = f"x{next(self._ids)}"
        self.exports[id_] = Export(url, self._store.now(), files)
        return Reply(202, b"", {"Content-Location": f"{self._origin}/bulk/{id_}"})

    def answer(self, request: Request, path: str) -> Reply:
        """Requests under `/bulk/`."""
        id_, _, file = path.partition("/")
        export = self.exports.get(id_)
        if export is None:
            raise Refused(404, "not-found")
        if file:
            return self._file(export, file)
        if request.method == "DELETE":
            del self.exports[id_]
            self.deleted.append(id_)
            return Reply(202)
        return self._status(id_, export)

    def _status(self, id_: str, export: Export) -> Reply:
        export.polls += 1
        if export.polls <= self.behaviour.pending_polls:
            reply = Reply(202, b"", {"X-Progress": f"{export.polls * 10}% {PLANTED}"})
            wait = self.behaviour.retry_after_s
            return reply if wait is None else reply.with_headers(Retry_After=f"{wait:g}")
        base = self.behaviour.output_base or self._origin
        output = []
        for number, (type_, lines) in enumerate(export.files):
            entry: dict[str, Any] = {"type": type_, "url": f"{base}/bulk/{id_}/{number}.ndjson"}
            output.append(entry | ({"count": len(lines)} if self.behaviour.counts else {}))
        error = [
            {"type": "OperationOutcome", "url": f"{base}/bulk/{id_}/e{number}.ndjson"}
            for number in range(self.behaviour.error_files)
        ]
        return plain_json(
            {
                "transactionTime": export.transaction_time,
                "request": export.request,
                "requiresAccessToken": self.behaviour.requires_access_token,
                "output": output,
                "error": error,
            }
        )

    def _file(self, export: Export, file: str) -> Reply:
        name = file.removesuffix(".ndjson")
        if name.startswith("e"):
            body = outcome(200, "processing").body + b"\n"
        elif name.isdecimal() and int(name) < len(export.files):
            body = b"".join(line + b"\n" for line in export.files[int(name)][1])
        else:
            raise Refused(404, "not-found")
        return Reply(200, body, {"Content-Type": "application/fhir+ndjson"})
