"""What waits on either side of the EHR, as gauges: counted when somebody asks, so that a dead loop cannot hide it."""

from __future__ import annotations

import time

from serve.errors import ServiceError
from serve.intake.rows import backlog as intake_backlog
from serve.outbox.letters import backlog as outbox_backlog
from serve.pipeline import Pipeline
from serve.settings import Settings


async def publish_backlog(pipeline: Pipeline, settings: Settings) -> None:
    """Set the gauges of the outbox and the intake, where there are such; without a database they stay as they were."""
    from monitoring import metrics

    try:
        if settings.sink != "none":
            waiting = await pipeline.read(outbox_backlog)
            metrics.outbox_pending.set(waiting.pending)
            metrics.outbox_dead.set(waiting.dead)
            oldest_s = 0.0 if waiting.oldest_ms is None else max(0.0, time.time() - waiting.oldest_ms / 1000)
            metrics.outbox_oldest_seconds.set(oldest_s)
        if settings.has_intake:
            fetched = await pipeline.read(intake_backlog)
            metrics.intake_pending.set(fetched.pending)
            metrics.intake_dead.set(fetched.dead)
            metrics.intake_oldest_seconds.set(fetched.oldest_age_ms / 1000)
    except ServiceError:
        return
