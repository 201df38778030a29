"""What the loop asks of the place where a job runs, and the job's command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Protocol

from serve.retraining.requests import Request
from serve.retraining.settings import RetrainingSettings

OWN_COMMAND: Final = "lang1"


class JobState(StrEnum):
    """Where a try of a job stands."""

    ABSENT = "absent"
    """Never begun."""
    RUNNING = "running"
    ENDED = "ended"
    """By itself, with an exit code."""
    KILLED = "killed"
    """It is gone, and left no exit code."""
    LET_GO = "let-go"
    """Ended by the service that followed it, because that stopped: no fault of the job."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A look at a try. `exit_code` is there for ENDED alone."""

    state: JobState
    exit_code: int | None = None


class JobsAwayError(Exception):
    """The place where jobs run does not answer, or not as it should; `code` says which, without anyone's text."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Jobs(Protocol):
    """Each try has a name of its own, so that beginning it twice begins it once. All methods block."""

    @property
    def holder(self) -> str:
        """Name under which the request is leased: whoever has this name can follow the job."""

    def begin(self, name: str, request: Request) -> None:
        """Start a try. Nothing happens where it was started before. Raises JobsAwayError."""

    def look(self, name: str) -> JobView:
        """Where it stands. Raises JobsAwayError."""

    def end(self, name: str) -> None:
        """Kill it, if it runs. Raises JobsAwayError."""

    def let_go(self, name: str) -> None:
        """This service stops: a job that cannot be without it is ended, and says so. Raises JobsAwayError."""


def try_name(request: Request) -> str:
    """Name of the present try, by its start: a try that was stopped uncharged has the number of the next."""
    return f"lang1-retraining-{request.id}-{request.started_ms}"


def command(settings: RetrainingSettings, request: Request) -> list[str]:
    """Words of the job's command: the same data for every try, those known when it was asked for."""
    as_of = datetime.fromtimestamp(request.created_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    who = f"{request.asked_by} ({request.origin})"
    # With "=": a reason may begin with a dash.
    return [
        *settings.retraining_command, "--spec", str(settings.retraining_spec), "--as-of", as_of, f"--as={who}",
        f"--reason={request.reason}",
    ]  # fmt: skip


def local_command(words: list[str]) -> list[str]:
    """The same for this machine: `lang1` is that of this very environment, which PATH need not name."""
    return [sys.executable, "-m", "lang1.cli.main", *words[1:]] if words[0] == OWN_COMMAND else words
