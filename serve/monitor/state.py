"""What the monitor remembers, in the database: a row a bundle."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from serve.store.tables import Cursor
from serve.store.transaction import Transaction


def _name(bundle_sha256: str) -> str:
    return f"monitor/{bundle_sha256}"


def read_state(transaction: Transaction, bundle_sha256: str) -> dict[str, Any] | None:
    """The saved state of a bundle, as JSON; None before its first run."""
    found: dict[str, Any] | None = transaction.connection.execute(
        select(Cursor.state).where(Cursor.name == _name(bundle_sha256))
    ).scalar()
    return found


def save_state(transaction: Transaction, bundle_sha256: str, state: dict[str, Any]) -> None:
    """Put the state in the place of the one before."""
    row = {"name": _name(bundle_sha256), "state": state, "updated_ms": transaction.now_ms}
    transaction.connection.execute(
        transaction.insert(Cursor).on_conflict_do_update(
            index_elements=[Cursor.name], set_={"state": state, "updated_ms": transaction.now_ms}
        ),
        [row],
    )
