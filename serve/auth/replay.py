"""Tokens that are good for one use, remembered in the database until they expire by themselves."""

from __future__ import annotations

import hashlib
from typing import Final

from sqlalchemy import delete

from serve.store.tables import UsedToken
from serve.store.transaction import Transaction

# Rows go by the store's clock and tokens expire by the ingress's: a row outlives its token by what the two may differ.
KEPT_AFTER_MS: Final = 600_000


def token_key(issuer: str, jti: str) -> str:
    """What stands for a token in the database: of issuer and `jti`, the two kept apart."""
    return hashlib.sha256(f"{len(issuer)}:{issuer}{jti}".encode()).hexdigest()


def use_once(transaction: Transaction, key: str, expires_ms: int) -> bool:
    """Mark a token used; False when it was before. Drops what has expired.

    A writer that dies after its commit is asked again and says False: the caller must sign anew, and none passes twice.
    """
    connection = transaction.connection
    connection.execute(delete(UsedToken).where(UsedToken.expires_ms < transaction.now_ms - KEPT_AFTER_MS))
    statement = (
        transaction.insert(UsedToken)
        .values(token_sha256=key, expires_ms=expires_ms)
        .on_conflict_do_nothing(index_elements=[UsedToken.token_sha256])
        .returning(UsedToken.token_sha256)
    )
    return connection.execute(statement).scalar_one_or_none() is not None
