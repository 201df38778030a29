"""The writer's deployment: one replica that writes back by itself; nobody calls it."""

from __future__ import annotations

import asyncio
from typing import Any

from serve.errors import SettingsError
from serve.handles import ScorerClient, StoreClient
from serve.logs import get_logger
from serve.metrics_folder import use_metrics_folder
from serve.outbox.options import Counters, WriterOptions
from serve.outbox.task_lookup import TaskLookup
from serve.outbox.work import Backlog
from serve.outbox.writer import Writer
from serve.ray_environment import check_ray_environment
from serve.settings import Settings
from serve.store.core import Store


class WriterReplica:
    """Ray Serve deployment around one Writer. With PostgreSQL there may be several."""

    def __init__(self, settings: Settings, store: Any, scorer: Any = None) -> None:
        """`store` and `scorer` are handles; the scorers know the tasks of a bundle that was loaded later."""
        check_ray_environment()
        use_metrics_folder()
        from serve.ehr.connection import make_client

        client = make_client(settings)
        if client is None:
            raise SettingsError(f"sink {settings.sink} needs fhir_base_url, the server that is written to")
        scorers = None if scorer is None else ScorerClient(scorer, settings.scorer_replicas, lambda: True)
        tasks = TaskLookup(settings.bundle, settings.tasks_file, None if scorers is None else scorers.describe)
        self._client = client
        self._writer = Writer(
            StoreClient(store),
            Store(settings.resolved_database_url, read_only=True),
            client,
            tasks.registry,
            WriterOptions.of(settings),
            counters=_counters(),
        )
        self._stop = asyncio.Event()
        # Ray runs a constructor in the replica's own event loop.
        self._running = asyncio.get_running_loop().create_task(self._writer.run(self._stop))

    def check_health(self) -> None:
        """Ray's name. Raises when the writer ended, so that Ray starts another."""
        if self._running.done() and not self._stop.is_set():
            error = None if self._running.cancelled() else self._running.exception()
            get_logger().error("the writer ended: %s", type(error).__name__)
            raise RuntimeError("the writer ended")

    async def __del__(self) -> None:
        """Ray calls and awaits this when it stops the replica: end what is under way, begin nothing."""
        self._stop.set()
        await asyncio.wait([self._running])
        self._client.close()


def _counters() -> Counters:
    import time

    from monitoring import metrics

    def ended(sink: str, code: str) -> None:
        metrics.outbox_written_total.labels(sink, code).inc()

    def backlog(now: Backlog) -> None:
        metrics.outbox_pending.set(now.pending)
        metrics.outbox_dead.set(now.dead)
        age_s = 0.0 if now.oldest_ms is None else max(0.0, time.time() - now.oldest_ms / 1000)
        metrics.outbox_oldest_seconds.set(age_s)

    return Counters(ended, backlog)
