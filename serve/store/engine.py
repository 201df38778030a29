"""Engines for the two databases, and their errors as one coded error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from serve.errors import StoreUnavailableError

BUSY_TIMEOUT_MS = 2000


def make_engine(url: str, *, read_only: bool = False, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Engine:
    """An engine for `sqlite:///…` or `postgresql+psycopg://…`; `read_only` connections cannot write.

    SQLite runs in WAL with synchronous=FULL: a committed score survives a power cut, at one fsync a transaction, which
    group commit shares. NORMAL would lose the last commits, and an answer that went out must stay true.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            _make_private_file(Path(parsed.database))
        engine = create_engine(url, connect_args={"timeout": busy_timeout_ms / 1000, "check_same_thread": False})
        _configure_sqlite(engine, read_only=read_only)
        return engine
    # pre_ping: a database that was restarted must not cost a request.
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=5,
        connect_args={"connect_timeout": 5, "options": "-c default_transaction_read_only=on" if read_only else ""},
        hide_parameters=True,
    )


def _make_private_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        # Scores are PHI: the file is made before SQLite would make it readable by all.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _configure_sqlite(engine: Engine, *, read_only: bool) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # The driver's own transaction handling starts late and commits early; the begin hook below does it right.
        connection.isolation_level = None
        cursor = connection.cursor()
        if read_only:
            # The writer made it WAL, and the file remembers; asking again would wait for a lock.
            cursor.execute("PRAGMA query_only=ON")
        else:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:
        # IMMEDIATE takes the write lock at once: a read that turns into a write would fail without waiting.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def coded_errors() -> Iterator[None]:
    """Every database error as StoreUnavailableError naming the driver's error class: its text quotes values."""
    try:
        yield
    except DBAPIError as error:
        raise StoreUnavailableError(type(error.orig).__name__) from None
    except PoolTimeoutError:
        raise StoreUnavailableError("PoolTimeout") from None
    except (SQLAlchemyError, UnicodeError) as error:
        raise StoreUnavailableError(type(error).__name__) from None
