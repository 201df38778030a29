"""Where a bulk export stands: small, and plain JSON, so that a service that restarts goes on with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lang1.errors import Lang1Error


class BulkDataError(Lang1Error):
    """A file of the export is not what it should be. Names the file's place in the manifest, its type and the line."""

    code = "structure"

    def __init__(self, message: str, file: int, line: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line

    def __reduce__(self) -> tuple[object, ...]:
        return BulkDataError, (self.message, self.file, self.line)


@dataclass(frozen=True, slots=True)
class ExportFile:
    """An NDJSON file of the manifest: the resource type in it, and how many resources, where the server says so."""

    type: str
    url: str = field(repr=False)
    count: int | None = None


@dataclass(frozen=True, slots=True)
class BulkLine:
    """A resource of the export: its file (from 0, in the manifest's order) and its line there (from 1)."""

    file: int
    line: int
    resource: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExportState:
    """An export on the server. Whoever runs it keeps this, and goes on from it.

    `transaction_time` is the server's own time of the export, for `since` of the next one; None until it is ready.
    `files_done` files of `files` were taken whole, and `lines_done` lines of the next. `error_files` is how many files
    of OperationOutcomes the server made: it left resources out.
    """

    status_url: str = field(repr=False)
    transaction_time: str | None = None
    requires_token: bool = True
    files: tuple[ExportFile, ...] = ()
    deleted: tuple[ExportFile, ...] = ()
    error_files: int = 0
    files_done: int = 0
    lines_done: int = 0

    @property
    def ready(self) -> bool:
        """Whether the manifest is here."""
        return self.transaction_time is not None

    @property
    def finished(self) -> bool:
        """Whether every file was taken."""
        return self.ready and self.files_done == len(self.files)

    def after(self, line: BulkLine) -> ExportState:
        """The state when the line was taken and dealt with."""
        return replace(self, files_done=line.file, lines_done=line.line)

    def after_file(self, file: int) -> ExportState:
        """The state when the file was taken whole."""
        return replace(self, files_done=file + 1, lines_done=0)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a database or a file. The URLs in it open the export to whoever has a token: keep it so."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        for name in ("files", "deleted"):
            plain[name] = [{"type": each.type, "url": each.url, "count": each.count} for each in plain[name]]
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ExportState:
        """The inverse of `to_json`. Raises ValueError for anything else."""
        try:
            files = {name: tuple(ExportFile(**each) for each in plain.get(name, ())) for name in ("files", "deleted")}
            state = cls(**{**plain, **files})
        except (TypeError, AttributeError):
            raise ValueError("not the state of a bulk export; start a new one") from None
        if not isinstance(state.status_url, str) or not 0 <= state.files_done <= len(state.files):
            raise ValueError("not the state of a bulk export; start a new one")
        return state
