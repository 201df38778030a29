"""The scorer deployment: one loaded bundle, a token-batched queue, forward passes in a thread."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lang1.bundle import REFERENCE
from lang1.errors import Lang1Error, ScoringError
from lang1.notes import ClinicalNote
from lang1.scores import ModelIdentity, RiskScores
from lang1.tasks import Task
from serve.errors import Problem, SettingsError, out_of_memory, unusable_result
from serve.explaining import Explainer, Explanation
from serve.logs import get_logger
from serve.metrics_folder import use_metrics_folder
from serve.outcome import Outcome
from serve.rollout.following import ChampionFollower, Following
from serve.scorer_loading import load_scorer
from serve.scorer_metrics import count_batch, count_depth, publish_model
from serve.token_batcher import OutOfMemoryError, PassError, TokenBatcher

# A longer text is tokenised in a thread: it would hold up the event loop for tens of milliseconds.
_LONG_TEXT_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class ScorerSettings:
    """What a scorer replica needs to know besides its bundle, which is its `user_config`; units in the names."""

    tasks_file: str | None
    device: str
    dtype: str
    num_threads: int
    max_batch_tokens: int
    max_queued_notes: int
    publishes: bool = True
    """Whether its model and its queue are the service's, as the metrics tell of them; a challenger's are not."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a replica has loaded, for `/v1/model`, metadata and idempotency keys."""

    identity: ModelIdentity
    tasks: tuple[Task, ...]
    card: str
    thresholds: dict[str, dict[str, float]]
    max_note_tokens: int
    base: str
    created: str


