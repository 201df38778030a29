"""One transaction at a time for the facts of a source."""

from __future__ import annotations

import hashlib

from sqlalchemy import text

from serve.store.transaction import Transaction


def take_turns(transaction: Transaction, source: str) -> None:
    """Wait until no other transaction takes in facts of this source, or labels its stays.

    Two that did so at once would each label a stay without what the other knows of it. SQLite has one writer anyway.
    """
    if transaction.connection.dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(f"facts|{source}".encode()).digest()[:8], "big", signed=True)
        transaction.connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
