"""A pipeline with both arms over a real store, without Ray: scorers that answer at once, and fail when told to."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from lang1.notes import ClinicalNote
from lang1.registry import Registry, rollout
from lang1.scores import ModelIdentity, RiskLevel, RiskScore, RiskScores
from lang1.tasks import BUILT_IN, Task
from serve.errors import Problem, unusable_result
from serve.note_job import NoteJob, RequestContext
from serve.outcome import Outcome
from serve.pipeline import Pipeline
from serve.rollout.arms import Arms
from serve.rollout.client import ChallengerClient, ChallengerState
from serve.rollout.following import Following
from serve.rollout.settings import RolloutSettings
from serve.rollout.tally import Tally
from serve.scorer import ModelDescription, NoteToScore
from serve.store.core import Store
from serve.store.records import note_key, text_sha256
from tests.lang1.registry.plain_bundle import make_plain_bundle
from tests.serve.intake.parts import DirectStore

WHO: dict[str, Any] = {"actor": "ana", "reason": "for the test"}
TASKS: tuple[Task, ...] = tuple(BUILT_IN.values())[:2]
SOURCE = "ehr"


class InstantScorer:
    """Scores that only the text and `shift` (logits) decide; `problem` answers in their place."""

    replicas = 1

    def __init__(self, identity: ModelIdentity, shift: float = 0.0) -> None:
        self.identity = identity
        self.shift = shift
        self.tasks = TASKS
        self.problem: Problem | None = None
        self.scored: list[str] = []

    def description(self) -> ModelDescription:
        return ModelDescription(self.identity, self.tasks, "", {}, 512, "", "")

    async def describe(self, known: str | None = None, timeout_s: float = 5) -> ModelDescription | None:
        return None if known == self.identity.bundle_sha256 else self.description()

    async def score(self, notes: Sequence[NoteToScore], deadline_s: float) -> list[Outcome[RiskScores]]:
        await asyncio.sleep(0)
        if self.problem is not None:
            return [Outcome(problem=self.problem)] * len(notes)
        self.scored += [each.note.text for each in notes]
        return [Outcome(self._scores(each)) for each in notes]

    async def explain(self, note: NoteToScore, deadline_s: float) -> Outcome[Any]:
        return Outcome(problem=unusable_result())

    def _scores(self, note: NoteToScore) -> RiskScores:
        draw = int.from_bytes(hashlib.sha256(note.note.text.encode()).digest()[:4], "big") / 2**32
        p = 1 / (1 + math.exp(-(4 * draw - 2 + self.shift)))
        risks = []
        for name in note.tasks or ():
            task = BUILT_IN[name]
            adverse = task.adverse_options
            own = [
                p / len(adverse) if option in adverse else (1 - p) / (len(task.options) - len(adverse))
                for option in range(len(task.options))
            ]
            risks.append(RiskScore(name, tuple(own), p, RiskLevel.LOW, True))
        return RiskScores(tuple(risks), self.identity, 10, 0)


class InstantChallenger(ChallengerClient):
    """A challenger's client whose calls go to a scorer in this process; `raises` is what Ray would raise."""

    def __init__(self, scorer: InstantScorer) -> None:
        super().__init__(self, 1)
        self.scorer = scorer
        self.loaded = True
        self.refused: str | None = None
        self.raises: Exception | None = None
        self.calls = 0
        self.remote = self._remote

    # `handle.score.remote(...)` of Ray
    def __getattribute__(self, name: str) -> Any:
        if name == "_handle":
            return _Handle(self)
        return super().__getattribute__(name)

    async def state(self) -> ChallengerState | None:
        if self.refused is not None:
            return ChallengerState(None, self.refused, self.scorer.identity.bundle_sha256)
        return ChallengerState(self.scorer.description() if self.loaded else None)

    def _remote(self, *args: Any) -> Any:
        raise AssertionError("not called")


class _Handle:
    def __init__(self, challenger: InstantChallenger) -> None:
        self.score = _Method(challenger, challenger.scorer.score)
        self.explain = _Method(challenger, challenger.scorer.explain)


class _Method:
    def __init__(self, challenger: InstantChallenger, work: Any) -> None:
        self._challenger = challenger
        self._work = work

    def remote(self, *args: Any) -> _Response:
        return _Response(self._challenger, self._work(*args))


