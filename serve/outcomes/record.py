"""Facts into the store, and the labels of the stays that they change: one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select

from fhir_adapters.outcomes.facts import Fact
from serve.outcomes.context import LabelContext
from serve.outcomes.given import adopt
from serve.outcomes.graph import Link, chunks, encounters_of, links_named, links_of
from serve.outcomes.keys import Role, fact_id, link_id
from serve.outcomes.merging import Change, FactRow, Links, merge
from serve.outcomes.relabel import relabel_encounters
from serve.outcomes.turns import take_turns
from serve.outcomes.written import WrittenLabel, upsert
from serve.store.facts_tables import ClaimRow, DiagnosisRow, EncounterRow, FactLink
from serve.store.transaction import Transaction

_TABLES: Mapping[str, Any] = {"Encounter": EncounterRow, "Condition": DiagnosisRow}


@dataclass(frozen=True, slots=True)
class RecordedFacts:
    """What came of each fact, in order, and the labels that were written."""

    changes: tuple[Change, ...]
    labels: tuple[WrittenLabel, ...]


def table_of(kind: str) -> Any:
    """The table of facts of a resource type."""
    return _TABLES.get(kind, ClaimRow)


def record_facts(transaction: Transaction, source: str, facts: Sequence[Fact], context: LabelContext) -> RecordedFacts:
    """Keep what is new in `facts` of a sending system, and label anew every stay that it may change.

    `source` is the system whose ids the facts use. The same facts again, or older versions of them, change nothing.
    """
    take_turns(transaction, source)
    ids = [fact_id(source, fact.identity.reference) for fact in facts]
    before = _load(transaction, facts, ids)
    old_links: dict[str, list[Link]] = defaultdict(list)
    for link in links_of(transaction, ids):
        old_links[link.owner].append(link)
    rows: dict[str, FactRow] = dict(before)
    links: dict[str, Links] = {}
    changes: list[Change] = []
    changed: set[str] = set()
    for fact, own_id in zip(facts, ids, strict=True):
        own = {"id": own_id, "source": source, "reference": fact.identity.reference}
        merged = merge(rows.get(own_id), fact, own, transaction.now_ms)
        rows[own_id] = merged.row
        if merged.links is not None:
            links[own_id] = merged.links
        changes.append(merged.change)
        if merged.changed:
            changed.add(own_id)
    rewritten = {
        owner: new
        for owner, new in links.items()
        if {(str(role), name) for role, name in new} != {(each.role, each.name) for each in old_links[owner]}
    }
    changed |= rewritten.keys()
    kind_of = {own_id: fact.identity.type for own_id, fact in zip(ids, facts, strict=True)}
    encounters = {each for each in changed if kind_of[each] == "Encounter"}
    others = changed - encounters
    affected = encounters | encounters_of(transaction, source, others) if changed else set()
    affected |= _namesakes(transaction, source, encounters)
    subjects = {before[each]["subject"] for each in encounters if each in before}
    _write(transaction, rows, before, kind_of)
    _write_links(transaction, source, rewritten, rows)
    labels: list[WrittenLabel] = []
    if changed:
        affected |= encounters_of(transaction, source, others) | _namesakes(transaction, source, encounters)
        adopt(transaction, source, {each: rows[each]["reference"] for each in encounters if not rows[each]["removed"]},
              context)  # fmt: skip
        labels = relabel_encounters(transaction, source, affected, subjects - {None}, context)
    return RecordedFacts(tuple(changes), tuple(labels))


def _load(transaction: Transaction, facts: Sequence[Fact], ids: Sequence[str]) -> dict[str, FactRow]:
    wanted: dict[Any, list[str]] = defaultdict(list)
    for fact, own_id in zip(facts, ids, strict=True):
        wanted[table_of(fact.identity.type)].append(own_id)
    found: dict[str, FactRow] = {}
    for model, own in wanted.items():
        for part in chunks(sorted(set(own))):
            rows = transaction.connection.execute(select(model.__table__).where(model.id.in_(part)))
            found.update((row.id, dict(row._mapping)) for row in rows)
    return found


def _namesakes(transaction: Transaction, source: str, encounters: Iterable[str]) -> set[str]:
    """Encounters that share a name with these: a name is worth nothing once two go by it."""
    own = [link.name for link in links_of(transaction, encounters) if link.role == Role.ENCOUNTER]
    return {link.owner for link in links_named(transaction, source, own, (Role.ENCOUNTER,))}


def _write(
    transaction: Transaction, rows: Mapping[str, FactRow], before: Mapping[str, FactRow], kind_of: Mapping[str, str]
) -> None:
    by_table: dict[Any, list[FactRow]] = defaultdict(list)
    for own_id in sorted(rows):
        if rows[own_id] != before.get(own_id):
            by_table[table_of(kind_of[own_id])].append(rows[own_id])
    for model, own in by_table.items():
        upsert(transaction, model, own)


def _write_links(
    transaction: Transaction, source: str, links: Mapping[str, Links], rows: Mapping[str, FactRow]
) -> None:
    for part in chunks(sorted(links)):
        transaction.connection.execute(delete(FactLink).where(FactLink.owner.in_(part)))
    new = {
        link_id(owner, role, name): {
            "id": link_id(owner, role, name), "owner": owner, "role": str(role), "name": name, "source": source,
            "subject": rows[owner]["subject"], "received_ms": transaction.now_ms,
        }
        for owner, own in links.items()
        for role, name in own
    }  # fmt: skip
    if new:
        upsert(transaction, FactLink, [new[each] for each in sorted(new)])
