"""Documents that are taken back: their scores are marked before the document itself is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_adapters.batch import SCORE_URLS
from fhir_adapters.entered_in_error import MistakenDocument, mistaken_document
from fhir_adapters.parameters import DOCUMENT
from fhir_adapters.references import objects
from serve.note_job import RequestContext
from serve.pipeline import Pipeline
from serve.store.retraction import take_back


async def retract_mistaken(pipeline: Pipeline, resource: Mapping[str, Any], context: RequestContext) -> bool:
    """Whether a DocumentReference, or Parameters of `$score` with one, was entered in error; then its scores are too.

    Raises ServiceError when that could not be recorded: the sender must send it again.
    """
    mistaken = mistaken_document(resource)
    if mistaken is None and resource.get("resourceType") == "Parameters":
        for parameter in objects(resource.get("parameter")):
            if parameter.get("name") == DOCUMENT and isinstance(parameter.get("resource"), dict):
                mistaken = mistaken or mistaken_document(parameter["resource"])
    if mistaken is None:
        return False
    await retract(pipeline, mistaken, context)
    return True


async def retract_mistaken_entries(pipeline: Pipeline, batch: Mapping[str, Any], context: RequestContext) -> None:
    """The same for each note of a batch Bundle. Raises ServiceError."""
    for entry in objects(batch.get("entry")):
        request, resource = entry.get("request"), entry.get("resource")
        if not isinstance(request, dict) or not isinstance(resource, dict):
            continue
        if request.get("method") == "POST" and str(request.get("url")).removeprefix("/") in SCORE_URLS:
            await retract_mistaken(pipeline, resource, context)


async def retract(pipeline: Pipeline, mistaken: MistakenDocument, context: RequestContext) -> int:
    """Take back the scores of a document. How many changed. Raises ServiceError."""
    changed = await pipeline.write(take_back, context.source, mistaken.document, mistaken.subject, context.request_id)
    if changed:
        from monitoring import metrics

        metrics.scores_retracted_total.inc(changed)
    return changed
