"""The rollout in the drill: some of the watched notes through the service every week, and the challenger's stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import httpx
import numpy as np

from lang1.registry import Registry
from training.drill.bulk import BulkScorer, Probabilities, largest_difference
from training.drill.champions import Champions
from training.drill.live import LiveAnswer, LiveService, positive_probabilities
from training.drill.plan import DrillPlan
from training.drill.story import Event, LiveStage


@dataclass
class _Tally:
    notes: int = 0
    failed: int = 0
    by_challenger: int = 0
    difference: float = 0.0


class Rollout:
    """Posts the live sample, and moves the challenger a stage every `stage_weeks`, by the service's API."""

    def __init__(self, registry: Registry, service: LiveService, champions: Champions, plan: DrillPlan) -> None:
        self._registry, self._service, self._champions, self._plan = registry, service, champions, plan
        self._tallies: dict[str, _Tally] = {}
        self._challenger: str | None = None
        self._scorer: BulkScorer | None = None
        self._next: date | None = None
        self._stage = "before the rollout"

    @property
    def under_way(self) -> bool:
        return self._challenger is not None

    def stages(self) -> list[LiveStage]:
        """What went through the service, stage by stage."""
        return [
            LiveStage(
                stage=name,
                notes=tally.notes,
                failed=tally.failed,
                by_challenger=tally.by_challenger,
                largest_difference=tally.difference,
            )
            for name, tally in self._tallies.items()
        ]

    def post_sample(self, monday: date) -> None:
        """This week's sample to the service; each answer is compared with the bulk score by the bundle that gave it."""
        share = self._plan.rollout_share if self.under_way else self._plan.live_share
        rng = np.random.default_rng([self._plan.seed, monday.toordinal()])
        rows = [row for row in self._champions.week(monday) if rng.random() < share]
        if not rows:
            return
        answers = self._service.post(self._champions.taken(rows))
        tally = self._tallies.setdefault(self._stage, _Tally())
        tally.notes += len(rows)
        tally.failed += sum(each.status != httpx.codes.OK for each in answers)
        answered = [i for i, each in enumerate(answers) if each.probabilities is not None]
        own = [i for i in answered if answers[i].bundle_sha256 != self._challenger]
        other = [i for i in answered if answers[i].bundle_sha256 == self._challenger]
        tally.by_challenger += len(other)
        self._compare(tally, [self._champions.scores[rows[i]].probabilities for i in own], answers, own)
        if other and self._scorer is not None:
            found = self._scorer.score(self._champions.taken([rows[i] for i in other]))
            self._compare(tally, [each.probabilities for each in found], answers, other)

    @staticmethod
    def _compare(
        tally: _Tally, bulk: Sequence[Probabilities], answers: Sequence[LiveAnswer], places: Sequence[int]
    ) -> None:
        said = [answers[i].probabilities or {} for i in places]
        tally.difference = max(tally.difference, largest_difference(said, positive_probabilities(bulk)))

    def begin(self, challenger: str, day: date) -> None:
        """The registry has the challenger in shadow; wait until the service has loaded it."""
        self._challenger, self._stage = challenger, "shadow"
        self._scorer = BulkScorer(self._registry.path(challenger))
        self._next = day + timedelta(weeks=self._plan.stage_weeks)
        self._service.await_loaded("challenger", challenger)

    def move(self, day: date) -> list[Event]:
        """The moves that fall due by this day, made by the service's API. An event marked `promoted` is the last."""
        if self._challenger is None or self._next is None or self._next > day:
            return []
        self._next = day + timedelta(weeks=self._plan.stage_weeks)
        channels = self._service.rollout()["channels"]
        if channels["challenger"] != self._challenger:
            self._end()
            return [Event(day=day, kind="rollout", text="the guard sent the challenger back", mark="rolled back")]
        if channels["stage"] == "shadow":
            self._service.move("approve", "the gate's report was read", self._challenger)
            share = self._service.move("canary", "shadow was quiet")["channels"]["share"]
            self._stage = f"canary {share}%"
            return [
                Event(day=day, kind="rollout", text="approved by a person (the drill plays them)"),
                Event(day=day, kind="rollout", text=f"canary at {share}% of encounters", mark="canary"),
            ]
        if channels["share"] < 100:
            share = self._service.move("advance", "the canary was quiet")["channels"]["share"]
            self._stage = f"canary {share}%"
            return [Event(day=day, kind="rollout", text=f"canary at {share}% of encounters")]
        promoted = self._challenger
        self._service.move("promote", "the whole canary was quiet")
        self._service.await_loaded("champion", promoted)
        self._end()
        return [Event(day=day, kind="rollout", text="promoted: the challenger is champion", mark="promoted")]

    def _end(self) -> None:
        self._challenger, self._scorer, self._next, self._stage = None, None, None, "after the rollout"
