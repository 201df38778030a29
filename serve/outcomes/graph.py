"""Facts that belong together: found by names, whichever of them came first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import select

from serve.outcomes.keys import Role
from serve.store.facts_tables import FactLink
from serve.store.transaction import Transaction

T = TypeVar("T")

# SQLite takes 32,766 values a statement and PostgreSQL 65,535.
ROWS_PER_STATEMENT = 500
# Resubmissions of resubmissions; a loop of names ends by itself.
_MAX_ROUNDS = 12
_CLAIM_MENTIONS = (Role.ANSWERS, Role.CONTINUES)


@dataclass(frozen=True, slots=True)
class Link:
    """A name and whose it is, in which role."""

    owner: str
    role: str
    name: str


def chunks(items: Iterable[T]) -> Iterator[Sequence[T]]:
    """The items, as many at once as a statement takes."""
    listed = list(items)
    for start in range(0, len(listed), ROWS_PER_STATEMENT):
        yield listed[start : start + ROWS_PER_STATEMENT]


def links_of(transaction: Transaction, owners: Iterable[str]) -> list[Link]:
    """All names of these facts."""
    found = []
    for part in chunks(sorted(set(owners))):
        rows = transaction.connection.execute(
            select(FactLink.owner, FactLink.role, FactLink.name).where(FactLink.owner.in_(part))
        )
        found += [Link(*row) for row in rows]
    return found


def links_named(transaction: Transaction, source: str, names: Iterable[str], roles: Collection[Role]) -> list[Link]:
    """The links by these names in one of these roles."""
    found = []
    for part in chunks(sorted(set(names))):
        rows = transaction.connection.execute(
            select(FactLink.owner, FactLink.role, FactLink.name).where(
                FactLink.source == source, FactLink.name.in_(part), FactLink.role.in_([str(role) for role in roles])
            )
        )
        found += [Link(*row) for row in rows]
    return found


def encounters_named(transaction: Transaction, source: str, names: Iterable[str]) -> dict[str, str]:
    """Name to the id of the one encounter that goes by it. A name of two (an account of many stays) is none's."""
    owners: dict[str, set[str]] = defaultdict(set)
    for link in links_named(transaction, source, names, (Role.ENCOUNTER,)):
        owners[link.name].add(link.owner)
    return {name: next(iter(own)) for name, own in owners.items() if len(own) == 1}


def shared_names(transaction: Transaction, source: str, names: Iterable[str]) -> set[str]:
    """Those names that two claims go by, as an account number may be: they say nothing about which one is meant."""
    owners: dict[str, set[str]] = defaultdict(set)
    for link in links_named(transaction, source, names, (Role.CLAIM,)):
        owners[link.name].add(link.owner)
    return {name for name, own in owners.items() if len(own) > 1}


def with_their_claims(transaction: Transaction, source: str, facts: Iterable[str]) -> set[str]:
    """These facts and all claims and answers that hang together with those of them that are claims."""
    known = set(facts)
    fresh = known
    for _ in range(_MAX_ROUNDS):
        links = links_of(transaction, fresh)
        own = [link.name for link in links if link.role == Role.CLAIM]
        mentioned = [link.name for link in links if link.role in _CLAIM_MENTIONS]
        met = links_named(transaction, source, own, _CLAIM_MENTIONS)
        met += links_named(transaction, source, mentioned, (Role.CLAIM, *_CLAIM_MENTIONS))
        shared = shared_names(transaction, source, {link.name for link in met})
        fresh = {link.owner for link in met if link.name not in shared} - known
        if not fresh:
            break
        known |= fresh
    return known


def encounters_of(transaction: Transaction, source: str, facts: Iterable[str]) -> set[str]:
    """Ids of the encounters that diagnoses and claims tell something of."""
    links = links_of(transaction, with_their_claims(transaction, source, facts))
    named = encounters_named(transaction, source, [each.name for each in links if each.role == Role.IN_ENCOUNTER])
    own = [each.name for each in links if each.role == Role.DIAGNOSIS]
    listing = links_named(transaction, source, own, (Role.LISTS,))
    return {*named.values(), *(link.owner for link in listing)}
