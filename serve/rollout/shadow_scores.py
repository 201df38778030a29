"""The table of shadow scores: written after an answer, read by the guard and, with labels, by evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import func, select, tuple_

from serve.rollout.assignment import unit
from serve.store.tables import Prediction, ShadowScore
from serve.store.transaction import Transaction

PAGE_ROWS = 2000


@dataclass(frozen=True, slots=True)
class NewShadowScore:
    """One task's score by the arm that did not answer. `prediction_id` is what was answered."""

    id: str
    prediction_id: str
    rollout_id: str
    task: str
    model_version: str
    bundle_sha256: str
    is_challenger: bool
    probabilities: tuple[float, ...]
    adverse_probability: float
    answered_probability: float


@dataclass(frozen=True, slots=True)
class PairRow:
    """A shadow score beside what was answered. `unit` is what the note was assigned by."""

    unit: str
    task: str
    challenger: float
    champion: float


@dataclass(frozen=True, slots=True)
class PairPage:
    """One page in the order of the record; `after` goes on."""

    rows: tuple[PairRow, ...]
    after: tuple[int, str] | None
    more: bool


def record_shadow_scores(transaction: Transaction, scores: Sequence[NewShadowScore]) -> int:
    """Record scores, once each; how many were new. Those whose prediction is gone (a patient was forgotten) are not."""
    wanted = sorted({each.prediction_id for each in scores})
    chosen = select(Prediction.id).where(Prediction.id.in_(wanted)).order_by(Prediction.id)
    if transaction.skip_locked:
        chosen = chosen.with_for_update(key_share=True)
    there = set(transaction.connection.execute(chosen).scalars())
    rows = [
        {**asdict(each), "probabilities": list(each.probabilities), "recorded_ms": transaction.now_ms}
        for each in sorted(scores, key=lambda each: each.id)
        if each.prediction_id in there
    ]
    if not rows:
        return 0
    statement = (
        transaction.insert(ShadowScore)
        .on_conflict_do_nothing(index_elements=[ShadowScore.id])
        .returning(ShadowScore.id)
    )
    return len(list(transaction.connection.execute(statement, rows).scalars()))


def read_pairs(
    transaction: Transaction, rollout_id: str, after: tuple[int, str] | None, limit: int = PAGE_ROWS
) -> PairPage:
    """One page of a rollout's pairs, after those that were read."""
    order = (ShadowScore.recorded_ms, ShadowScore.id)
    conditions = [ShadowScore.rollout_id == rollout_id]
    if after is not None:
        conditions.append(tuple_(*order) > after)
    rows = list(
        transaction.connection.execute(
            select(
                ShadowScore.id, ShadowScore.recorded_ms, ShadowScore.task, ShadowScore.is_challenger,
                ShadowScore.adverse_probability, ShadowScore.answered_probability, Prediction.source,
                Prediction.subject, Prediction.encounter, Prediction.note_key,
            )
            .join(Prediction, Prediction.id == ShadowScore.prediction_id)
            .where(*conditions)
            .order_by(*order)
            .limit(limit)
        )
    )  # fmt: skip
    pairs = []
    for row in rows:
        both = (row.adverse_probability, row.answered_probability)
        challenger, champion = both if row.is_challenger else both[::-1]
        pairs.append(
            PairRow(unit(row.source, row.subject, row.encounter, row.note_key), row.task, challenger, champion)
        )
    return PairPage(tuple(pairs), (rows[-1].recorded_ms, rows[-1].id) if rows else after, len(rows) == limit)


def count_shadow_scores(transaction: Transaction, rollout_id: str) -> dict[str, int]:
    """Shadow scores of a rollout by task."""
    rows = transaction.connection.execute(
        select(ShadowScore.task, func.count()).where(ShadowScore.rollout_id == rollout_id).group_by(ShadowScore.task)
    )
    return {row[0]: row[1] for row in rows}