@dataclass(frozen=True, slots=True)
class NoteToScore:
    """One note and its tasks by name (None means all)."""

    note: ClinicalNote
    tasks: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A prompt and the scorer that made it: a bundle that is swapped in later has other token ids."""

    scorer: Any
    prompt: Any

    @property
    def total_tokens(self) -> int:
        return int(self.prompt.total_tokens)


class ScorerReplica:
    """Ray Serve deployment. Methods return Outcomes; nothing with content is ever raised.

    Ray calls `reconfigure` before the first request, so the bundle is loaded there: a replica that restarts after a
    swap needs the new bundle alone.
    """

    def __init__(self, settings: ScorerSettings) -> None:
        # Heavy imports stay here: the ingress and the driver import this module's types without torch.
        import torch

        use_metrics_folder()
        torch.set_num_threads(settings.num_threads)
        self._settings = settings
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forward")
        self._out_of_memory_error: type[BaseException] = torch.OutOfMemoryError
        self._scorer: Any = None
        self._follower: asyncio.Task[None] | None = None
        self._batcher: TokenBatcher[_Prepared, RiskScores] = TokenBatcher(
            self._forward,
            max_batch_tokens=settings.max_batch_tokens,
            max_queued=settings.max_queued_notes,
            out_of_memory=out_of_memory(),
            on_batch=count_batch,
            on_depth=count_depth if settings.publishes else lambda notes: None,
        )
        self._explainer: Explainer[_Prepared] = Explainer(
            self._batcher, _prepare, max_queued=settings.max_queued_notes, max_batch_tokens=settings.max_batch_tokens
        )

    async def reconfigure(self, user_config: dict[str, Any] | None) -> None:
        """Load the bundle at `user_config["bundle"]`, or the champion of the registry at `user_config["registry"]`, in
        place and under load; a registry is followed from then on.

        A bad bundle is refused and the loaded one stays. Raises BundleError or DeviceError for a bad first bundle,
        RegistryError and SettingsError where there is none.
        """
        config = user_config or {}
        if self._follower is not None:
            self._follower.cancel()
            self._follower = None
        if folder := config.get("registry"):
            follower = ChampionFollower(Following(Path(folder), float(config["follow_s"])), self)
            await follower.begin()
            self._follower = asyncio.create_task(follower.keep_following())
        elif wanted := config.get("bundle"):
            if self._scorer is None or Path(wanted) != self._scorer.bundle.folder:
                await self.swap(Path(wanted))
        elif self._scorer is None:
            raise SettingsError("the scorer's user_config names no bundle; give it one")

    @property
    def loaded_sha256(self) -> str | None:
        """Hash of the loaded bundle."""
        return None if self._scorer is None else str(self._scorer.identity.bundle_sha256)

    async def swap(self, bundle: Path, sha256: str | None = None) -> bool:
        """Load a bundle in the place of the loaded one; False for a bad one, which is refused. Raises for a bad first
        one.
        """
        old = self._scorer
        try:
            self._scorer = await asyncio.to_thread(load_scorer, bundle, self._settings, sha256)
        except Exception as error:
            if old is None:
                raise
            # Our own errors say what is wrong with the bundle; of others the class must do.
            reason = str(error) if isinstance(error, Lang1Error) else type(error).__name__
            get_logger().error("reconfigure refused, the loaded bundle stays: %s", reason)
            return False
        if self._settings.publishes:
            old_version = None if old is None else old.identity.version
            publish_model(self._scorer.identity.version, old_version, self._settings.max_queued_notes)
        return True

    async def describe(self, known_sha256: str | None = None) -> ModelDescription | None:
        """What is loaded now; None when that is the bundle with this hash."""
        scorer = self._scorer
        if scorer.identity.bundle_sha256 == known_sha256:
            return None
        manifest = scorer.bundle.manifest
        return ModelDescription(
            identity=scorer.identity,
            tasks=tuple(scorer.registry.values()),
            card=scorer.bundle.card,
            thresholds={name: bounds.model_dump() for name, bounds in scorer.bundle.thresholds.items()},
            max_note_tokens=manifest.max_note_tokens,
            base=manifest.base,
            created=manifest.created.isoformat(),
        )

    async def reference(self) -> str | None:
        """The loaded bundle's reference profile, as JSON; None where it has none."""
        path = self._scorer.bundle.folder / REFERENCE
        return path.read_text(encoding="utf-8") if REFERENCE in self._scorer.bundle.manifest.files else None

    async def pid(self) -> int:
        """Process id of this replica, for operators and fault tests."""
        return os.getpid()

    async def check_health(self) -> None:
        """Called by Ray Serve: raises when the forward thread is gone, so that the replica is replaced."""
        if self._thread._shutdown:
            raise RuntimeError("the forward thread is gone")
        if self._follower is not None and self._follower.done():
            raise RuntimeError("the loop that follows the registry ended")

    async def score(self, notes: Sequence[NoteToScore], deadline_s: float) -> list[Outcome[RiskScores]]:
        """Risks of each note in order, each with its own problem; `deadline_s` seconds from now for all of them."""
        started = time.monotonic()
        scorer = self._scorer
        outcomes: list[Outcome[RiskScores] | None] = [None] * len(notes)
        prompts: list[_Prepared] = []
        places: list[int] = []
        for place, each in enumerate(notes):
            try:
                if len(each.note.text) > _LONG_TEXT_CHARS:
                    prompt = await asyncio.to_thread(_prepare, scorer, each.note, each.tasks)
                else:
                    prompt = _prepare(scorer, each.note, each.tasks)
                prompts.append(prompt)
                places.append(place)
            except Lang1Error as error:
                outcomes[place] = Outcome(problem=Problem(_status_of(error), error.code, str(error)))
            except Exception as error:
                get_logger().error("preparing a note failed: %s", type(error).__name__)
                outcomes[place] = Outcome(problem=unusable_result())
            if len(notes) > 1:
                await asyncio.sleep(0)  # tokenising many notes must not hold up health checks
        left_s = deadline_s - (time.monotonic() - started)
        for place, outcome in zip(places, await self._batcher.submit(prompts, left_s), strict=True):
            outcomes[place] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    async def explain(self, note: NoteToScore, deadline_s: float) -> Outcome[Explanation]:
        """What moved the note's scores; `deadline_s` seconds from now. Nothing of it is kept."""
        return await self._explainer.explain(self._scorer, note.note, note.tasks, deadline_s)

    async def _forward(self, batch: Sequence[_Prepared]) -> list[RiskScores]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._forward_blocking, batch)

    def _forward_blocking(self, batch: Sequence[_Prepared]) -> list[RiskScores]:
        try:
            # Around a swap a batch may hold prompts of two bundles; each goes through its own.
            scorers = {id(each.scorer): each.scorer for each in batch}
            results: dict[int, RiskScores] = {}
            for key, scorer in scorers.items():
                own = [i for i, each in enumerate(batch) if id(each.scorer) == key]
                results.update(zip(own, scorer.score([batch[i].prompt for i in own]), strict=True))
            return [results[i] for i in range(len(batch))]
        except self._out_of_memory_error:
            _free_device_memory()
            raise OutOfMemoryError from None
        except ScoringError:
            get_logger().error("the model gave logits that are not finite")
            raise PassError(unusable_result()) from None


def _prepare(scorer: Any, note: ClinicalNote, tasks: Sequence[str] | None) -> _Prepared:
    return _Prepared(scorer, scorer.prepare(note, tasks))


def _status_of(error: Lang1Error) -> int:
    return {"not-found": 404, "business-rule": 422}.get(error.code, 500)


def _free_device_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
