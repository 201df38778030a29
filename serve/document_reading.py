"""Reading the notes of FHIR requests: how many attachments at once, and until when."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from fhir_adapters.attachments.reading import is_plain_inline
from fhir_adapters.errors import FhirInputError
from fhir_adapters.parameters import ScoreRequest
from serve.errors import Problem, internal, timed_out
from serve.fetching import make_fetcher
from serve.fhir_notes import request_to_job
from serve.logs import get_logger
from serve.note_job import NoteJob, RequestContext
from serve.outcome import Outcome
from serve.settings import Settings

# Base64 of so much text is read at once, in a millisecond or two: a thread would cost as much.
_AT_ONCE_CHARS = 64 * 1024


class DocumentReader:
    """Of one ingress replica. At most `max_parsers` attachments are fetched or parsed at once; the others wait."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._fetcher = make_fetcher(settings)
        # Threads, not a semaphore: a parser whose request timed out keeps its place until it has ended.
        self._threads = ThreadPoolExecutor(max_workers=settings.max_parsers, thread_name_prefix="parse")

    async def read(self, request: ScoreRequest, context: RequestContext) -> Outcome[NoteJob]:
        """The note of a checked request, or a problem. Never raises."""
        if is_plain_inline(request.document.contents, _AT_ONCE_CHARS):
            return self._read(request, context.source)
        try:
            async with asyncio.timeout(context.left_s):
                return await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._read, request, context.source
                )
        except TimeoutError:
            return Outcome(problem=timed_out(self._settings.deadline_s))

    def _read(self, request: ScoreRequest, source: str) -> Outcome[NoteJob]:
        try:
            return Outcome(request_to_job(request, self._settings, self._fetcher, source))
        except FhirInputError as error:
            return Outcome(problem=problem_of(error))
        except Exception as error:
            # The class alone: its text may quote the note.
            get_logger().error("reading a document failed: %s", type(error).__name__)
            return Outcome(problem=internal())


def problem_of(error: FhirInputError) -> Problem:
    """An adapter's error as plain data."""
    return Problem(error.status, error.code, error.message, expression=error.expression)
