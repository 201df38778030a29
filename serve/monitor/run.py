"""One run of the monitor: read what is recorded, judge what fell due since the last run, remember it.

It may be stopped anywhere: a state is saved whole, and the same history gives the same state, however often it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from lang1.tasks import TaskRegistry
from monitoring.cohorts import DAY_S, WEEK_S, week_start_s
from monitoring.errors import MonitorInputError
from monitoring.history import History
from monitoring.reference import ReferenceProfile
from monitoring.replay import MonitorState, advance, begin, reference_of_first_weeks
from serve.monitor.recorded import recorded_history
from serve.monitor.state import read_state
from serve.outcomes.context import LabelContext
from serve.outcomes.joined import labelled
from serve.store.core import Store


@dataclass(frozen=True, slots=True)
class Judged:
    """What a run found; both None where there is nothing to judge yet."""

    state: MonitorState | None = None
    history: History | None = None


def judge(
    store: Store,
    registry: TaskRegistry,
    bundle_sha256: str,
    profile: ReferenceProfile | None,
    context: LabelContext,
    *,
    now_s: float,
    history_days: int,
    reference_weeks: int,
    beat: Callable[[], None] = lambda: None,
) -> Judged:
    """The state of a bundle's monitors at `now_s`. Blocking; the caller saves it.

    Without a profile the first `reference_weeks` of the bundle's own scores are the reference, once they are over.
    Raises StoreUnavailableError, and MonitorInputError for a profile of another version.
    """
    since_ms, until_ms = round((now_s - history_days * DAY_S) * 1000), round(now_s * 1000)
    rows = chain.from_iterable(labelled(store, task, since_ms, until_ms, context) for task in registry.values())
    history = recorded_history(rows, registry, bundle_sha256)
    if history is None:
        return Judged()
    beat()
    saved = store.read(read_state, bundle_sha256)
    state = None if saved is None else MonitorState.model_validate(saved)
    until_s = None if state is None else state.reference_until_s
    if profile is None:
        found = _own_reference(history, reference_weeks, now_s)
        if found is None:
            return Judged(history=history)
        profile, until_s = found
    if state is None:
        state = begin(history, profile, reference_until_s=until_s)
    while state.clock_s < now_s:
        state = advance(state, history, profile, min(now_s, week_start_s(state.clock_s) + WEEK_S))
        beat()
    return Judged(state, history)


def _own_reference(history: History, weeks: int, now_s: float) -> tuple[ReferenceProfile, float] | None:
    if week_start_s(history.start_s) + weeks * WEEK_S > now_s:
        return None
    try:
        return reference_of_first_weeks(history, weeks)
    except MonitorInputError:
        return None  # too few notes in them
