"""Requests to one server: with a token, one renewal of it after a 401, and reads that are tried again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

from fhir_adapters.client.answers import failure, wire_failure
from fhir_adapters.client.clock import Clock
from fhir_adapters.client.errors import ErrorKind, FhirServerError
from fhir_adapters.client.tokens import TokenSource
from fhir_adapters.client.urls import Base
from fhir_adapters.client.wire import Reply, Timeouts, Wire, WireError

FHIR_JSON: Final = "application/fhir+json"
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of an answer, pages and resources of a search, attempts at a read."""

    max_response_bytes: int = 16 * 2**20
    max_pages: int = 1000
    max_resources: int = 100_000
    max_attempts: int = 4


@dataclass(frozen=True, slots=True)
class Exchange:
    """What every request to the server shares. Thread-safe. `what` in its methods is for errors: a verb and a type."""

    base: Base
    wire: Wire
    tokens: TokenSource
    timeouts: Timeouts
    limits: Limits
    clock: Clock

    def until(self, timeout_s: float | None = None) -> float:
        """When a call that begins now must end, on the client's monotonic clock."""
        return self.clock.monotonic() + (self.timeouts.total_s if timeout_s is None else timeout_s)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        what: str,
        *,
        until: float,
        max_bytes: int | None = None,
    ) -> Reply:
        """One exchange with a token, and one more after a 401 with a new token. Any status is an answer."""
        write = method in ("POST", "PUT")
        for renewed in (False, True):
            token = self.tokens.token(until)
            sent = {**headers, "Authorization": f"Bearer {token}"} if token else headers
            try:
                reply = self.wire.send(
                    method, url, headers=sent, body=body, until=until,
                    max_bytes=self.limits.max_response_bytes if max_bytes is None else max_bytes,
                )  # fmt: skip
            except WireError as error:
                if write and error.status in (200, 201) and error.headers.get("location"):
                    # The write is done and we know where: the rest of the answer is not needed.
                    return Reply(error.status, error.headers, b"")
                raise wire_failure(error, what, write=write) from None
            if reply.status != 401 or renewed or not self.tokens.refused(token):
                return reply
        raise AssertionError("unreachable")

    def get(
        self,
        url: str,
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
        expect: tuple[int, ...] = (200,),
        until: float,
        max_bytes: int | None = None,
        max_attempts: int | None = None,
    ) -> Reply:
        """The answer of a checked URL, tried again until the deadline. Raises FhirServerError."""
        for attempt in count(1):
            try:
                reply = self.send(
                    "GET", url, headers or {"Accept": FHIR_JSON}, None, what, until=until, max_bytes=max_bytes
                )
                if reply.status not in expect:
                    raise failure(reply, what, now=self.clock.now(), write=False)
                return reply
            except FhirServerError as error:
                if not self.pause(attempt, error, until, max_attempts):
                    raise
        raise AssertionError("unreachable")

    def pause(self, attempt: int, error: FhirServerError, until: float, max_attempts: int | None = None) -> bool:
        """Sleep before the next attempt at a read; False where none helps or the time left is too short."""
        most = self.limits.max_attempts if max_attempts is None else max_attempts
        if error.kind not in (ErrorKind.UNAVAILABLE, ErrorKind.THROTTLED) or attempt >= most:
            return False
        # Full jitter: many replicas lose the same server at the same moment.
        wait_s = self.clock.random() * min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)
        wait_s = max(wait_s, error.retry_after_s or 0.0)
        if self.clock.monotonic() + wait_s >= until:
            return False
        self.clock.sleep(wait_s)
        return True
