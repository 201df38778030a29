"""One HTTP exchange with limits that hold: a deadline over headers and body, a cap on bytes, no redirect, no proxy."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpcore
import httpx

from fhir_adapters.client.clock import SYSTEM_CLOCK, Clock
from fhir_adapters.client.slots import Slots
from fhir_adapters.client.sockets import Call, DeadlineTransport, running

# At INFO httpx writes every URL, and a search's URL names a patient; at DEBUG httpcore writes tokens.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_USER_AGENT: Final = "lang1"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, between two pieces of an answer, and for a whole call with its retries and its body."""

    connect_s: float = 5.0
    read_s: float = 15.0
    total_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers and whole body of an answer."""

    status: int
    headers: httpx.Headers
    body: bytes


class WireError(Exception):
    """No whole answer. `sent`: some of the request may have reached the server. `status`: the answer had begun."""

    def __init__(
        self, why: str, *, sent: bool, status: int | None = None, headers: httpx.Headers | None = None
    ) -> None:
        super().__init__(why)
        self.why = why
        self.sent = sent
        self.status = status
        self.headers = headers or httpx.Headers()


class OversizeError(WireError):
    """The answer is over the cap of bytes."""


class Wire:
    """At most `max_connections` exchanges at once; connections are kept for the next. Thread-safe."""

    def __init__(
        self,
        *,
        timeouts: Timeouts,
        tls: ssl.SSLContext | None = None,
        max_connections: int = 16,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._clock = clock
        self._timeouts = timeouts
        self._tls = tls
        self._slots = Slots(max_connections, self._client)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._slots.close()

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, until: float, max_bytes: int
    ) -> Reply:
        """The whole answer. Raises WireError, and OversizeError over `max_bytes`."""
        call = Call(until, self._clock)
        with self._answer(call, method, url, headers, body) as answer, running(call):
            pieces, size = [], 0
            try:
                for piece in _pieces(answer, max_bytes):
                    # A full buffer asks the socket for nothing, and so meets no time-out there.
                    call.left_s(None)
                    size += len(piece)
                    if size > max_bytes:
                        raise _oversize(answer)
                    pieces.append(piece)
            except _FAULTS as error:
                raise WireError(_why(error), sent=True, status=answer.status_code, headers=answer.headers) from None
            return Reply(answer.status_code, answer.headers, b"".join(pieces))

    @contextmanager
    def stream(
        self, url: str, *, headers: Mapping[str, str], until: float
    ) -> Iterator[tuple[int, httpx.Headers, Iterator[bytes]]]:
        """Status, headers and pieces of a GET; `until` holds for the headers, the read time-out for each piece after.

        Raises WireError, also while the pieces are taken.
        """
        with self._answer(Call(until, self._clock), "GET", url, headers, None) as answer:
            # Outside the call: who takes the pieces may do other requests between two of them.
            yield answer.status_code, answer.headers, _checked(answer)

    @contextmanager
    def _answer(
        self, call: Call, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Iterator[httpx.Response]:
        timeouts = self._timeouts
        with ExitStack() as stack:
            try:
                first = call.left_s(timeouts.connect_s)
                limits = httpx.Timeout(connect=first, pool=first, read=timeouts.read_s, write=timeouts.read_s)
                client = stack.enter_context(self._slots.one(first or 0.0))
                with running(call):
                    request = client.build_request(method, url, headers=dict(headers), content=body, timeout=limits)
                    answer = client.send(request, stream=True)
            except TimeoutError:
                raise WireError("timeout", sent=False) from None
            except _FAULTS as error:
                raise WireError(_why(error), sent=call.sent) from None
            stack.callback(answer.close)
            yield answer

    def _client(self) -> httpx.Client:
        return httpx.Client(
            transport=DeadlineTransport(self._tls),
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"},
            # A session that a server ties to one token must not go along with another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )


# Of httpx: a URL it cannot read, a Content-Encoding that cannot be undone. What the sockets raise is httpcore's.
_FAULTS: Final = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
)


def _pieces(answer: httpx.Response, max_bytes: int) -> Iterator[bytes]:
    length = answer.headers.get("content-length", "")
    if length.isdecimal() and len(length) < 20 and int(length) > max_bytes:
        raise _oversize(answer)
    return answer.iter_bytes()


def _oversize(answer: httpx.Response) -> OversizeError:
    return OversizeError("oversize", sent=True, status=answer.status_code, headers=answer.headers)


def _checked(answer: httpx.Response) -> Iterator[bytes]:
    try:
        yield from answer.iter_bytes()
    except _FAULTS as error:
        raise WireError(_why(error), sent=True, status=answer.status_code) from None


def _why(error: BaseException) -> str:
    """A word of ours for what broke: the library's text may quote what was sent."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "certificate"
        cause = cause.__cause__ or cause.__context__
    return "timeout" if isinstance(error, httpcore.TimeoutException | httpx.TimeoutException) else "connection"
