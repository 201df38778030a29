"""The loops of the intake replica: each goes on until it is told to stop, whatever goes wrong in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Final

from fhir_adapters.client.errors import FhirServerError
from serve.errors import ServiceError
from serve.intake.polling import Feeds
from serve.intake.rows import backlog, has_old, prune
from serve.intake.worker import Worker
from serve.logs import get_logger
from serve.pipeline import Pipeline
from serve.settings import Settings

_MAX_WAIT_S: Final = 900.0
_LOOK_S: Final = 1.0
_COUNT_EVERY_S: Final = 5.0
_DAY_MS: Final = 86_400_000


async def keep_working(worker: Worker, stopping: asyncio.Event) -> None:
    """Work rows."""
    failures = 0
    while not stopping.is_set():
        worker.beat.now()
        try:
            await worker.turn(stopping)
            failures = 0
            continue
        except ServiceError as error:
            get_logger().warning("intake waits: %s", error.problem.code)
        except Exception as error:
            get_logger().error("intake failed: %s", type(error).__name__)
        failures += 1
        await sleep_until(stopping, min(30.0, 0.5 * 2**failures))


async def sleep_until(stopping: asyncio.Event, seconds: float) -> None:
    """Sleep, or less when told to stop."""
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return


async def keep_polling(feeds: Feeds, settings: Settings, stopping: asyncio.Event) -> None:
    """Poll every `poll_every_s` seconds, less often while the server fails."""
    from monitoring import metrics

    assert settings.poll_every_s is not None
    failures = 0
    while not stopping.is_set():
        feeds.beat.now()
        for resource_type in settings.poll_types:
            if not await _try(feeds.poll(resource_type)):
                failures += 1
                break
        else:
            failures = 0
            metrics.feed_last_read_timestamp_seconds.set(time.time())
        wait_s = settings.poll_every_s * 2 ** min(failures, 10)
        await sleep_until(stopping, max(settings.poll_every_s, min(wait_s, _MAX_WAIT_S)))


async def keep_healing(feeds: Feeds, stopping: asyncio.Event) -> None:
    """Look for gaps every second; less often while the server fails."""
    failures = 0
    while not stopping.is_set():
        feeds.beat.now()
        failures = 0 if await _try(feeds.heal_gaps()) else failures + 1
        await sleep_until(stopping, min(_LOOK_S * 2 ** min(failures, 10), _MAX_WAIT_S))


async def _try(work: Awaitable[object]) -> bool:
    from monitoring import metrics

    try:
        await work
    except FhirServerError as error:
        code = str(error.kind)
    except ServiceError as error:
        code = error.problem.code
    except Exception as error:
        # The class alone: its text may quote a resource.
        get_logger().error("a search for changes failed: %s", type(error).__name__)
        code = "exception"
    else:
        return True
    get_logger().warning("a search for changes failed: %s", code)
    metrics.feed_failures_total.labels(code).inc()
    return False


async def keep_house(pipeline: Pipeline, settings: Settings, stopping: asyncio.Event) -> None:
    """Count what is to be done, for the metrics; forget what was done long ago."""
    from monitoring import metrics

    while not stopping.is_set():
        try:
            counted = await pipeline.read(backlog)
            metrics.intake_pending.set(counted.pending)
            metrics.intake_dead.set(counted.dead)
            metrics.intake_oldest_seconds.set(counted.oldest_age_ms / 1000)
            if await pipeline.read(has_old, settings.intake_keep_days * _DAY_MS):
                await pipeline.write(prune, settings.intake_keep_days * _DAY_MS)
        except ServiceError as error:
            get_logger().warning("intake cannot count its work: %s", error.problem.code)
        except Exception as error:
            get_logger().error("intake cannot count its work: %s", type(error).__name__)
        await sleep_until(stopping, _COUNT_EVERY_S)
