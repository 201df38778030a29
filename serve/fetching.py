"""Reading attachments that are URLs from the one configured FHIR server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from fhir_adapters.attachments.fetching import FetchedBinary, Fetcher, NoFetcher, binary_content
from fhir_adapters.errors import FhirInputError
from serve.settings import Settings

if TYPE_CHECKING:
    from fhir_adapters.client.client import FhirClient
    from fhir_adapters.client.errors import FhirServerError

_URL = "DocumentReference.content.attachment.url"
# Someone waits for the answer, and few attachments are read at once: one more attempt, not four.
_ATTEMPTS = 2


class HttpFetcher:
    """Fetches a checked URL with the FHIR client: its token, its TLS, no redirect. Thread-safe."""

    def __init__(self, client: FhirClient, *, max_bytes: int, timeout_s: float) -> None:
        self.fhir_base: str | None = client.base_url
        self._client = client
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    def fetch(self, url: str) -> FetchedBinary:
        """The Binary at `url`. Raises FhirInputError: 424 not-found, 502 transient, 422 security or too-long."""
        from fhir_adapters.client.errors import FhirServerError

        try:
            content_type, body = self._client.read_bytes(
                url,
                accept="application/fhir+json, */*;q=0.5",
                # Base64 in a Binary resource is a third longer than what it holds.
                max_bytes=self._max_bytes * 4 // 3 + 4096,
                timeout_s=self._timeout_s,
                max_attempts=_ATTEMPTS,
            )
        except FhirServerError as error:
            raise self._problem(error) from None
        if content_type.partition(";")[0].strip().lower() in ("application/fhir+json", "application/json"):
            return self._of_resource(body)
        return FetchedBinary(content_type, body)

    def _problem(self, error: FhirServerError) -> FhirInputError:
        """The client's error as what the sender of the document can do about it."""
        from fhir_adapters.client.errors import ErrorKind

        if error.kind is ErrorKind.SECURITY:
            return FhirInputError(
                "the attachment's url is answered from elsewhere, which is not followed; send attachment.data",
                code="security", expression=_URL,
            )  # fmt: skip
        if error.kind is ErrorKind.TOO_LONG:
            return FhirInputError(
                f"the attachment is over {self._max_bytes} bytes; send a shorter one", code="too-long", expression=_URL
            )
        answered = "does not answer" if error.status is None else f"answered {error.status} for it"
        if error.kind in (ErrorKind.NOT_FOUND, ErrorKind.UNAUTHORIZED, ErrorKind.FORBIDDEN):
            return FhirInputError(
                f"the FHIR server that holds the attachment {answered}; mend the reference or send attachment.data",
                code="not-found", status=424, expression=_URL,
            )  # fmt: skip
        return FhirInputError(
            f"the FHIR server that holds the attachment {answered}; send it again later",
            code="transient", status=502, expression=_URL,
        )  # fmt: skip

    def _of_resource(self, body: bytes) -> FetchedBinary:
        try:
            resource = orjson.loads(body)
        except orjson.JSONDecodeError:
            resource = None
        if not isinstance(resource, dict):
            raise FhirInputError(
                "the FHIR server's answer for the attachment is not JSON; send attachment.data",
                code="transient", status=502, expression=_URL,
            )  # fmt: skip
        return binary_content(resource, self._max_bytes)


def make_fetcher(settings: Settings) -> Fetcher:
    """A fetcher for the configured FHIR server; without one, a fetcher that refuses every URL."""
    if settings.fhir_base_url is None:
        return NoFetcher()
    # Imported where a FHIR server is configured: without one the HTTP client and its TLS are never needed.
    from serve.ehr.connection import make_client

    client = make_client(settings)
    assert client is not None
    return HttpFetcher(
        client,
        max_bytes=settings.max_attachment_bytes,
        timeout_s=min(10.0, settings.ehr_timeout_s, settings.deadline_s),
    )
