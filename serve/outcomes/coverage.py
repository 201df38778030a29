"""How many stays have a label, by task: what monitoring and retraining can count on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from lang1.hospital_record import EXCLUDING
from lang1.tasks import Task
from serve.outcomes.context import LabelContext
from serve.outcomes.refresh import fact_sources
from serve.outcomes.relabel import horizons
from serve.outcomes.written import GIVEN
from serve.store.tables import Outcome
from serve.store.transaction import Transaction

_EXCLUDING = frozenset(reason.code for reason in EXCLUDING)


@dataclass(slots=True)
class TaskCoverage:
    """Counts of stays: by option index, left out for good by reason, open by reason, and given by the hospital."""

    labelled: dict[int, int] = field(default_factory=dict)
    excluded: dict[str, int] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)
    given: int = 0
    changed: int = 0
    """Whose option was replaced or taken back at least once."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """By task, and by source how far the feed of encounters is taken to be complete (milliseconds since 1970 UTC)."""

    tasks: Mapping[str, TaskCoverage]
    complete_until_ms: Mapping[str, int | None]


def coverage(
    transaction: Transaction, context: LabelContext, since_ms: int | None = None, until_ms: int | None = None
) -> Coverage:
    """Counts of all outcomes, or of those of stays that ended in [since_ms, until_ms)."""
    conditions: list[Any] = []
    if since_ms is not None:
        conditions.append(Outcome.discharged_ms >= since_ms)
    if until_ms is not None:
        conditions.append(Outcome.discharged_ms < until_ms)
    counts = transaction.connection.execute(
        select(
            Outcome.task, Outcome.option, Outcome.reason, Outcome.origin, Outcome.changes > 0, func.count().label("n")
        )
        .where(*conditions)
        .group_by(Outcome.task, Outcome.option, Outcome.reason, Outcome.origin, Outcome.changes > 0)
    )
    found = {task.name: TaskCoverage() for task in context.tasks}
    for task, option, reason, origin, changed, n in counts:
        own = found.setdefault(task, TaskCoverage())
        if option is not None:
            own.labelled[option] = own.labelled.get(option, 0) + n
        else:
            group = own.excluded if reason in _EXCLUDING else own.open
            group[str(reason)] = group.get(str(reason), 0) + n
        own.given += n if origin == GIVEN else 0
        own.changed += n if changed else 0
    complete = {source: horizons(transaction, source, context).encounters_ms for source in fact_sources(transaction)}
    return Coverage(found, complete)


def coverage_json(found: Coverage, tasks: Mapping[str, Task]) -> dict[str, Any]:
    """The counts by option code, for an answer."""

    def by_code(name: str, counts: Mapping[int, int]) -> dict[str, int]:
        options = tasks[name].options
        return {each.code: counts.get(index, 0) for index, each in enumerate(options)}

    return {
        "tasks": [
            {
                "task": name,
                "labelled": by_code(name, own.labelled),
                "excluded": own.excluded,
                "open": own.open,
                "given": own.given,
                "changed": own.changed,
            }
            for name, own in found.tasks.items()
            if name in tasks
        ],
        "complete_until_ms": dict(found.complete_until_ms),
    }
