"""The loop from a request to a job to its end: one job at a time, followed by whoever holds the lease.

Every step is recorded before the next, so that it may be stopped anywhere. The model that is loaded stays loaded:
the job alone moves the registry's channels, and only when it came to its end.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Final, TypeVar

from serve.errors import ServiceError
from serve.logs import get_logger
from serve.pipeline import Pipeline
from serve.retraining.jobs import Jobs, JobsAwayError, JobState, JobView, try_name
from serve.retraining.metrics import publish
from serve.retraining.requests import (
    NewRequest,
    Request,
    Status,
    ask,
    begin_schedule,
    begin_try,
    counted,
    end_try,
    has_open,
    lease_open,
    schedule_since,
    uncharge,
)
from serve.settings import Settings

DAY_MS: Final = 86_400_000
LEASE_MS: Final = 120_000
"""After so long without a word from its holder, another one takes the request over."""
EXIT_DONE: Final = 0
EXIT_WRONG_CALL: Final = 2
EXIT_HELD: Final = 3
"""Of `lang1 retrain run`: done; a call that no new try mends; too little data to judge."""
_MAX_WAIT_MS: Final = 3_600_000
T = TypeVar("T")


class Retraining:
    """The loop, without Ray. `jobs` None: requests wait for a person."""

    def __init__(self, settings: Settings, pipeline: Pipeline, jobs: Jobs | None) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._jobs = jobs
        self._lease = ""
        self._held: Request | None = None
        self._leased_at = 0.0

    async def turn(self) -> None:
        """Keep the schedule, then bring the open request one step on. Raises ServiceError and JobsAwayError."""
        try:
            await self._keep_schedule()
            await self._step()
            publish(await self._pipeline.read(counted))
        except ServiceError:
            await self._let_go_when_late()
            raise
        except JobsAwayError:
            if self._held is not None and self._is_late(self._held):
                await self._failed(self._held, "away")
            raise

    async def stop(self) -> None:
        """Let the job go that this one follows. Needs no database, which stops too. Raises JobsAwayError."""
        held, self._held = self._held, None
        if held is not None and held.status == "running":
            await _in_thread(lambda: self._jobs_let_go(try_name(held)))

    async def _keep_schedule(self) -> None:
        days = self._settings.retraining_every_days
        if days is None:
            return
        since_ms = await self._pipeline.read(schedule_since)
        if since_ms is None:
            await self._pipeline.write(begin_schedule)
            return
        if _now_ms() - since_ms < days * DAY_MS:
            return
        model = (await self._pipeline.model.current()).identity
        new = NewRequest(
            str(uuid.uuid4()), "schedule", "schedule", f"every {days:g} days", model.version, model.bundle_sha256
        )
        answer = await self._pipeline.write(ask, new, round(self._settings.retraining_cooldown_days * DAY_MS))
        get_logger().info("retraining by schedule: %s", answer.outcome)

    async def _step(self) -> None:
        if self._jobs is None or not await self._pipeline.read(has_open):
            self._held = None
            return
        jobs = self._jobs
        self._lease = self._lease or await _in_thread(lambda: jobs.holder)
        request = await self._pipeline.write(lease_open, self._lease, LEASE_MS)
        self._held, self._leased_at = request, time.monotonic()
        if request is None:
            return
        if request.status == "requested":
            if request.next_attempt_ms <= _now_ms():
                await self._begin(request)
            return
        view = await _in_thread(lambda: self._jobs_look(try_name(request)))
        if view.state is JobState.RUNNING:
            if self._is_late(request):
                await _in_thread(lambda: self._jobs_end(try_name(request)))
                await self._failed(request, "timeout")
        elif view.state is JobState.ABSENT:
            # The try was counted, and whoever counted it died before it began.
            await self._start(request)
        elif view.state is JobState.LET_GO:
            await self._pipeline.write(uncharge, request, self._lease)
        else:
            await self._ended(request, view)

    async def _begin(self, request: Request) -> None:
        counted_try = await self._pipeline.write(begin_try, request, self._lease)
        if counted_try is not None:
            self._held = counted_try
            await self._start(counted_try)

    async def _start(self, request: Request) -> None:
        jobs = self._jobs
        assert jobs is not None
        try:
            await _in_thread(lambda: jobs.begin(try_name(request), request))
        except JobsAwayError as error:
            get_logger().warning("retraining %s: try %s not begun: %s", request.id, request.attempts, error.code)
            raise
        get_logger().info("retraining %s: try %s has begun", request.id, request.attempts)

    async def _ended(self, request: Request, view: JobView) -> None:
        code = view.exit_code
        if view.state is JobState.ENDED and code == EXIT_DONE:
            await self._close(request, "done", "done")
        elif view.state is JobState.ENDED and code == EXIT_HELD:
            await self._close(request, "held", "held")
        elif view.state is JobState.ENDED and code == EXIT_WRONG_CALL:
            await self._close(request, "failed", "exit-2")
        else:
            await self._failed(request, "killed" if code is None or code < 0 else f"exit-{code}")

    async def _failed(self, request: Request, code: str) -> None:
        if request.attempts >= self._settings.retraining_max_tries:
            await self._close(request, "failed", code)
            return
        wait_ms = min(_MAX_WAIT_MS, round(self._settings.retraining_retry_s * 1000 * 2 ** (request.attempts - 1)))
        get_logger().warning("retraining %s: try %s ended: %s", request.id, request.attempts, code)
        await self._pipeline.write(end_try, request, self._lease, "requested", code, wait_ms)

    async def _close(self, request: Request, status: Status, code: str) -> None:
        get_logger().info("retraining %s: %s (%s)", request.id, status, code)
        await self._pipeline.write(end_try, request, self._lease, status, code)
        self._held = None

    async def _let_go_when_late(self) -> None:
        """Without the database the lease cannot be kept: before another may take it, this one's job must be over."""
        held = self._held
        if held is None or (time.monotonic() - self._leased_at) * 1000 < LEASE_MS * 0.75:
            return
        self._held = None
        if held.status == "running":
            await _in_thread(lambda: self._jobs_let_go(try_name(held)))

    def _is_late(self, request: Request) -> bool:
        return _now_ms() - (request.started_ms or 0) > self._settings.retraining_max_hours * 3_600_000

    def _jobs_look(self, name: str) -> JobView:
        assert self._jobs is not None
        return self._jobs.look(name)

    def _jobs_let_go(self, name: str) -> None:
        assert self._jobs is not None
        self._jobs.let_go(name)

    def _jobs_end(self, name: str) -> None:
        assert self._jobs is not None
        self._jobs.end(name)


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
