"""The intake deployment: one replica that fetches by itself what notifications and searches name."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from ray import serve as ray_serve

from fhir_adapters.client.client import FhirClient
from serve.ehr.connection import make_client
from serve.errors import ServiceError
from serve.handles import ScorerClient, StoreClient
from serve.intake.loops import keep_healing, keep_house, keep_polling, keep_working, sleep_until
from serve.intake.polling import Feeds
from serve.intake.rows import release_all
from serve.intake.take_in import takers
from serve.intake.worker import FreshResources, Worker
from serve.logs import get_logger
from serve.metrics_folder import use_metrics_folder
from serve.pipeline import Pipeline
from serve.ray_environment import check_ray_environment
from serve.rollout.wiring import make_arms
from serve.scorer_state import is_scorer_alive
from serve.settings import Settings
from serve.store.core import Store

# Every step inside has a time-out of its own, well under this: a loop that is silent for so long hangs.
_SILENT_S: Final = 600.0
_RETRY_S: Final = 1.0


class Intake:
    """The loops, without Ray. `start` in a running event loop, `stop` in the same."""

    def __init__(self, settings: Settings, pipeline: Pipeline, client: FhirClient) -> None:
        fresh = FreshResources()
        self._settings = settings
        self._pipeline = pipeline
        self._client = client
        self._worker = Worker(settings, pipeline, client, takers(pipeline, settings), fresh)
        self._feeds = Feeds(settings, pipeline, client, fresh)
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, now or as soon as the store answers."""
        loops: list[Coroutine[Any, Any, None]] = [
            self._work(),
            keep_house(self._pipeline, self._settings, self._stopping),
        ]
        if self._settings.notifications:
            loops.append(keep_healing(self._feeds, self._stopping))
        if self._settings.poll_every_s is not None:
            loops.append(keep_polling(self._feeds, self._settings, self._stopping))
        self._tasks = [asyncio.create_task(each) for each in loops]

    async def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._pipeline.write(release_all)
                break
            except ServiceError as error:
                get_logger().warning("intake waits: %s", error.problem.code)
                await sleep_until(self._stopping, _RETRY_S)
        await keep_working(self._worker, self._stopping)

    def check(self) -> None:
        """Raises RuntimeError when a loop has ended or hangs, so that the replica is replaced."""
        if not self._stopping.is_set() and any(task.done() for task in self._tasks):
            raise RuntimeError("a loop of the intake ended")
        beats = [self._worker.beat] + ([self._feeds.beat] if len(self._tasks) > 2 else [])
        # A feed rests as long as its schedule says.
        silent_s = _SILENT_S + (self._settings.poll_every_s or 0.0)
        if any(beat.age_s > 2 * silent_s for beat in beats):
            raise RuntimeError("a loop of the intake hangs")

    async def stop(self, limit_s: float) -> None:
        """End what is under way within the limit, give back the rest."""
        self._stopping.set()
        working = self._tasks[:1]
        _, hanging = await asyncio.wait(working, timeout=limit_s / 2)
        for task in hanging:
            task.cancel()
        try:
            await self._worker.drain(limit_s / 2)
        except ServiceError as error:
            # Their leases end by themselves.
            get_logger().warning("intake could not give back its work: %s", error.problem.code)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._client.close)


class IntakeReplica:
    """Ray Serve deployment. Ray makes it in its event loop, asks `check_health`, and awaits `__del__` at the end."""

    def __init__(self, settings: Settings, scorer: Any, store: Any, rollout: Sequence[Any] = ()) -> None:
        check_ray_environment()
        use_metrics_folder()
        client = make_client(settings)
        if client is None:
            raise RuntimeError("notifications and polling need fhir_base_url; set it to the FHIR server's base URL")
        application = ray_serve.get_replica_context().app_name
        reader = Store(settings.resolved_database_url, read_only=True)
        scorers = ScorerClient(scorer, settings.scorer_replicas, lambda: is_scorer_alive(application))
        self._drain_s = settings.drain_s
        pipeline = Pipeline(scorers, StoreClient(store), reader, make_arms(settings, rollout))
        self._intake: Intake | None = Intake(settings, pipeline, client)
        self._intake.start()

    async def check_health(self) -> None:
        """Raises RuntimeError for a loop that ended or hangs."""
        if self._intake is not None:
            self._intake.check()

    def __del__(self) -> Any:
        # Ray awaits what this returns. Python's own call at the end finds nothing to do.
        intake, self._intake = getattr(self, "_intake", None), None
        return intake.stop(0.8 * self._drain_s) if intake is not None else None
