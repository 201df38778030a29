"""Searching the FHIR server for what changed: on a schedule, and where a subscription missed events."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import ErrorKind, FhirServerError
from fhir_adapters.client.urls import parse_reference
from fhir_adapters.references import parse_instant, text_of
from serve.intake.beat import Beat
from serve.intake.feeds import enqueue_found, heal, read_cursor, subscriptions
from serve.intake.rows import NewRow
from serve.intake.settings import NOTE_RESOURCE
from serve.intake.take_in import intake_source
from serve.intake.worker import FreshResources
from serve.pipeline import Pipeline
from serve.settings import Settings

_PAGE: Final = 100
_SEEN: Final = 20_000


@dataclass(frozen=True, slots=True)
class Found:
    """A resource that a search gave."""

    row: NewRow
    resource: dict[str, Any]
    updated_ms: int | None


@dataclass(slots=True)
class _Progress:
    """How far a search came: everything up to `since_ms` was seen, so long as the server's order holds."""

    since_ms: int
    began_ms: int
    in_order: bool = True
    timed: bool = True
    latest_ms: int = field(default=0)

    def page(self, found: Sequence[Found]) -> None:
        for each in found:
            if each.updated_ms is None:
                self.timed = self.in_order = False
                continue
            self.in_order &= each.updated_ms >= self.latest_ms
            self.latest_ms = max(self.latest_ms, each.updated_ms)
        if self.in_order:
            self._advance(self.latest_ms)

    def end(self) -> None:
        # A server that shows no lastUpdated is followed by our own clock.
        self._advance(self.latest_ms if self.timed else self.began_ms)

    def _advance(self, to_ms: int) -> None:
        # A resource dated in the future must not hide what comes until then.
        self.since_ms = max(self.since_ms, min(to_ms, self.began_ms))


class Feeds:
    """The searches of one replica. What they find becomes rows, in one transaction with how far they came."""

    def __init__(self, settings: Settings, pipeline: Pipeline, client: FhirClient, fresh: FreshResources) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._client = client
        self._fresh = fresh
        self.beat = Beat()
        self._source = intake_source(settings)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="search")
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._unsorted: set[str] = set()

    async def poll(self, resource_type: str) -> int:
        """One search for what changed since the last. How many rows were new. Raises FhirServerError, ServiceError."""
        name = f"poll:{resource_type}"
        state = await self._pipeline.read(read_cursor, name)
        began_ms = _now_ms()
        progress = _Progress(int(state["since_ms"]) if state else self._first_since(began_ms), began_ms)
        if state is None:
            # Kept before anything is read: a first search that fails must not begin later the next time.
            await self._pipeline.write(enqueue_found, (), name, {"since_ms": progress.since_ms})
        return await self._search(resource_type, progress, name)

    async def heal_gaps(self) -> int:
        """Search for what subscriptions missed. How many events that were. Raises FhirServerError, ServiceError."""
        wait_ms = int(self._settings.gap_wait_s * 1000)
        missed = 0
        for name, state in await self._pipeline.read(subscriptions):
            began_ms = _now_ms()
            if not state.search_due(began_ms, wait_ms):
                continue
            for resource_type in self._settings.poll_types:
                await self._search(resource_type, _Progress(state.good_ms, began_ms), None)
            await self._pipeline.write(heal, name, began_ms)
            missed += state.missed
            _count_gaps(state.missed)
        return missed

    def _first_since(self, now_ms: int) -> int:
        since = self._settings.poll_since
        if since is None:
            return now_ms
        moment = parse_instant(since) or datetime.fromisoformat(since[:10]).replace(tzinfo=UTC)
        return int(moment.timestamp() * 1000)

    async def _search(self, resource_type: str, progress: _Progress, name: str | None) -> int:
        new = 0
        pages = self._pages(resource_type, progress.since_ms - int(self._settings.poll_overlap_s * 1000))
        while found := await self._in_thread(_take, pages):
            self.beat.now()
            before = progress.since_ms
            progress.page(found)
            fresh = [each for each in found if (each.row.reference, each.row.event) not in self._seen]
            if fresh or progress.since_ms != before:
                new += await self._record(fresh, name, progress)
        before = progress.since_ms
        progress.end()
        if progress.since_ms != before:
            await self._record((), name, progress)
        return new

    async def _record(self, found: Sequence[Found], name: str | None, progress: _Progress) -> int:
        rows = tuple(each.row for each in found)
        if not rows and name is None:
            return 0
        for each in found:
            self._fresh.keep(each.row.reference, each.row.event, each.resource)
        new = await self._pipeline.write(enqueue_found, rows, name, {"since_ms": progress.since_ms})
        for row in rows:
            self._seen[row.reference, row.event] = None
        while len(self._seen) > _SEEN:
            self._seen.popitem(last=False)
        return new

    def _pages(self, resource_type: str, since_ms: int) -> Iterator[Found]:
        """What the search gives, oldest change first where the server can sort."""
        parameters = [("_lastUpdated", f"ge{_instant(since_ms)}"), ("_count", str(_PAGE))]
        if resource_type == NOTE_RESOURCE:
            parameters += self._settings.poll_parameters
        begun = False
        try:
            if resource_type not in self._unsorted:
                for found in self._found(resource_type, [*parameters, ("_sort", "_lastUpdated")]):
                    begun = True
                    yield found
                return
        except FhirServerError as error:
            if error.kind is not ErrorKind.REJECTED or begun:
                raise
            self._unsorted.add(resource_type)
        yield from self._found(resource_type, parameters)

    def _found(self, resource_type: str, parameters: list[tuple[str, str]]) -> Iterator[Found]:
        for resource in self._client.search(resource_type, parameters):
            # Without an id it could never be read again; a server has none such.
            if (reference := parse_reference(f"{resource_type}/{resource.get('id')}")) is not None:
                row = NewRow(self._source, reference.literal, _event(resource))
                yield Found(row, resource, _updated_ms(resource))

    async def _in_thread(self, work: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)


def _take(found: Iterator[Found]) -> list[Found]:
    return list(itertools.islice(found, _PAGE))


def _event(resource: dict[str, Any]) -> str:
    """The version that was found, so that the same one found again is no second row."""
    meta = resource.get("meta")
    if version := text_of(meta, "versionId"):
        return f"v:{version}"[:128]
    if updated := text_of(meta, "lastUpdated"):
        return f"u:{updated}"[:128]
    return "h:" + hashlib.sha256(json.dumps(resource, sort_keys=True).encode()).hexdigest()


def _updated_ms(resource: dict[str, Any]) -> int | None:
    updated = text_of(resource.get("meta"), "lastUpdated")
    moment = parse_instant(updated) if updated else None
    return int(moment.timestamp() * 1000) if moment else None


def _instant(ms: int) -> str:
    return datetime.fromtimestamp(max(0, ms) / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _count_gaps(missed: int) -> None:
    if missed:
        from monitoring import metrics

        metrics.notification_gaps_total.inc(missed)
