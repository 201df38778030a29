"""The monitors of the drill: the same code as the service's, on the drill's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from lang1.tasks import BUILT_IN
from monitoring.history import OUTCOME_COLUMNS, PREDICTION_COLUMNS, History, join_history
from monitoring.reference import ReferenceProfile
from monitoring.replay import Alarm, MonitorState, advance, begin
from monitoring.tables import Table as MonitorTable
from training.drill.bulk import ScoredNote
from training.synth.arrow import Table

Columns = dict[str, list[Any]]


def end_of_week_s(monday: date) -> float:
    """Seconds since 1970 of the next Monday, 00:00 UTC."""
    return datetime.combine(monday + timedelta(days=7), time(0), tzinfo=UTC).timestamp()


class Watch:
    """The monitors of one model. Scores are added as they are made, outcomes are known from the start: what a monitor
    may see is decided by when each became known."""

    def __init__(self, version: str, profile: ReferenceProfile, outcomes: Mapping[str, Sequence[Any]]) -> None:
        self.version = version
        self._profile = profile.model_copy(update={"model_version": version})
        self._scores: Columns = {name: [] for name in PREDICTION_COLUMNS}
        self._outcomes = MonitorTable("outcomes", outcomes, OUTCOME_COLUMNS)
        self.history: History | None = None
        self.state: MonitorState | None = None

    def add(self, notes: Table, scores: Sequence[ScoredNote]) -> None:
        """Scored notes: columns authored, encounter_id, patient_id, note_type."""
        rows = notes.select(["authored", "encounter_id", "patient_id", "note_type"]).to_pylist()
        for row, scored in zip(rows, scores, strict=True):
            for task, probabilities in scored.probabilities.items():
                values = (
                    row["authored"], row["encounter_id"], row["patient_id"], task, row["note_type"], self.version,
                    list(probabilities), scored.note_tokens, scored.truncated, False,
                )  # fmt: skip
                for name, value in zip(PREDICTION_COLUMNS, values, strict=True):
                    self._scores[name].append(value)
        self._join()

    def _join(self) -> None:
        self.history = join_history(MonitorTable("scores", self._scores, PREDICTION_COLUMNS), self._outcomes, BUILT_IN)

    def drop_from(self, time_s: float) -> None:
        """Forget scores of notes written at this time or later: somebody else scored them."""
        kept = [i for i, at in enumerate(self._scores["time"]) if at.timestamp() < time_s]
        self._scores = {name: [values[i] for i in kept] for name, values in self._scores.items()}
        self._join()

    def judge(self, monday: date) -> tuple[Alarm, ...]:
        """Everything that fell due by the end of the week; the alarms that began."""
        if self.history is None:
            return ()
        before = self.state or begin(self.history, self._profile)
        until_s = end_of_week_s(monday)
        if until_s <= before.clock_s:
            return ()
        self.state = advance(before, self.history, self._profile, until_s)
        return self.state.alarms[len(before.alarms) :]
