"""Labels of patients made anew from the facts that are kept of them, and written where they differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, func, select

from lang1.hospital_record import ClaimStatus
from serve.outcomes.context import LabelContext
from serve.outcomes.graph import chunks, encounters_named, links_named, links_of, shared_names, with_their_claims
from serve.outcomes.keys import Role, outcome_id
from serve.outcomes.labels import ClaimState, Horizons, Label, TaskLabels, make_labels
from serve.outcomes.merging import standing_states
from serve.outcomes.written import (
    GIVEN,
    RULE,
    WrittenLabel,
    delete_outcomes,
    outcomes_by_id,
    upsert,
    with_history,
)
from serve.store.facts_tables import ClaimRow, DiagnosisRow, EncounterRow
from serve.store.tables import Outcome
from serve.store.transaction import Transaction

# A booking is no stay yet: its patient may never come.
NO_STAY = "planned"


def horizons(transaction: Transaction, source: str, context: LabelContext) -> Horizons:
    """How far the feed of a source is complete: its newest stay or decision, less the lag. Clerks' future dates aside.

    What happened is read, not when it was sent: an export of years carries today's date on every row.
    """

    def newest(column: Any, *conditions: Any) -> int | None:
        table = column.class_
        statement = select(func.max(column)).where(table.source == source, column <= transaction.now_ms, *conditions)
        found: int | None = transaction.connection.execute(statement).scalar_one()
        return found

    begun = newest(EncounterRow.started_ms, EncounterRow.status.not_in((NO_STAY, "cancelled")))
    ended = newest(EncounterRow.ended_ms)
    stays = [each for each in (begun, ended) if each is not None]
    decided = newest(ClaimRow.decided_ms)
    return Horizons(
        max(stays) - context.feed_lag_ms if stays else None, None if decided is None else decided - context.feed_lag_ms
    )


def relabel_encounters(
    transaction: Transaction, source: str, encounters: Iterable[str], subjects: Iterable[str], context: LabelContext
) -> list[WrittenLabel]:
    """Labels of all stays of these encounters' patients, and of these patients. Encounters are ids of facts."""
    patients = set(subjects)
    gone: list[str] = []
    for part in chunks(sorted(set(encounters))):
        for row in transaction.connection.execute(
            select(EncounterRow.subject, EncounterRow.reference, EncounterRow.removed, EncounterRow.status).where(
                EncounterRow.id.in_(part)
            )
        ):
            if row.subject is not None:
                patients.add(row.subject)
            if row.removed or row.status == NO_STAY:
                gone.append(row.reference)
    _drop(transaction, source, gone, context)
    return relabel_patients(transaction, source, patients, context)


def relabel_patients(
    transaction: Transaction, source: str, patients: Iterable[str], context: LabelContext
) -> list[WrittenLabel]:
    """Labels of all stays of these patients; what was written."""
    known = horizons(transaction, source, context)
    written: list[WrittenLabel] = []
    for part in chunks(sorted(set(patients))):
        stays = list(
            transaction.connection.execute(
                select(EncounterRow.__table__)
                .where(
                    EncounterRow.source == source,
                    EncounterRow.subject.in_(part),
                    EncounterRow.removed.is_(False),
                    EncounterRow.status != NO_STAY,
                )
                .order_by(EncounterRow.id)
            )
        )
        if stays:
            codes, claims = _diagnoses_and_claims(transaction, source, stays)
            written += _record(transaction, source, stays, make_labels(stays, codes, claims, known, context))
    return written


def _diagnoses_and_claims(
    transaction: Transaction, source: str, stays: Sequence[Row[Any]]
) -> tuple[list[tuple[int, str, int]], list[ClaimState]]:
    """(stay, code, version) and claim states, `stay` the row in `stays`."""
    row_of = {stay.id: row for row, stay in enumerate(stays)}
    own = links_of(transaction, row_of)
    names = [link.name for link in own if link.role == Role.ENCOUNTER]
    stay_named = {
        name: row_of[owner] for name, owner in encounters_named(transaction, source, names).items() if owner in row_of
    }
    told: dict[str, set[int]] = defaultdict(set)
    for link in links_named(transaction, source, stay_named, (Role.IN_ENCOUNTER,)):
        told[link.owner].add(stay_named[link.name])
    listed_by: dict[str, set[int]] = defaultdict(set)
    for link in own:
        if link.role == Role.LISTS:
            listed_by[link.name].add(row_of[link.owner])
    for link in links_named(transaction, source, listed_by, (Role.DIAGNOSIS,)):
        told[link.owner] |= listed_by[link.name]
    codes = []
    for part in chunks(sorted(told)):
        for row in transaction.connection.execute(
            select(DiagnosisRow.id, DiagnosisRow.codes).where(
                DiagnosisRow.id.in_(part), DiagnosisRow.removed.is_(False)
            )
        ):
            codes += [(stay, str(code), int(version)) for stay in sorted(told[row.id]) for code, version in row.codes]
    return codes, _claim_states(transaction, source, told, stay_named)


