"""Labels that the hospital gives itself: they stand over the rule's, as `HospitalRecord.given` does in training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select

from serve.outcomes.context import LabelContext
from serve.outcomes.graph import chunks, encounters_named, links_named, links_of
from serve.outcomes.keys import Role, outcome_id
from serve.outcomes.relabel import relabel_patients
from serve.outcomes.turns import take_turns
from serve.outcomes.written import GIVEN, WrittenLabel, delete_outcomes, outcomes_by_id, upsert, with_history
from serve.store.facts_tables import EncounterRow
from serve.store.tables import Outcome
from serve.store.transaction import Transaction

GivenChange = Literal["recorded", "unchanged", "withdrawn"]


@dataclass(frozen=True, slots=True)
class GivenOutcome:
    """One label: an option, or the code of why there is none, or `withdrawn`. `encounter` is a reference or token."""

    encounter: str
    task: str
    option: int | None
    reason: str | None
    occurred_ms: int | None = None
    subject: str | None = None

    @property
    def withdrawn(self) -> bool:
        """The rule's label comes back."""
        return self.option is None and self.reason is None


@dataclass(frozen=True, slots=True)
class RecordedGiven:
    """What came of each, in order, and the labels that were written."""

    changes: tuple[GivenChange, ...]
    labels: tuple[WrittenLabel, ...]


def record_given(
    transaction: Transaction, source: str, given: Sequence[GivenOutcome], context: LabelContext
) -> RecordedGiven:
    """Keep labels that a hospital gives. The same again changes nothing; another one takes the place of the first.

    An encounter that is not known yet is kept by the name that it was given, and found when it comes.
    """
    take_turns(transaction, source)
    owners = encounters_named(transaction, source, [each.encounter for each in given])
    stays: dict[str, Any] = {}
    for part in chunks(sorted(set(owners.values()))):
        rows = transaction.connection.execute(select(EncounterRow.__table__).where(EncounterRow.id.in_(part)))
        stays.update((row.id, row) for row in rows)
    stay_of = [stays.get(owners.get(each.encounter, "")) for each in given]
    names = [each.encounter if stay is None else stay.reference for each, stay in zip(given, stay_of, strict=True)]
    ids = [outcome_id(source, name, each.task) for name, each in zip(names, given, strict=True)]
    rows_now = outcomes_by_id(transaction, ids)
    changes: list[GivenChange] = []
    labels: list[WrittenLabel] = []
    patients: set[str] = set()
    dirty: dict[str, dict[str, Any]] = {}
    dropped: set[str] = set()
    for each, stay, name, own_id in zip(given, stay_of, names, ids, strict=True):
        old = rows_now.get(own_id)
        if each.withdrawn:
            if old is None or old["origin"] != GIVEN:
                changes.append("unchanged")
                continue
            del rows_now[own_id]
            dirty.pop(own_id, None)
            dropped.add(own_id)
            if stay is not None and stay.subject is not None:
                patients.add(stay.subject)
            changes.append("withdrawn")
            continue
        new = {
            "id": own_id, "source": source, "encounter": name, "task": each.task,
            "subject": each.subject if stay is None else stay.subject, "option": each.option, "reason": each.reason,
            "origin": GIVEN, "known_ms": each.occurred_ms, "due_ms": None,
            "discharged_ms": None if stay is None else stay.ended_ms,
        }  # fmt: skip
        kept = with_history(old, new, transaction.now_ms)
        changes.append("unchanged" if kept is None else "recorded")
        if kept is not None:
            rows_now[own_id] = dirty[own_id] = kept
            dropped.discard(own_id)
            labels.append(WrittenLabel(each.task, each.option, each.reason))
    delete_outcomes(transaction, dropped)
    upsert(transaction, Outcome, [dirty[own_id] for own_id in sorted(dirty)])
    if patients:
        labels += relabel_patients(transaction, source, patients, context)
    return RecordedGiven(tuple(changes), tuple(labels))


def adopt(transaction: Transaction, source: str, encounters: Mapping[str, str], context: LabelContext) -> None:
    """Give labels that came before their encounter to it. `encounters` is id of the fact to reference."""
    names: dict[str, list[str]] = defaultdict(list)
    for link in links_of(transaction, encounters):
        if link.role == Role.ENCOUNTER and link.name != encounters[link.owner]:
            names[link.name].append(link.owner)
    shared = links_named(transaction, source, names, (Role.ENCOUNTER,))
    owners: dict[str, set[str]] = defaultdict(set)
    for link in shared:
        owners[link.name].add(link.owner)
    wanted = {
        outcome_id(source, name, task.name): (outcome_id(source, encounters[own[0]], task.name), encounters[own[0]])
        for name, own in names.items()
        if len(owners[name]) == 1
        for task in context.tasks
    }
    waiting = outcomes_by_id(transaction, wanted)
    there = outcomes_by_id(transaction, [wanted[each][0] for each in waiting])
    moved = []
    for own_id, row in sorted(waiting.items()):
        new_id, reference = wanted[own_id]
        standing = there.get(new_id)
        # Of two that were given, the later one stands.
        if standing is None or standing["origin"] != GIVEN or standing["recorded_ms"] <= row["recorded_ms"]:
            moved.append(row | {"id": new_id, "encounter": reference})
    delete_outcomes(transaction, waiting)
    upsert(transaction, Outcome, moved)
