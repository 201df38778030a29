"""A notification on its way in: what it brings is scored, what it names is kept to be fetched, then it is answered."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fhir_adapters.client.errors import FhirServerError
from fhir_adapters.client.urls import Base
from fhir_adapters.references import parse_instant
from fhir_adapters.subscriptions import Change, Notification
from serve.errors import Problem, ServiceError
from serve.intake.feeds import Arrival, NamedResource, Recorded, record_notification
from serve.intake.settings import NOTE_RESOURCE
from serve.intake.subscription_state import Sighting
from serve.intake.take_in import TakeIn, Taken
from serve.note_job import RequestContext
from serve.pipeline import Pipeline
from serve.settings import Settings

_WITH_EVENTS: Final = frozenset({"event-notification", "query-event"})


@dataclass(frozen=True, slots=True)
class _Named:
    """A change, the event that names it, and its `Type/id` on our FHIR server; None where it is none of that."""

    change: Change
    event: str
    literal: str | None

    @property
    def type(self) -> str:
        found = self.change.resource.get("resourceType") if self.change.resource else None
        return found if isinstance(found, str) else (self.change.literal or "").partition("/")[0]

    def row(self, dead_code: str | None = None) -> NamedResource:
        return NamedResource(self.literal or self.change.reference, self.event, dead_code)


class Inbox:
    """Takes notifications for one ingress replica."""

    def __init__(self, settings: Settings, pipeline: Pipeline, takers: Mapping[str, TakeIn]) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._takers = takers
        self._base = Base.of(settings.fhir_base_url) if settings.fhir_base_url else None

    def check_allowed(self, notification: Notification) -> None:
        """Raise ServiceError (403) for a topic and subscription that the settings do not list."""
        allowed = self._settings.subscription_topics
        topic = notification.topic or ""
        if allowed and not {topic, topic.partition("|")[0], notification.subscription} & set(allowed):
            message = "neither topic nor subscription is in the setting subscription_topics; add one or end it"
            raise ServiceError(Problem(403, "forbidden", message))

    async def take(self, notification: Notification, context: RequestContext) -> Recorded:
        """Score, record, and only then return. Raises ServiceError when the sender must send it again."""
        named = [each for each in self._named(notification) if each.type in self._takers]
        _count("not-supported", len(notification.changes) - len(named))
        rows = [each for each in named if each.change.resource is None and not each.change.deleted]
        deleted = {each.literal or each.change.reference: each.type for each in named if each.change.deleted}
        if self._base is None and (rows or _without_content(notification)):
            message = "only full-resource notifications can be taken without fhir_base_url; set it"
            raise ServiceError(Problem(422, "not-supported", message))
        whole = list({id(each.change.resource): each for each in named if each.change.resource is not None}.values())
        cap = self._settings.max_batch_entries
        kept = [each.row(None if each.literal else "security") for each in rows]
        kept += [each.row() for each in whole[cap:] if self._may_fetch(each)]
        kept += await self._score(whole[:cap], context)
        for reference, type_ in deleted.items():
            # Notes are taken back together with the cursor; what else was deleted comes before it: nothing is lost.
            if type_ != NOTE_RESOURCE and (gone := await self._takers[type_].gone(reference, context)).may_retry:
                raise _again(gone)
        if any(not self._may_fetch(each) for each in whole[cap:]):
            raise ServiceError(
                Problem(
                    413, "too-long", f"over {cap} resources in one notification; lower the subscription's max-count"
                )
            )
        arrival = Arrival(
            context.source,
            context.request_id,
            _sighting(notification),
            tuple(kept),
            tuple(sorted(reference for reference, type_ in deleted.items() if type_ == NOTE_RESOURCE))
            if self._settings.retract_deleted
            else (),
        )
        recorded = await self._pipeline.write(record_notification, arrival)
        _count_recorded(notification, kept, recorded)
        return recorded

    def _named(self, notification: Notification) -> Iterator[_Named]:
        for event in notification.events:
            for change in event.changes:
                yield _Named(change, f"{event.number}:{event.timestamp or ''}", self._literal(change))
        for change in notification.others:
            # No number tells such a one from the next: the time of the notification does.
            mark = notification.sent or str(notification.events_since_start)
            yield _Named(change, "-:" + hashlib.sha256(mark.encode()).hexdigest()[:32], self._literal(change))

    def _literal(self, change: Change) -> str | None:
        if self._base is None:
            return change.literal
        try:
            return self._base.reference(change.reference).literal
        except FhirServerError:
            return None

    def _may_fetch(self, named: _Named) -> bool:
        return self._base is not None and named.literal is not None

    async def _score(self, whole: Sequence[_Named], context: RequestContext) -> list[NamedResource]:
        """Rows for what could not be taken in now: to be fetched later, or never. Raises ServiceError."""
        by_type: dict[str, list[_Named]] = {}
        for each in whole:
            by_type.setdefault(each.type, []).append(each)
        answered = await asyncio.gather(
            *(self._takers[type_]([_resource(each) for each in group], context) for type_, group in by_type.items())
        )
        kept: list[NamedResource] = []
        for group, taken in zip(by_type.values(), answered, strict=True):
            for named, result in zip(group, taken, strict=True):
                if result.may_retry and not self._may_fetch(named):
                    raise _again(result)
                if result.may_retry:
                    kept.append(named.row())
                elif result.is_dead:
                    kept.append(named.row(result.code))
                else:
                    _count(result.code, 1)
        return kept


def _resource(named: _Named) -> dict[str, Any]:
    assert named.change.resource is not None
    return named.change.resource


def _again(taken: Taken) -> ServiceError:
    assert taken.problem is not None
    # 503 whatever it was: a subscription server sends again what failed so, and may give up after another status.
    return ServiceError(
        Problem(503, taken.problem.code, taken.problem.message, retry_after_s=taken.problem.retry_after_s or 5)
    )


def _without_content(notification: Notification) -> bool:
    if notification.kind not in _WITH_EVENTS or notification.others:
        return False
    return not notification.events or any(not event.changes for event in notification.events)


def _sighting(notification: Notification) -> Sighting:
    sent = parse_instant(notification.sent) if notification.sent else None
    return Sighting(
        kind=notification.kind,
        subscription=notification.subscription,
        topic=notification.topic,
        status=notification.status,
        numbers=tuple(event.number for event in notification.events),
        since_start=notification.events_since_start,
        without_content=_without_content(notification),
        sent_ms=int(sent.timestamp() * 1000) if sent else None,
    )


def _count(code: str, count: int) -> None:
    if count:
        from monitoring import metrics

        metrics.intake_total.labels(code).inc(count)


def _count_recorded(notification: Notification, kept: Sequence[NamedResource], recorded: Recorded) -> None:
    from monitoring import metrics

    metrics.notifications_total.labels(notification.kind).inc()
    if recorded.retracted:
        metrics.scores_retracted_total.inc(recorded.retracted)
    for each in kept:
        if each.dead_code is not None:
            metrics.intake_total.labels(each.dead_code).inc()
