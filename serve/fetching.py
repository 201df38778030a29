"""Reading attachments that are URLs from the one configured FHIR server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson

from fhir_adapters.attachments.fetching import FetchedBinary, Fetcher, NoFetcher, binary_content
from fhir_adapters.errors import FhirInputError
from serve.settings import Settings

if TYPE_CHECKING:
    import httpx

_URL = "DocumentReference.content.attachment.url"


class HttpFetcher:
    """Fetches a checked URL under `fhir_base`; follows no redirect, uses no proxy from the environment. Thread-safe."""

    def __init__(self, fhir_base: str, *, max_bytes: int, timeout_s: float) -> None:
        import httpx

        self.fhir_base: str | None = fhir_base
        self._max_bytes = max_bytes
        self._client = httpx.Client(
            timeout=timeout_s, follow_redirects=False, trust_env=False,
            headers={"Accept": "application/fhir+json, */*;q=0.5", "Accept-Encoding": "identity"},
        )  # fmt: skip
        self._timeout_s = timeout_s

    def fetch(self, url: str) -> FetchedBinary:
        """The Binary at `url`. Raises FhirInputError: 424 not-found, 502 transient, 422 security or too-long."""
        import httpx

        until = time.monotonic() + self._timeout_s
        try:
            with self._client.stream("GET", url) as answer:
                self._check_status(answer.status_code)
                body = self._read(answer, until)
                content_type = answer.headers.get("content-type", "application/octet-stream")
        except (httpx.HTTPError, httpx.InvalidURL):
            raise FhirInputError(
                "the FHIR server that holds the attachment does not answer; send it again later",
                code="transient", status=502, expression=_URL,
            ) from None  # fmt: skip
        if content_type.partition(";")[0].strip().lower() in ("application/fhir+json", "application/json"):
            return self._of_resource(body)
        return FetchedBinary(content_type, body)

    def _check_status(self, status: int) -> None:
        if 300 <= status < 400:
            raise FhirInputError(
                "the attachment's url answers with a redirect, which is not followed; send attachment.data",
                code="security", expression=_URL,
            )  # fmt: skip
        if status in (401, 403, 404, 410):
            raise FhirInputError(
                f"the FHIR server answered {status} for the attachment; mend the reference or send attachment.data",
                code="not-found", status=424, expression=_URL,
            )  # fmt: skip
        if status != 200:
            raise FhirInputError(
                f"the FHIR server answered {status} for the attachment; send it again later",
                code="transient", status=502, expression=_URL,
            )  # fmt: skip

    def _read(self, answer: httpx.Response, until: float) -> bytes:
        pieces: list[bytes] = []
        size = 0
        # Base64 in a Binary resource is a third longer than what it holds.
        cap = self._max_bytes * 4 // 3 + 4096
        for piece in answer.iter_bytes():
            # The client's own time-out is a piece's: a byte now and then would hold this thread for ever.
            if time.monotonic() > until:
                raise FhirInputError(
                    f"the FHIR server did not send the attachment within {self._timeout_s:g} s; send it again later",
                    code="transient", status=502, expression=_URL,
                )  # fmt: skip
            size += len(piece)
            if size > cap:
                raise FhirInputError(
                    f"the attachment is over {self._max_bytes} bytes; send a shorter one",
                    code="too-long",
                    expression=_URL,
                )
            pieces.append(piece)
        return b"".join(pieces)

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
    return HttpFetcher(
        settings.fhir_base_url, max_bytes=settings.max_attachment_bytes, timeout_s=min(10.0, settings.deadline_s)
    )
