"""The retraining deployment: one replica that follows the job. If it dies, scoring goes on, and so does the job."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ray import serve as ray_serve

from serve.errors import ServiceError
from serve.handles import ScorerClient, StoreClient
from serve.logs import get_logger
from serve.metrics_folder import use_metrics_folder
from serve.pipeline import Pipeline
from serve.ray_environment import check_ray_environment
from serve.retraining.jobs import Jobs, JobsAwayError
from serve.retraining.local_jobs import LocalJobs
from serve.retraining.loop import Retraining
from serve.retraining.ray_jobs import RayJobs
from serve.scorer_state import is_scorer_alive
from serve.settings import Settings
from serve.store.core import Store

FOLDER: Final = "retraining"
_MAX_WAIT_S: Final = 30.0


def jobs_of(settings: Settings) -> Jobs | None:
    """Where jobs run, by the settings. Raises SettingsError."""
    if settings.retraining_spec is None:
        return None
    if settings.ray_jobs_url is not None:
        return RayJobs(settings)
    return LocalJobs(settings, settings.resolved_state_dir / FOLDER)


class RetrainingReplica:
    """Ray Serve deployment. Looks every `retraining_look_s`."""

    def __init__(self, settings: Settings, scorer: Any, store: Any) -> None:
        check_ray_environment()
        use_metrics_folder()
        application = ray_serve.get_replica_context().app_name
        reader = Store(settings.resolved_database_url, read_only=True)
        scorers = ScorerClient(scorer, settings.scorer_replicas, lambda: is_scorer_alive(application))
        pipeline = Pipeline(scorers, StoreClient(store), reader)
        self._look_s = settings.retraining_look_s
        self._retraining = Retraining(settings, pipeline, jobs_of(settings))
        self._loop = asyncio.create_task(self._keep_looking())

    async def _keep_looking(self) -> None:
        failures = 0
        while True:
            try:
                await self._retraining.turn()
                failures = 0
            except ServiceError as error:
                failures += 1
                get_logger().warning("retraining waits: %s", error.problem.code)
            except JobsAwayError as error:
                failures += 1
                get_logger().warning("retraining waits for its jobs: %s", error.code)
            except Exception as error:
                # The class alone: its text may quote a row.
                failures += 1
                get_logger().error("retraining failed: %s", type(error).__name__)
            wait_s = self._look_s * 2.0 ** min(failures, 10)
            await asyncio.sleep(max(self._look_s, min(wait_s, _MAX_WAIT_S)))

    async def check_health(self) -> None:
        """Raises RuntimeError when the loop has ended."""
        if self._loop.done():
            raise RuntimeError("the loop of retraining ended")

    async def _stop(self, retraining: Retraining) -> None:
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        try:
            await retraining.stop()
        except (ServiceError, JobsAwayError) as error:
            # The lease ends by itself, and the try counts.
            get_logger().warning("retraining could not give back its work: %s", type(error).__name__)

    def __del__(self) -> Any:
        # Ray awaits what this returns. Python's own call at the end finds nothing to do.
        retraining, self._retraining = getattr(self, "_retraining", None), None  # type: ignore[assignment]
        return self._stop(retraining) if retraining is not None else None