class _Response:
    def __init__(self, challenger: InstantChallenger, work: Coroutine[Any, Any, Any]) -> None:
        self._challenger = challenger
        self._work = work

    def __await__(self) -> Any:
        return self._run().__await__()

    async def _run(self) -> Any:
        self._challenger.calls += 1
        if self._challenger.raises is not None:
            self._work.close()
            raise self._challenger.raises
        return await self._work

    def cancel(self) -> None:
        self._work.close()


class Rig:
    """A registry with champion and challenger, and a pipeline that serves from it."""

    def __init__(self, folder: Path, store: Store, **settings: Any) -> None:
        self.store = store
        self.registry = Registry.create(folder / "registry")
        one, two = (
            self.registry.add(make_plain_bundle(folder / version, version), **WHO) for version in ("1.0.0", "1.1.0")
        )
        self.registry.set_champion(one, **WHO)
        self.champion = InstantScorer(ModelIdentity("plain", "1.0.0", one, demo=True))
        self.scorer = InstantScorer(ModelIdentity("plain", "1.1.0", two, demo=True), shift=0.1)
        self.challenger = InstantChallenger(self.scorer)
        self.settings = RolloutSettings(registry=self.registry.folder, **settings)
        self.told: list[Tally] = []
        self.following = Following(self.registry.folder, 0.1)
        self.pipeline = self.make_pipeline()

    def make_pipeline(self) -> Pipeline:
        """Another replica over the same store and registry."""

        async def report(tally: Tally) -> None:
            self.told.append(tally)

        async def summary() -> dict[str, Any]:
            return {}

        self.arms = Arms(self.settings, Following(self.registry.folder, 0.1), self.challenger, report, summary)
        return Pipeline(self.champion, DirectStore(self.store), self.store, self.arms)  # type: ignore[arg-type]

    async def shadow(self) -> None:
        """Begin a rollout, and let the pipeline see it."""
        rollout.start_shadow(self.registry, self.scorer.identity.bundle_sha256, **WHO, force=True)
        await self.arms.look()

    async def canary(self, share: int = 100) -> None:
        """Go to a share."""
        if not self.registry.channels().in_rollout:
            await self.shadow()
        if self.registry.channels().stage == "shadow":
            rollout.approve(self.registry, self.scorer.identity.bundle_sha256, **WHO)
            rollout.start_canary(self.registry, **WHO)
        while self.registry.channels().share < share:
            rollout.advance(self.registry, **WHO)
        await self.arms.look()

    async def roll_back(self) -> None:
        rollout.rollback(self.registry, **WHO)
        await self.arms.look()

    async def score(self, *jobs: NoteJob, seconds: float = 5) -> list[str]:
        """Versions of the models that answered. Raises ServiceError for a note that failed."""
        answers = await self.pipeline.score(jobs, context(seconds))
        await self.drained()
        for each in answers.notes:
            answer = each.unwrap()
            assert {p.model_version for p in answer.predictions} == {answer.model.version}
            assert {p.bundle_sha256 for p in answer.predictions} == {answer.model.bundle_sha256}
        return [each.unwrap().model.version for each in answers.notes]

    async def drained(self) -> None:
        assert self.pipeline._shadow is not None
        await self.pipeline._shadow.drained()


def context(seconds: float = 5) -> RequestContext:
    import time

    return RequestContext(SOURCE, "r", time.monotonic() + seconds)


def job(
    number: int, *, encounter: str | None = None, subject: str | None = "Patient/p1", explain: bool = False
) -> NoteJob:
    """A note; of the encounter where one is named."""
    text = f"note {number} of the patient"
    return NoteJob(
        note=ClinicalNote("", text, "34117-2"),
        note_key=note_key(SOURCE, f"d{number}", text_sha256(text)),
        text_sha256=text_sha256(text),
        tasks=TASKS,
        payload=lambda _id, risk, scores: {"probabilities": list(risk.probabilities), "note_type_match": True},
        recorded_subject=subject if encounter is not None else None,
        recorded_encounter=encounter,
        explain=explain,
    )


def with_tasks(scorer: InstantScorer, version: int) -> None:
    """Let a scorer have been trained on another version of its tasks."""
    scorer.tasks = tuple(task.model_copy(update={"version": version}) for task in TASKS)
