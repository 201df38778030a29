"""Fetching the notes that a CDS Hooks call did not bring along, with the token that it brought."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from fhir_adapters.cds_hooks import MAX_NOTES, CdsRequest, CdsService
from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import ErrorKind, FhirServerError
from fhir_adapters.client.tokens import StaticToken
from fhir_adapters.client.urls import Base
from lang1.errors import Lang1Error
from lang1.tasks import TaskRegistry
from serve.ehr.connection import make_client
from serve.errors import Problem, ServiceError, timed_out
from serve.note_job import RequestContext
from serve.settings import Settings

_AT_ONCE = 8
_MAX_UNSORTED = 200


class CdsNotes:
    """Of one ingress replica. Asks the configured FHIR server alone: a call cannot send the service elsewhere."""

    def __init__(self, settings: Settings) -> None:
        self._client: FhirClient | None = make_client(settings)
        self._deadline_s = settings.deadline_s
        self._threads = ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="cds-notes")

    async def fetch(
        self, asked: CdsRequest, service: CdsService, registry: TaskRegistry, context: RequestContext
    ) -> CdsRequest | None:
        """The call with the notes of its encounter or patient; None where they are not to be had.

        Raises ServiceError: 504 timeout; FhirInputError for another patient's note.
        """
        if self._client is None or asked.access is None or not self._is_ours(asked.access.server):
            return None
        token = asked.access.token
        client = self._client if token is None else self._client.with_token(StaticToken(token))
        encounter = None if asked.encounter is None else _bare(asked.encounter)
        query = service.query(registry, _bare(asked.patient), encounter)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(context.left_s):
                found = await loop.run_in_executor(self._threads, _search, client, query, context.left_s)
        except TimeoutError:
            raise ServiceError(timed_out(self._deadline_s)) from None
        except FhirServerError as error:
            if error.kind in (ErrorKind.UNAVAILABLE, ErrorKind.THROTTLED):
                raise ServiceError(_away(error)) from None
            return None
        return asked.with_fetched(found)

    def _is_ours(self, server: str) -> bool:
        assert self._client is not None
        try:
            return Base.of(server) == self._client.base
        except Lang1Error:
            return False


def _bare(reference: str) -> str:
    return reference.partition("/")[2]


def _search(client: FhirClient, query: dict[str, str], timeout_s: float) -> list[dict[str, Any]]:
    """The newest notes; of a server that does not sort, all up to a cap: the newest are chosen from them later."""
    try:
        return _first(client, query, MAX_NOTES, timeout_s)
    except FhirServerError as error:
        if error.kind is not ErrorKind.REJECTED:
            raise
    unsorted = {name: value for name, value in query.items() if name not in ("_sort", "_count")}
    return _first(client, unsorted, _MAX_UNSORTED, timeout_s)


def _first(client: FhirClient, query: dict[str, str], count: int, timeout_s: float) -> list[dict[str, Any]]:
    # Not strictly: what a server leaves out of the query is judged again here.
    return list(islice(client.search("DocumentReference", query, strict=False, timeout_s=timeout_s), count))


def _away(error: FhirServerError) -> Problem:
    wait = None if error.retry_after_s is None else max(1, round(error.retry_after_s))
    return Problem(
        502, "transient", "the FHIR server that holds the notes does not answer; call again later", retry_after_s=wait
    )
