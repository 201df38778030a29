"""Cursors of the feeds, and what a notification or a search adds, each in one transaction with its cursor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select, update

from serve.intake.rows import NewRow, enqueue
from serve.intake.subscription_state import Sighting, SubscriptionState, observe
from serve.store.retraction import take_back
from serve.store.tables import Cursor
from serve.store.transaction import Transaction

_SUBSCRIPTION: Final = "subscription:"


@dataclass(frozen=True, slots=True)
class NamedResource:
    """A resource that an event names, still to be taken in, or `dead_code`, why it never can be. PHI."""

    reference: str
    event: str
    """Number and time of the event."""
    dead_code: str | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A notification as it is recorded."""

    source: str
    request_id: str
    sighting: Sighting
    named: tuple[NamedResource, ...] = ()
    deleted: tuple[str, ...] = ()
    """Documents whose scores are taken back."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a notification came to: rows that were new, scores that were taken back, events known to be missing."""

    queued: int
    retracted: int
    missing: int


def record_notification(transaction: Transaction, arrival: Arrival) -> Recorded:
    """Rows, retractions and the subscription's state. The same notification again changes nothing but times."""
    digest = _digest(arrival.source, arrival.sighting.subscription)
    name = _SUBSCRIPTION + digest
    before = _locked(transaction, name)
    state = observe(
        SubscriptionState.from_json(before) if before else None, arrival.sighting, transaction.now_ms
    )  # fmt: skip
    _save(transaction, name, state.to_json())
    retracted = sum(
        take_back(transaction, arrival.source, document, None, arrival.request_id) for document in arrival.deleted
    )
    rows = [
        NewRow(arrival.source, each.reference, f"{digest[:16]}:{state.epoch}:{each.event}"[:128], each.dead_code)
        for each in arrival.named
    ]
    return Recorded(enqueue(transaction, rows), retracted, state.missed)


def subscriptions(transaction: Transaction) -> list[tuple[str, SubscriptionState]]:
    """Cursor name and state of every subscription. Only reads."""
    query = select(Cursor.name, Cursor.state).where(Cursor.name.startswith(_SUBSCRIPTION, autoescape=True))
    return [(row.name, SubscriptionState.from_json(row.state)) for row in transaction.connection.execute(query)]


def heal(transaction: Transaction, name: str, began_ms: int) -> None:
    """A search that began then found what a subscription had missed."""
    state = _locked(transaction, name)
    if state:
        _save(transaction, name, SubscriptionState.from_json(state).healed(began_ms).to_json())


def read_cursor(transaction: Transaction, name: str) -> dict[str, Any] | None:
    """A cursor's state; None for one that is not there. Only reads."""
    state: dict[str, Any] | None = transaction.connection.execute(
        select(Cursor.state).where(Cursor.name == name)
    ).scalar_one_or_none()
    return state


def enqueue_found(
    transaction: Transaction, rows: Sequence[NewRow], name: str | None, state: dict[str, Any] | None
) -> int:
    """What a search found and how far it came, together. How many rows were new."""
    new = enqueue(transaction, rows)
    if name is not None and state is not None:
        _locked(transaction, name)
        _save(transaction, name, state)
    return new


def _locked(transaction: Transaction, name: str) -> dict[str, Any]:
    """The cursor's state, {} for a new one; no other writer changes it until the transaction ends."""
    transaction.connection.execute(
        transaction.insert(Cursor).on_conflict_do_nothing(index_elements=[Cursor.name]),
        [{"name": name, "state": {}, "updated_ms": transaction.now_ms}],
    )
    query = select(Cursor.state).where(Cursor.name == name).with_for_update()
    state: dict[str, Any] = transaction.connection.execute(query).scalar_one()
    return state


def _save(transaction: Transaction, name: str, state: dict[str, Any]) -> None:
    values = {"state": state, "updated_ms": transaction.now_ms}
    transaction.connection.execute(update(Cursor).where(Cursor.name == name).values(**values))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:40]
