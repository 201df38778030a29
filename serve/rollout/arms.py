"""A rollout as a pipeline sees it: which notes are the challenger's, its answers, and what is counted of both arms."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from lang1.registry import Channels
from lang1.scores import ModelIdentity, RiskScores
from serve.logs import get_logger
from serve.note_job import AnsweredNote, NoteJob
from serve.outcome import Outcome
from serve.rollout.assignment import is_challengers, unit_of
from serve.rollout.client import ABSENT, ChallengerClient, covers, other_model
from serve.rollout.following import Following
from serve.rollout.settings import RolloutSettings
from serve.rollout.tally import Tally
from serve.scorer import ModelDescription, NoteToScore

REPORT_EVERY_S = 1.0
_LEFT_TO_THE_CHAMPION = 0.5

Report = Callable[[Tally], Awaitable[None]]
Summary = Callable[[], Awaitable[dict[str, Any]]]


class Arms:
    """Of one pipeline. `keep_up` runs beside it; between two looks all stays as it was."""

    def __init__(
        self,
        settings: RolloutSettings,
        following: Following,
        challenger: ChallengerClient,
        report: Report,
        summary: Summary,
    ) -> None:
        """`report` hands counts to the guard, `summary` asks it where the rollout stands."""
        self.settings = settings
        self.following = following
        self.challenger = challenger
        self.summary = summary
        self._report = report
        self._loaded: ModelDescription | None = None
        self._tally: Tally | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep up, in the running event loop."""
        self._task = asyncio.create_task(self._keep_up())

    @property
    def channels(self) -> Channels | None:
        """The channels as last seen."""
        return self.following.now

    @property
    def challenger_model(self) -> ModelIdentity | None:
        """The challenger that is loaded and is the channel's; None while there is no such."""
        channels, loaded = self.following.now, self._loaded
        if channels is None or loaded is None or loaded.identity.bundle_sha256 != channels.challenger:
            return None
        return loaded.identity

    async def _keep_up(self) -> None:
        reported = 0.0
        while True:
            try:
                await self.look()
                if time.monotonic() - reported >= REPORT_EVERY_S:
                    reported = time.monotonic()
                    await self._tell()
            except Exception as error:
                get_logger().error("keeping up with the rollout failed: %s", type(error).__name__)
            await asyncio.sleep(min(self.settings.rollout_follow_s, REPORT_EVERY_S))

    async def look(self) -> None:
        """See the channels and what the challenger has loaded."""
        channels = await self.following.look()
        if channels is None or channels.rollout_id is None:
            self._loaded = self._tally = None
            return
        if self._tally is None or self._tally.rollout_id != channels.rollout_id:
            self._tally = Tally(channels.rollout_id)
        state = await self.challenger.state()
        if state is not None:
            self._loaded = state.loaded

    async def _tell(self) -> None:
        """Hand the counts to the guard; they are kept where it does not take them."""
        tally = self._tally
        if tally is None or tally.is_empty:
            return
        self._tally = Tally(tally.rollout_id)
        try:
            await self._report(tally)
        except Exception as error:
            get_logger().warning("the guard cannot be told: %s", type(error).__name__)
            if self._tally is not None and self._tally.rollout_id == tally.rollout_id:
                self._tally.add(tally)

    @property
    def in_canary(self) -> bool:
        return self.following.now is not None and self.following.now.stage == "canary"

    def is_challengers(self, job: NoteJob, source: str) -> bool:
        """Whether the challenger is to answer this note."""
        return self.following.now is not None and is_challengers(self.following.now, unit_of(job, source))

    def refusal(self, job: NoteJob) -> str | None:
        """Why the challenger cannot even be asked, as a code."""
        if self.challenger_model is None or self._loaded is None:
            return "not-loaded"
        return None if covers(self._loaded, job.tasks) else "tasks"

    def scorer(self, model: ModelIdentity) -> CanaryScorer:
        """The challenger for one call: its answers, by this model alone."""
        return CanaryScorer(self, model, self.settings)

    def count_tries(self, codes: Sequence[str | None], *, in_canary: bool, seconds: float | None = None) -> None:
        """One call to the challenger: its outcomes, and how long a canary took."""
        tally = self._tally
        if tally is None:
            return
        tally.count_tries(codes, ABSENT if in_canary else ABSENT - {"not-loaded"})
        if seconds is not None:
            tally.timed += len(codes)
            tally.slow += len(codes) if seconds > self.settings.guard_slow_s else 0

    def count_champion(self, notes: int, seconds: float) -> None:
        """One call to the champion during a canary."""
        if self._tally is not None:
            self._tally.champion_timed += notes
            self._tally.champion_slow += notes if seconds > self.settings.guard_slow_s else 0

    def count_answers(self, notes: Sequence[Outcome[AnsweredNote]]) -> None:
        """What a canary answered, by either model."""
        model = self.challenger_model
        for each in notes:
            answered = None if each.problem is not None else each.unwrap().model
            if answered is None:
                continue
            if self._tally is not None and model is not None and answered.bundle_sha256 == model.bundle_sha256:
                self._tally.canary += 1
            _count_canary(answered.version)

    def count_fallback(self, code: str) -> None:
        """A note that the champion answers in the challenger's place."""
        if self._tally is not None:
            self._tally.fallbacks[code] += 1
            if code == "not-loaded":
                self._tally.away += 1
        _count_fallback(code)

    def count_shadow(self, code: str, notes: int = 1) -> None:
        """Notes for the arm that did not answer."""
        if self._tally is not None:
            self._tally.shadow[code] += notes
        _count_shadow(code, notes)


class CanaryScorer:
    """Stands in the place of the champion's client for the challenger's notes."""

    def __init__(self, arms: Arms, model: ModelIdentity, settings: RolloutSettings) -> None:
        self._arms = arms
        self._model = model
        self._settings = settings

    @property
    def replicas(self) -> int:
        return self._arms.challenger.replicas

    async def score(self, notes: Sequence[NoteToScore], deadline_s: float) -> list[Outcome[RiskScores]]:
        """Risks in order; a problem where the champion must answer."""
        began = time.monotonic()
        outcomes = [
            Outcome(problem=other_model())
            if each.problem is None and each.unwrap().model.bundle_sha256 != self._model.bundle_sha256
            else each
            for each in await self._arms.challenger.score(notes, self._limit(deadline_s))
        ]
        codes = [None if each.problem is None else each.problem.code for each in outcomes]
        self._arms.count_tries(codes, in_canary=True, seconds=time.monotonic() - began)
        return outcomes

    async def explain(self, note: NoteToScore, deadline_s: float) -> Any:
        """As the scorer's."""
        return await self._arms.challenger.explain(note, self._limit(deadline_s))

    def _limit(self, deadline_s: float) -> float:
        return min(self._settings.challenger_timeout_s, deadline_s * _LEFT_TO_THE_CHAMPION)


def _count_canary(version: str) -> None:
    from monitoring import metrics

    metrics.canary_notes_total.labels(version).inc()


def _count_fallback(code: str) -> None:
    from monitoring import metrics

    metrics.canary_fallbacks_total.labels(code).inc()


def _count_shadow(code: str, notes: int) -> None:
    from monitoring import metrics

    metrics.shadow_notes_total.labels(code).inc(notes)
