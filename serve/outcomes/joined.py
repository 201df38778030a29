"""Scores joined to what came of their stays, for the monitor: a page at a time, by indexes alone.

A score is labelled as a note is in training (`lang1.label_rules.note_labels`), with the moment at which it was given as
the time of the note: what was scored after the outcome is no prediction of it. `one_note_a_stay` is not applied; the
reader takes the first score of an encounter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, or_, select, tuple_

from fhir_adapters.outcomes.elements import canonical_name, to_ms
from lang1.hospital_record import (
    EXCLUDING,
)
from lang1.tasks import Task
from serve.outcomes.context import LabelContext
from serve.outcomes.graph import chunks, encounters_named
from serve.outcomes.keys import outcome_id
from serve.outcomes.labels import Horizons, make_labels
from serve.outcomes.score_labels import OF_SCORES, labels_of_scores
from serve.outcomes.written import outcomes_by_id
from serve.store.core import Store
from serve.store.facts_tables import EncounterRow
from serve.store.tables import Audit, Prediction
from serve.store.transaction import Transaction

PAGE_ROWS = 2000
_AUDIT_ROWS = 1000


@dataclass(frozen=True, slots=True)
class LabelledPrediction:
    """A standing score of a note of its task's types. Times are milliseconds since 1970 UTC."""

    prediction_id: str
    time_ms: int
    encounter: str
    """The encounter's reference, whatever the note called it."""
    subject: str | None
    task: str
    model_version: str
    bundle_sha256: str
    note_type: str | None
    probabilities: tuple[float, ...]
    note_tokens: int
    dropped_tokens: int
    option: int | None
    """Index of what came true; None while it is open, or where the task asks nothing of this score."""
    reason: str | None
    excluded: bool
    """Without an option: the task asks nothing of it, and never will. Otherwise the label is still open."""
    known_ms: int | None
    """When the outcome was there to be read."""
    recorded_ms: int | None
    """When this service recorded the label as it is now."""
    discharged_ms: int | None
    shown_ms: int | None
    """When it was first shown in a card; None: never."""


@dataclass(frozen=True, slots=True)
class LabelledPage:
    """One page, by time of the record; `after` goes on, None at the end."""

    rows: tuple[LabelledPrediction, ...]
    after: tuple[int, str] | None


def labelled(
    store: Store, task: Task, since_ms: int, until_ms: int, context: LabelContext
) -> Iterator[LabelledPrediction]:
    """All scores of a task given in [since_ms, until_ms), joined. Raises StoreUnavailableError."""
    shown = store.read(first_shown, since_ms)
    after: tuple[int, str] | None = None
    while True:
        page = store.read(labelled_predictions, task, since_ms, until_ms, context, shown, after)
        yield from page.rows
        after = page.after
        if after is None:
            return


def first_shown(transaction: Transaction, since_ms: int) -> dict[str, int]:
    """Prediction id to when it was first shown, of all that was shown since."""
    shown: dict[str, int] = {}
    rows = transaction.connection.execution_options(yield_per=_AUDIT_ROWS).execute(
        select(Audit.recorded_ms, Audit.prediction_ids)
        .where(Audit.action == "show", Audit.recorded_ms >= since_ms)
        .order_by(Audit.recorded_ms)
    )
    for recorded_ms, ids in rows:
        for each in ids:
            shown.setdefault(each, recorded_ms)
    return shown


def labelled_predictions(
    transaction: Transaction,
    task: Task,
    since_ms: int,
    until_ms: int,
    context: LabelContext,
    shown: Mapping[str, int],
    after: tuple[int, str] | None = None,
    limit: int = PAGE_ROWS,
) -> LabelledPage:
    """One page of `labelled`."""
    updated = Prediction.last_updated_ms
    conditions = [
        Prediction.task == task.name,
        # What changed later (a patient was merged) was scored before.
        or_(and_(updated >= since_ms, updated < until_ms), and_(updated >= until_ms, Prediction.revision > 1)),
        Prediction.encounter.is_not(None),
        Prediction.superseded.is_(False),
        Prediction.retracted.is_(False),
    ]
    if after is not None:
        conditions.append(tuple_(updated, Prediction.id) > after)
    rows = list(
        transaction.connection.execute(
            select(Prediction.__table__).where(*conditions).order_by(updated, Prediction.id).limit(limit)
        )
    )
    scored = [(row, _scored_ms(row)) for row in rows if row.payload.get("note_type_match")]
    inside = [(row, at) for row, at in scored if since_ms <= at < until_ms]
    last = rows[-1] if len(rows) == limit else None
    return LabelledPage(
        tuple(_join(transaction, task, inside, context, shown)),
        None if last is None else (last.last_updated_ms, last.id),
    )


def _scored_ms(row: Row[Any]) -> int:
    stated = row.payload.get("occurrence")
    return row.last_updated_ms if stated is None else to_ms(datetime.fromisoformat(stated))


def _join(
    transaction: Transaction,
    task: Task,
    scored: Sequence[tuple[Row[Any], int]],
    context: LabelContext,
    shown: Mapping[str, int],
) -> Iterable[LabelledPrediction]:
    if not scored:
        return []
    named = [
        (context.record_of(row.source), canonical_name(row.encounter, context.base_url) or row.encounter)
        for row, _ in scored
    ]
    stays = _stays(transaction, named)
    # A given label of an encounter that is not known is found by the name that it was given.
    keys = [
        outcome_id(source, stays[source, name].reference if (source, name) in stays else name, task.name)
        for source, name in named
    ]
    outcomes = outcomes_by_id(transaction, keys)
    bare = make_labels([], [], [], Horizons(None, None), context)
    bare_reason = next((each.bare for each in bare if each.task.name == task.name), None)
    found = [outcomes.get(key) for key in keys]
    labels = labels_of_scores(task, scored, [stays.get(each) for each in named], found, bare_reason, context)
    joined = []
    for (row, at), (option, reason), outcome, name in zip(scored, labels, found, named, strict=True):
        stay, payload = stays.get(name), row.payload
        joined.append(
            LabelledPrediction(
                prediction_id=row.id,
                time_ms=at,
                encounter=name[1] if stay is None else stay.reference,
                subject=row.subject,
                task=task.name,
                model_version=row.model_version,
                bundle_sha256=row.bundle_sha256,
                note_type=payload.get("note_type"),
                probabilities=tuple(payload["probabilities"]),
                note_tokens=payload.get("note_tokens", 0),
                dropped_tokens=payload.get("dropped_tokens", 0),
                option=option,
                reason=None if reason is None else reason.code,
                excluded=reason in EXCLUDING or reason in OF_SCORES,
                known_ms=None if outcome is None else outcome["known_ms"],
                recorded_ms=None if outcome is None else outcome["recorded_ms"],
                discharged_ms=None if stay is None else stay.ended_ms,
                shown_ms=shown.get(row.id),
            )
        )
    return joined


def _stays(transaction: Transaction, named: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row[Any]]:
    """(source, name) to the encounter's row, of those that are known."""
    names: dict[str, set[str]] = defaultdict(set)
    for source, name in named:
        names[source].add(name)
    found: dict[tuple[str, str], Row[Any]] = {}
    for source, own in names.items():
        owner = encounters_named(transaction, source, own)
        rows: dict[str, Row[Any]] = {}
        for part in chunks(sorted(set(owner.values()))):
            selected = transaction.connection.execute(select(EncounterRow.__table__).where(EncounterRow.id.in_(part)))
            rows.update((row.id, row) for row in selected)
        found.update(((source, name), rows[own_id]) for name, own_id in owner.items() if own_id in rows)
    return found
