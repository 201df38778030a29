"""The monitor's deployment: one replica that runs by itself. If it dies, scoring goes on and an alert tells."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

from ray import serve as ray_serve

from lang1.tasks import TaskRegistry
from monitoring.errors import MonitorInputError
from monitoring.reference import ReferenceProfile
from serve.beds.board import BedBoard
from serve.beds.recorded import RecordedCensus
from serve.errors import ServiceError
from serve.handles import ScorerClient, StoreClient
from serve.logs import get_logger
from serve.metrics_folder import use_metrics_folder
from serve.monitor.run import Judged, judge
from serve.monitor.state import save_state
from serve.outcomes.context import label_context
from serve.outcomes.refresh import refresh_all
from serve.pipeline import Pipeline
from serve.ray_environment import check_ray_environment
from serve.scorer_state import is_scorer_alive
from serve.settings import Settings
from serve.store.core import Store

_RETRY_S = 5.0


class Monitor:
    """The runs, without Ray."""

    def __init__(self, settings: Settings, scorers: ScorerClient, store: StoreClient, reader: Store) -> None:
        self._settings = settings
        self._scorers = scorers
        self._reader = reader
        self._pipeline = Pipeline(scorers, store, reader)
        self._board = BedBoard(RecordedCensus(settings, self._pipeline), settings, settings.hospital_timezone)
        self._profiles: dict[str, ReferenceProfile | None] = {}

    async def run(self) -> Judged:
        """Labels that fell due, then the loaded model's monitors; gauges follow. Raises ServiceError."""
        from monitoring import gauges

        model = await self._pipeline.model.refresh()
        registry, sha256 = TaskRegistry(model.tasks), model.identity.bundle_sha256
        context = label_context(self._settings, registry)
        await refresh_all(self._pipeline, context)
        if sha256 not in self._profiles:
            text = await self._scorers.reference()
            self._profiles = {sha256: None if text is None else ReferenceProfile.model_validate_json(text)}
        now_s = time.time()
        judged = await asyncio.to_thread(
            judge, self._reader, registry, sha256, self._profiles[sha256], context, now_s=now_s,
            history_days=self._settings.monitor_history_days, reference_weeks=self._settings.monitor_reference_weeks,
        )  # fmt: skip
        if judged.state is not None and judged.history is not None:
            await self._pipeline.write(save_state, sha256, judged.state.model_dump(mode="json"))
            gauges.publish(judged.state, judged.history, now_s)
        await self._publish_beds()
        gauges.last_success.set(now_s)
        return judged

    async def _publish_beds(self) -> None:
        """The next census as gauges, where there are patients; a model without that task has none."""
        from monitoring import gauges

        try:
            forecast = await self._board.forecast(datetime.now(UTC), 1)
        except ServiceError as error:
            if error.problem.status != 501:
                raise
            return
        (day,) = forecast.hospital.days
        for signal, expected, interval in (
            ("occupancy", day.expected_occupancy, day.occupancy_80),
            ("departures", day.expected_departures, day.departures_80),
        ):
            for bound, value in (("expected", expected), ("low", interval.low), ("high", interval.high)):
                gauges.beds_expected.labels(signal, bound).set(value)


class MonitorReplica:
    """Ray Serve deployment. Runs every `monitor_every_s`, sooner after a run that failed."""

    def __init__(self, settings: Settings, scorer: Any, store: Any) -> None:
        check_ray_environment()
        use_metrics_folder()
        application = ray_serve.get_replica_context().app_name
        reader = Store(settings.resolved_database_url, read_only=True)
        scorers = ScorerClient(scorer, settings.scorer_replicas, lambda: is_scorer_alive(application))
        assert settings.monitor_every_s is not None
        self._every_s = settings.monitor_every_s
        self._monitor = Monitor(settings, scorers, StoreClient(store), reader)
        self._loop = asyncio.create_task(self._keep_running())

    async def _keep_running(self) -> None:
        failures = 0
        while True:
            try:
                await self._monitor.run()
                failures = 0
            except (ServiceError, MonitorInputError) as error:
                failures += 1
                get_logger().warning("the monitor waits: %s", error)
            except Exception as error:
                # The class alone: its text may quote a row.
                failures += 1
                get_logger().error("the monitor failed: %s", type(error).__name__)
            retry_s = min(self._every_s, _RETRY_S * 2.0 ** min(failures, 10))
            await asyncio.sleep(retry_s if failures else self._every_s)

    async def check_health(self) -> None:
        """Raises RuntimeError when the loop has ended."""
        if self._loop.done():
            raise RuntimeError("the monitor's loop ended")

    def __del__(self) -> None:
        self._loop.cancel()
