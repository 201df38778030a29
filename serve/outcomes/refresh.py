"""Labels that time alone makes: thirty days went by without a return, a denial was never appealed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, tuple_

from serve.outcomes.context import LabelContext
from serve.outcomes.intake import count_labels
from serve.outcomes.relabel import horizons, relabel_patients
from serve.outcomes.turns import take_turns
from serve.outcomes.written import WrittenLabel
from serve.pipeline import Pipeline
from serve.store.facts_tables import EncounterRow
from serve.store.tables import Outcome
from serve.store.transaction import Transaction

PATIENTS_PER_TRANSACTION = 200


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The labels that were written; `after` goes on, None at the end."""

    labels: tuple[WrittenLabel, ...]
    after: tuple[int, str] | None


@dataclass(frozen=True, slots=True)
class Relabelled:
    """The labels that were written; `after` goes on, None at the end."""

    labels: tuple[WrittenLabel, ...]
    after: str | None


def fact_sources(transaction: Transaction) -> list[str]:
    """The systems whose encounters are kept."""
    sources = select(EncounterRow.source).distinct().order_by(EncounterRow.source)
    return list(transaction.connection.execute(sources).scalars())


def refresh(
    transaction: Transaction,
    source: str,
    context: LabelContext,
    after: tuple[int, str] | None = None,
    limit: int = PATIENTS_PER_TRANSACTION,
) -> Refreshed:
    """Label anew the stays whose time has come, a few patients in one transaction. Again: no change.

    Time is that of the feed (`relabel.horizons`), not the clock's: a feed that stands still makes nobody stay away.
    """
    take_turns(transaction, source)
    known = horizons(transaction, source, context)
    until = [each for each in (known.encounters_ms, known.claims_ms) if each is not None]
    if not until:
        return Refreshed((), None)
    conditions = [Outcome.source == source, Outcome.due_ms <= max(until)]
    if after is not None:
        conditions.append(tuple_(Outcome.due_ms, Outcome.id) > after)
    rows = list(
        transaction.connection.execute(
            select(Outcome.due_ms, Outcome.id, Outcome.subject)
            .where(*conditions)
            .order_by(Outcome.due_ms, Outcome.id)
            .limit(limit)
        )
    )
    patients = {row.subject for row in rows if row.subject is not None}
    labels = relabel_patients(transaction, source, patients, context)
    last = rows[-1] if len(rows) == limit else None
    return Refreshed(tuple(labels), None if last is None else (last.due_ms, last.id))


def relabel_some(
    transaction: Transaction,
    source: str,
    context: LabelContext,
    after: str | None = None,
    limit: int = PATIENTS_PER_TRANSACTION,
) -> Relabelled:
    """Label every patient of a source anew, a few in one transaction: after the rules or the time zone were changed."""
    take_turns(transaction, source)
    conditions = [EncounterRow.source == source, EncounterRow.subject.is_not(None)]
    if after is not None:
        conditions.append(EncounterRow.subject > after)
    patients: list[str] = [
        str(each)
        for each in transaction.connection.execute(
            select(EncounterRow.subject).where(*conditions).distinct().order_by(EncounterRow.subject).limit(limit)
        ).scalars()
    ]
    labels = relabel_patients(transaction, source, patients, context)
    return Relabelled(tuple(labels), patients[-1] if len(patients) == limit else None)


async def refresh_all(pipeline: Pipeline, context: LabelContext) -> list[WrittenLabel]:
    """Refresh every source to the end, in small transactions. Raises ServiceError."""
    written: list[WrittenLabel] = []
    for source in await pipeline.read(fact_sources):
        after: tuple[int, str] | None = None
        while True:
            part = await pipeline.write(refresh, source, context, after)
            count_labels(part.labels, {task.name: task for task in context.tasks})
            written += part.labels
            after = part.after
            if after is None:
                break
    return written