def _claim_states(
    transaction: Transaction, source: str, told: Iterable[str], stay_named: dict[str, int]
) -> list[ClaimState]:
    rows: dict[str, Row[Any]] = {}
    for part in chunks(sorted(with_their_claims(transaction, source, told))):
        found = transaction.connection.execute(select(ClaimRow.__table__).where(ClaimRow.id.in_(part)))
        rows.update((row.id, row) for row in found)
    group: dict[str, str] = {each: each for each in rows}

    def root(each: str) -> str:
        while group[each] != each:
            group[each] = group[group[each]]
            each = group[each]
        return each

    links = links_of(transaction, rows)
    shared = shared_names(transaction, source, [link.name for link in links if link.role != Role.IN_ENCOUNTER])
    met: dict[str, str] = {}
    withdrawn: set[str] = set()
    for link in links:
        if link.role == Role.IN_ENCOUNTER or link.name in shared:
            continue
        group[root(link.owner)] = root(met.setdefault(link.name, link.owner))
        row = rows[link.owner]
        if link.role == Role.CLAIM and row.type == "Claim" and (row.removed or not row.counts):
            withdrawn.add(link.name)
    # The answer to a claim that was withdrawn goes with it.
    answers_withdrawn = {link.owner for link in links if link.role == Role.ANSWERS and link.name in withdrawn}
    stays: dict[str, set[int]] = defaultdict(set)
    for link in links:
        if link.role == Role.IN_ENCOUNTER and link.name in stay_named:
            stays[root(link.owner)].add(stay_named[link.name])
    number: dict[str, int] = {}
    return [
        ClaimState(stay, number.setdefault(f"{root(each)}/{stay}", len(number)), ClaimStatus(status), decided_ms)
        for each in sorted(rows)
        if each not in answers_withdrawn
        for stay in sorted(stays[root(each)])
        for decided_ms, status in standing_states(rows[each])
    ]


def _record(
    transaction: Transaction, source: str, stays: Sequence[Row[Any]], made: Sequence[TaskLabels]
) -> list[WrittenLabel]:
    ids = {
        (each.task.name, row): outcome_id(source, stay.reference, each.task.name)
        for each in made
        for row, stay in enumerate(stays)
    }
    before = outcomes_by_id(transaction, ids.values())
    rows: list[dict[str, Any]] = []
    written: list[WrittenLabel] = []
    for each in made:
        for row, (stay, label) in enumerate(zip(stays, each.labels, strict=True)):
            own_id = ids[each.task.name, row]
            old = before.get(own_id)
            # A visit that nothing is known of but that it is no stay needs no row: `joined` says the same of it.
            if (old is None and _is_bare(stay, label, each)) or (old is not None and old["origin"] == GIVEN):
                continue
            new = _columns(own_id, source, stay, each.task.name, label)
            if (kept := with_history(old, new, transaction.now_ms)) is not None:
                rows.append(kept)
                if kept["recorded_ms"] == transaction.now_ms:
                    written.append(WrittenLabel(each.task.name, label.option, new["reason"]))
    upsert(transaction, Outcome, sorted(rows, key=lambda kept: str(kept["id"])))
    return written


def _is_bare(stay: Row[Any], label: Label, of: TaskLabels) -> bool:
    return not stay.inpatient and label.option is None and label.reason == of.bare


def _columns(own_id: str, source: str, stay: Row[Any], task: str, label: Label) -> dict[str, Any]:
    return {
        "id": own_id, "source": source, "encounter": stay.reference, "subject": stay.subject, "task": task,
        "option": label.option, "reason": None if label.reason is None else label.reason.code, "origin": RULE,
        "known_ms": label.known_ms, "discharged_ms": stay.ended_ms, "due_ms": label.due_ms,
    }  # fmt: skip


def _drop(transaction: Transaction, source: str, references: Sequence[str], context: LabelContext) -> None:
    """Outcomes of encounters that are no more. What the hospital gave itself stays."""
    ids = [outcome_id(source, reference, task.name) for reference in references for task in context.tasks]
    found = outcomes_by_id(transaction, ids)
    delete_outcomes(transaction, [own_id for own_id, row in found.items() if row["origin"] == RULE])
