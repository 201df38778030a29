"""What a writer holds and what comes of it, as plain data that crosses process borders."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Leased:
    """Outbox rows of one key, that is of one resource of the EHR, held by one writer.

    `token` is the lease's own id: who lost the lease cannot finish with it. `attempts` is the highest of the rows.
    """

    token: str
    key: str
    sink: str
    rows: tuple[int, ...]
    predictions: tuple[str, ...]
    attempts: int
    unsure: bool
    """An earlier try may have reached the EHR."""


@dataclass(frozen=True, slots=True)
class Content:
    """What the store holds of a leased key now: all predictions of the resource, and what the EHR called it before."""

    predictions: tuple[str, ...]
    note_key: str
    reference: str | None


class After(StrEnum):
    """What becomes of rows whose write failed."""

    TRY_AGAIN = "try-again"
    """A try was used; after the last one the rows are dead letters."""
    WAIT = "wait"
    """No try was used: the server is away, or asks for time."""
    DEAD = "dead"
    """The same write will never be taken."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Rows that are not done. `oldest_ms` is when the oldest pending one was made, milliseconds since 1970 UTC."""

    pending: int
    dead: int
    oldest_ms: int | None


@dataclass(frozen=True, slots=True)
class Letter:
    """One row for people: nothing of a patient."""

    id: int
    prediction: str
    task: str
    sink: str
    version: int
    status: str
    attempts: int
    error: str | None
    created_ms: int
    next_attempt_ms: int
