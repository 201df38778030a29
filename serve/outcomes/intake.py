"""Resources of a feed into facts and labels: the way in that a batch, a subscription and a bulk export share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from fhir_adapters.errors import FhirInputError
from fhir_adapters.outcomes.facts import FACT_TYPES, Fact, Reading
from fhir_adapters.outcomes.mapping import load_outcome_mapping
from fhir_adapters.outcomes.reading import read_deletion, read_fact
from lang1.tasks import Task
from serve.document_reading import problem_of
from serve.errors import Problem, ServiceError
from serve.intake.take_in import Taken
from serve.note_job import RequestContext
from serve.outcome import Outcome
from serve.outcomes.context import label_context
from serve.outcomes.merging import Change
from serve.outcomes.record import record_facts
from serve.outcomes.written import WrittenLabel
from serve.pipeline import Pipeline
from serve.settings import Settings

# A writer that takes in an export must not keep scores waiting behind it.
FACTS_PER_TRANSACTION = 200


@dataclass(frozen=True, slots=True)
class FactReceipt:
    """What became of one resource. `notes` say what in it counts for nothing; they hold no content."""

    type: str
    change: Change
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deletion:
    """A DELETE of a resource, among others to be taken in."""

    type: str
    id: str


def reading(settings: Settings) -> Reading:
    """How facts are read now, by these settings. Raises MappingFileError."""
    return Reading(
        mapping=load_outcome_mapping(settings.outcome_mapping_file),
        zone=ZoneInfo(settings.hospital_timezone),
        now=datetime.now(UTC),
        base_url=settings.fhir_base_url,
    )


def read_facts(resources: Sequence[dict[str, Any] | Deletion], settings: Settings) -> list[Outcome[Fact]]:
    """Each resource's fact, or its problem. Checking a resource takes milliseconds: call it in a thread."""
    how = reading(settings)
    return [_read(each, how) for each in resources]


async def take_in(
    pipeline: Pipeline, resources: Sequence[dict[str, Any] | Deletion], source: str, settings: Settings
) -> list[Outcome[FactReceipt]]:
    """Take in resources from `source`, in order; each fails alone. All that are good are in one transaction (of
    FACTS_PER_TRANSACTION at most) with the labels that they change. Raises ServiceError when that was not recorded.
    """
    read = await asyncio.to_thread(read_facts, resources, settings)
    registry = await pipeline.model.registry()
    context = label_context(settings, registry)
    good = [outcome.unwrap() for outcome in read if outcome.problem is None]
    changes: list[Change] = []
    for start in range(0, len(good), FACTS_PER_TRANSACTION):
        part = good[start : start + FACTS_PER_TRANSACTION]
        # Shielded: once begun, it ends whether or not the client still listens.
        done = await asyncio.shield(pipeline.write(record_facts, context.record_of(source), part, context))
        changes += done.changes
        count_labels(done.labels, registry)
    recorded = iter(zip(good, changes, strict=True))
    receipts: list[Outcome[FactReceipt]] = []
    for outcome in read:
        if outcome.problem is not None:
            receipts.append(Outcome(problem=outcome.problem))
        else:
            fact, change = next(recorded)
            receipts.append(Outcome(FactReceipt(fact.identity.type, change, fact.notes)))
    _count_facts(resources, receipts)
    return receipts


class TakeInFacts:
    """`take_in` for the service's own feeds: every problem is in the answer."""

    def __init__(self, pipeline: Pipeline, settings: Settings) -> None:
        self._pipeline = pipeline
        self._settings = settings

    async def __call__(self, resources: Sequence[dict[str, Any]], context: RequestContext) -> list[Taken]:
        return await self._take(resources, context)

    async def gone(self, reference: str, context: RequestContext) -> Taken:
        """A resource was deleted: what it said is taken back."""
        kind, _, own_id = reference.partition("/")
        (taken,) = await self._take([Deletion(kind, own_id)], context)
        return taken

    async def _take(self, resources: Sequence[dict[str, Any] | Deletion], context: RequestContext) -> list[Taken]:
        try:
            receipts = await take_in(self._pipeline, resources, context.source, self._settings)
        except ServiceError as error:
            return [Taken.failed(error.problem)] * len(resources)
        return [
            Taken(each.unwrap().change) if each.problem is None else Taken.failed(each.problem) for each in receipts
        ]


def fact_takers(pipeline: Pipeline, settings: Settings) -> dict[str, TakeInFacts]:
    """The taker of each type of facts, for `serve.intake.take_in.takers`."""
    taker = TakeInFacts(pipeline, settings)
    return dict.fromkeys(FACT_TYPES, taker)


def _read(resource: dict[str, Any] | Deletion, how: Reading) -> Outcome[Fact]:
    try:
        if isinstance(resource, Deletion):
            return Outcome(read_deletion(resource.type, resource.id))
        return Outcome(read_fact(resource, how))
    except FhirInputError as error:
        return Outcome(problem=problem_of(error))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        # A shape that no check foresaw; the error's own text may quote it.
        return Outcome(problem=Problem(422, "invalid", "the resource is not R4; check it with a validator"))


def _count_facts(resources: Sequence[dict[str, Any] | Deletion], receipts: Sequence[Outcome[FactReceipt]]) -> None:
    from monitoring import metrics

    for resource, receipt in zip(resources, receipts, strict=True):
        named = resource.type if isinstance(resource, Deletion) else resource.get("resourceType")
        kind = named if named in FACT_TYPES else "other"
        code = receipt.problem.code if receipt.problem is not None else receipt.unwrap().change
        metrics.facts_total.labels(kind, code).inc()


def count_labels(labels: Sequence[WrittenLabel], tasks: Mapping[str, Task]) -> None:
    """Feed the metrics from labels that were written: by option code, or by the reason why there is none."""
    from monitoring import metrics

    for label in labels:
        task = tasks.get(label.task)
        if task is not None:
            code = label.reason if label.option is None else task.options[label.option].code
            metrics.outcomes_total.labels(label.task, code).inc()
