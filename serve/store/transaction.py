"""What a piece of work on the database is given: one connection in one transaction, the time, the dialect's insert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Transaction:
    """Work is a module-level function `(transaction, *arguments) -> plain data`, so that it can be sent to the writer.

    It may run again after a deadlock, so it changes nothing but the database.
    """

    connection: Connection
    now_ms: int
    """Milliseconds since 1970 UTC, one for the whole transaction."""
    insert: Any
    """`insert(Table)` of the dialect, with `on_conflict_do_nothing` and `on_conflict_do_update`."""

    @property
    def skip_locked(self) -> bool:
        """Whether rows that another writer holds can be passed over; SQLite has one writer and needs no such thing."""
        return self.connection.dialect.name == "postgresql"
