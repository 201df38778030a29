"""The writer: takes keys from the outbox, writes each to the EHR as the store holds it now, and records the end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.clock import SYSTEM_CLOCK, Clock
from fhir_adapters.client.errors import FhirServerError
from fhir_adapters.sinks.every_sink import SINKS
from fhir_adapters.sinks.sink import Sink, WriteBack
from lang1.tasks import Task
from serve.errors import ServiceError
from serve.fhir_notes import stored_to_record
from serve.logs import get_logger
from serve.outbox import letters, queue
from serve.outbox.breaker import Breaker
from serve.outbox.capability import Gate, WriteRefusedError
from serve.outbox.delivery import Delivered, Delivery
from serve.outbox.options import Counters, StoreReader, StoreWriter, WriterOptions
from serve.outbox.verdicts import Verdict, delay_s, judge
from serve.outbox.work import After, Content, Leased
from serve.store.transaction import Transaction

T = TypeVar("T")
P = ParamSpec("P")

SOURCE: Final = "outbox"
"""Who wrote, in the audit."""
_STORE_PAUSE_S: Final = 1.0
_FINISH_TRIES: Final = 3
_BEAT_S: Final = 5.0


class UnknownTaskError(Exception):
    """No bundle that was seen has the task of a score."""


class Writer:
    """Of one process, in one event loop; calls to the EHR run in its threads. Several writers may share a database."""

    def __init__(
        self,
        store: StoreWriter,
        reader: StoreReader,
        client: FhirClient,
        registry: Callable[[str], Awaitable[Mapping[str, Task]]],
        options: WriterOptions,
        *,
        counters: Counters | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._store = store
        self._reader = reader
        self._registry = registry
        self._options = options
        self._counters = counters or Counters()
        self._clock = clock
        self._gate = Gate(client, options.mode, lambda words: get_logger().warning("write-back: %s", words))
        self._deliveries = {name: Delivery(client, sink, options.mode) for name, sink in SINKS.items()}
        self._breaker = Breaker(options.probe_s, clock=clock)
        self._noted_pause: str | None = None
        self._under_way: dict[asyncio.Task[None], Leased] = {}
        self._wake = asyncio.Event()
        self._threads = ThreadPoolExecutor(options.concurrency, thread_name_prefix="write-back")
        self._reading = ThreadPoolExecutor(2, thread_name_prefix="outbox-read")

    async def run(self, stop: asyncio.Event) -> None:
        """Write until `stop` is set, then end what is under way, up to `drain_s`."""
        beat = asyncio.create_task(self._beat())
        stopping = asyncio.create_task(self._wake_at(stop))
        try:
            await self._forget_pause()
            while not stop.is_set():
                if beat.done():
                    beat.result()
                if not await self._begin_some():
                    await self._rest()
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=self._options.drain_s)
        finally:
            beat.cancel()
            stopping.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._reading.shutdown(wait=False)

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _rest(self) -> None:
        """Until a write ended, the writer is told to stop, or it is time to look again."""
        try:
            async with asyncio.timeout(self._options.poll_s):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _begin_some(self) -> bool:
        slots = self._breaker.slots(self._options.concurrency, len(self._under_way))
        if not slots:
            return False
        try:
            if not await self._read(queue.has_due):
                return False
            keys = tuple(each.key for each in self._under_way.values())
            leased = await self._store.run(
                queue.lease, str(uuid.uuid4()), slots, self._lease_ms, self._options.tries, keys
            )
        except ServiceError as error:
            get_logger().warning("write-back: the outbox cannot be read: %s", error.problem.code)
            await asyncio.sleep(_STORE_PAUSE_S)
            return False
        for each in leased:
            task = asyncio.create_task(self._deliver(each))
            self._under_way[task] = each
            task.add_done_callback(self._ended)
        return bool(leased)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            get_logger().error("write-back failed: %s", type(error).__name__)

    async def _deliver(self, leased: Leased) -> None:
        paused = self._breaker.code is not None
        try:
            content = await self._read(queue.load, leased)
            wanted = await self._wanted(SINKS[leased.sink], content)
            delivered = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._write, leased, wanted, content.reference
            )
        except FhirServerError as error:
            await self._fail(leased, judge(error, paused=paused))
        except WriteRefusedError as error:
            get_logger().error("write-back refused: %s", error)
            await self._fail(leased, Verdict(After.WAIT, True, "not-supported"), refused=True)
        except UnknownTaskError:
            await self._fail(leased, Verdict(After.DEAD, False, "unknown-task"))
        except ServiceError as error:
            await self._fail(leased, Verdict(After.WAIT, False, error.problem.code))
        except Exception as error:
            # The class alone: the text of a library's error may quote the resource.
            await self._fail(leased, Verdict(After.TRY_AGAIN, False, f"exception/{type(error).__name__}"))
        else:
            await self._finish(leased, content, delivered)

    async def _wanted(self, sink: Sink, content: Content) -> WriteBack:
        found = await self._in_thread(self._reader.find, content.predictions)
        stored = [found[each] for each in content.predictions]
        registry = await self._registry(stored[0].bundle_sha256)
        if any(each.task not in registry for each in stored):
            raise UnknownTaskError
        records = [stored_to_record(each) for each in stored]
        return sink.write_back(records, content.note_key, registry, probability_scale=self._options.probability_scale)

    def _write(self, leased: Leased, wanted: WriteBack, reference: str | None) -> Delivered:
        self._gate.check(wanted.resource_type)
        return self._deliveries[leased.sink].write(wanted, reference=reference, unsure=leased.unsure)

    async def _finish(self, leased: Leased, content: Content, delivered: Delivered) -> None:
        self._breaker.succeeded()
        reference = delivered.reference or content.reference
        for left in reversed(range(_FINISH_TRIES)):
            try:
                kept = await self._store.run(queue.finish, leased, content.predictions, reference, SOURCE)
                break
            except ServiceError as error:
                # When the lease runs out another try finds the resource and ends as this one should.
                get_logger().warning("write-back: an end cannot be recorded: %s", error.problem.code)
                if not left:
                    return
                await asyncio.sleep(_STORE_PAUSE_S)
        self._counters.ended(leased.sink, delivered.how if kept else "lease-lost")
        await self._note_pause()

    async def _fail(self, leased: Leased, verdict: Verdict, *, refused: bool = False) -> None:
        if verdict.shared:
            self._breaker.failed(verdict.error, self._options.probe_s if refused else verdict.retry_after_s)
        elif verdict.after is After.DEAD:
            self._breaker.succeeded()
        options = self._options
        delay = delay_s(leased.attempts, options.retry_base_s, options.retry_max_s, self._clock)
        delay_ms = int(1000 * max(delay, verdict.retry_after_s or 0.0))
        self._counters.ended(leased.sink, verdict.error.partition("/")[0])
        try:
            became = await self._store.run(queue.fail, leased, verdict.error, verdict.after, delay_ms, options.tries)
        except ServiceError as error:
            get_logger().warning("write-back: a failure cannot be recorded: %s", error.problem.code)
            return
        if "dead" in became:
            get_logger().error("write-back: dead letters %s: %s", list(leased.rows), verdict.error)
        await self._note_pause()

    async def _note_pause(self) -> None:
        """Let every process know whether the write-back pauses: `$score` says so in its answers."""
        code = self._breaker.code
        if (code is None) == (self._noted_pause is None):
            return
        before, self._noted_pause = self._noted_pause, code
        if code is None:
            get_logger().info("write-back goes on")
        else:
            get_logger().warning("write-back pauses: %s", code)
        try:
            await self._store.run(letters.set_pause, code)
        except ServiceError:
            self._noted_pause = before  # so that the next end tells it

    async def _forget_pause(self) -> None:
        """What an earlier writer noted may be true no more; this one finds out."""
        try:
            if await self._read(letters.pause) is not None:
                await self._store.run(letters.set_pause, None)
        except ServiceError:
            self._noted_pause = "unknown"  # the first end tells it

    async def _beat(self) -> None:
        """Hold the leases of what is under way, and count the backlog."""
        while True:
            try:
                if self._under_way:
                    await self._store.run(queue.extend, list(self._under_way.values()), self._lease_ms)
                self._counters.backlog(await self._read(letters.backlog))
            except ServiceError:
                pass  # the leases have two more beats until they run out
            await asyncio.sleep(min(_BEAT_S, self._options.lease_s / 3))

    @property
    def _lease_ms(self) -> int:
        return int(1000 * self._options.lease_s)

    async def _read(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._in_thread(self._reader.read, work, *args)

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, work, *args)
