"""Works the rows of what is still to be taken in: leases, fetches, takes in, settles. Nothing is lost by dying."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import FhirServerError
from serve.errors import internal
from serve.intake.beat import Beat
from serve.intake.retries import ServerState, after_fetch_error, after_taking
from serve.intake.rows import LeasedRow, Settled, due, settle_and_lease
from serve.intake.take_in import TakeIn, Taken, own_context
from serve.logs import get_logger
from serve.pipeline import Pipeline
from serve.settings import Settings

# Longer than a fetch and a score with their own time-outs; a replica that starts frees what an earlier one held.
_LEASE_MS: Final = 120_000
_IDLE_S: Final = 0.25
_FRESH_ROWS: Final = 256


class FreshResources:
    """Resources that a search gave in full, kept until their row is worked: they need not be read again."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()

    def keep(self, reference: str, event: str, resource: dict[str, Any]) -> None:
        """Held in this process alone, and not for ever: whatever is dropped is fetched."""
        self._held[reference, event] = resource
        while len(self._held) > _FRESH_ROWS:
            self._held.popitem(last=False)

    def take(self, row: LeasedRow) -> dict[str, Any] | None:
        """The resource of a row, once."""
        return self._held.pop((row.reference, row.event), None)


class Worker:
    """At most `intake_concurrency` rows at once; the scorer makes batches of what comes together."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        client: FhirClient,
        takers: Mapping[str, TakeIn],
        fresh: FreshResources,
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._client = client
        self._takers = takers
        self._fresh = fresh
        self.beat = Beat()
        self._server = ServerState(min(1.0, settings.intake_retry_s))
        self._threads = ThreadPoolExecutor(settings.intake_concurrency, thread_name_prefix="fetch")
        self._running: dict[asyncio.Task[Settled], LeasedRow] = {}
        self._unsettled: list[Settled] = []
        self._lease = str(uuid.uuid4())

    async def turn(self, stopping: asyncio.Event) -> None:
        """Settle what is finished, begin what is due, wait for either. Raises ServiceError when the store is away."""
        self._collect()
        wanted = self._room() if await self._pipeline.read(due) else 0
        if self._unsettled or wanted:
            for row in await self._write(wanted):
                self._begin(row)
        await self._wait(stopping)

    async def drain(self, limit_s: float) -> None:
        """End what is under way, within the limit; what is not ended goes back as it was. Raises ServiceError."""
        if self._running:
            await asyncio.wait(self._running, timeout=limit_s)
        self._collect()
        for task, row in self._running.items():
            task.cancel()
            self._unsettled.append(Settled(row, "pending", "stopped", charged=False))
        self._running.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._unsettled:
            await self._write(0)

    def _room(self) -> int:
        if not self._server.may_ask():
            return 0
        if self._server.away:
            return 0 if self._running else 1
        return self._settings.intake_concurrency - len(self._running)

    async def _write(self, wanted: int) -> Sequence[LeasedRow]:
        settled = tuple(self._unsettled)
        rows = await self._pipeline.write(settle_and_lease, self._lease, settled, wanted, _LEASE_MS)
        del self._unsettled[: len(settled)]
        # A new one only now: after a lost answer the same lease finds the rows that it got.
        self._lease = str(uuid.uuid4())
        for each in settled:
            _count(each)
        return rows

    def _begin(self, row: LeasedRow) -> None:
        self._server.asking()
        self._running[asyncio.create_task(self._work(row))] = row

    def _collect(self) -> None:
        for task in [each for each in self._running if each.done()]:
            row = self._running.pop(task)
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is None:
                self._unsettled.append(task.result())
                continue
            # The class alone: its text may quote a note.
            get_logger().error("taking in a resource failed: %s", type(error).__name__)
            failed = Taken.failed(internal())
            self._unsettled.append(after_taking(row, failed, first_wait_s=self._settings.intake_retry_s))

    async def _wait(self, stopping: asyncio.Event) -> None:
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({stop, *self._running}, timeout=_IDLE_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()

    async def _work(self, row: LeasedRow) -> Settled:
        taker = self._takers.get(row.reference.partition("/")[0])
        if taker is None:
            return Settled(row, "dead", "not-supported")
        first_wait_s = self._settings.intake_retry_s
        resource = self._fresh.take(row)
        if resource is None:
            try:
                resource = await self._fetch(row.reference)
            except FhirServerError as error:
                away = self._server.away
                self._server.answered(error)
                if error.status == 410:
                    taken = await taker.gone(row.reference, own_context(self._settings, row.source))
                    return after_taking(row, taken, first_wait_s=first_wait_s)
                return after_fetch_error(row, error, away=away, first_wait_s=first_wait_s)
            self._server.answered()
        (taken,) = await taker([resource], own_context(self._settings, row.source))
        return after_taking(row, taken, first_wait_s=first_wait_s)

    async def _fetch(self, reference: str) -> dict[str, Any]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._client.read_url, reference)


def _count(settled: Settled) -> None:
    from monitoring import metrics

    counter = metrics.intake_retries_total if settled.status == "pending" else metrics.intake_total
    counter.labels(settled.code).inc()
