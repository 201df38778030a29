"""Scores of the watched stays by whoever is champion, block by block, and the monitors that read them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from lang1.bundle import REFERENCE
from lang1.discrimination import soft_auroc
from lang1.note_types import HISTORY_AND_PHYSICAL
from monitoring.reference import read_reference
from monitoring.replay import Alarm
from training.drill.bulk import BulkScorer, ScoredNote
from training.drill.hospital import Written
from training.drill.story import DENIAL, MonthTruth
from training.drill.watch import Watch, end_of_week_s
from training.synth.arrow import Table, epoch_seconds

BLOCK_WEEKS = 13
"""Weeks that are scored at once."""


class Champions:
    """The watched notes and everybody who scored them in turn."""

    def __init__(self, watched: Written) -> None:
        self.notes = watched.notes
        self._times_s = epoch_seconds(watched.notes["authored"])
        self._outcomes = {name: watched.outcomes[name].to_pylist() for name in watched.outcomes.column_names}
        self._scored_until = 0
        self.scorer: BulkScorer | None = None
        self.watches: list[Watch] = []
        self.scores: dict[int, ScoredNote] = {}
        """Row of the notes to its score by the champion of its time."""

    def crown(self, bundle: Path, monday: date) -> None:
        """`bundle` scores from this Monday on; the one before is judged on what it scored until then."""
        start = int(np.searchsorted(self._times_s, end_of_week_s(monday - timedelta(days=7))))
        if self.watches:
            self.watches[-1].drop_from(end_of_week_s(monday - timedelta(days=7)))
        for row in [row for row in self.scores if row >= start]:
            del self.scores[row]
        self._scored_until = start
        self.scorer = BulkScorer(bundle)
        self.watches.append(Watch(self.scorer.version, read_reference(bundle / REFERENCE), self._outcomes))

    def week(self, monday: date) -> range:
        """Rows of the notes written in the week."""
        low, high = np.searchsorted(self._times_s, [end_of_week_s(monday - timedelta(days=7)), end_of_week_s(monday)])
        return range(int(low), int(high))

    def score_until(self, monday: date, last: date) -> int:
        """Make sure that the week is scored; how many notes that took. Scores a block at once, no later than `last`."""
        assert self.scorer is not None
        if self.week(monday).stop <= self._scored_until:
            return 0
        stop = self.week(min(monday + timedelta(weeks=BLOCK_WEEKS - 1), last)).stop
        start, self._scored_until = self._scored_until, stop
        block = self.notes.slice(start, stop - start)
        found = self.scorer.score(block)
        self.scores.update(zip(range(start, stop), found, strict=True))
        self.watches[-1].add(block, found)
        return len(found)

    def judge(self, monday: date) -> list[tuple[str, Alarm]]:
        """Alarms that began by the end of the week, with the version they are about. Earlier champions are judged on:
        labels of what they scored go on maturing."""
        return [(watch.version, alarm) for watch in self.watches for alarm in watch.judge(monday)]

    def taken(self, rows: Sequence[int]) -> Table:
        """These notes, in this order."""
        return self.notes.take(list(rows))

    def truth(self, versions: Sequence[tuple[str, date]]) -> tuple[MonthTruth, ...]:
        """Denial AUROC of each month against the true probabilities. versions: who was champion from when on."""
        truth = self.notes[f"true_{DENIAL}"].to_pylist()
        types = self.notes["note_type"].to_pylist()
        by_month: dict[str, list[int]] = {}
        for row in self.scores:
            if types[row] == HISTORY_AND_PHYSICAL.loinc:
                by_month.setdefault(str(np.datetime64(int(self._times_s[row]), "s"))[:7], []).append(row)
        found = []
        for month in sorted(by_month):
            rows = by_month[month]
            true = np.array([truth[row][1] for row in rows])
            said = np.array([self.scores[row].probabilities[DENIAL][1] for row in rows])
            version = [name for name, since in versions if f"{since:%Y-%m}" <= month][-1]
            found.append(MonthTruth(month=month, model_version=version, champion=soft_auroc(said, true),
                                    best_possible=soft_auroc(true, true)))  # fmt: skip
        return tuple(found)
