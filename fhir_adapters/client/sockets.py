"""Connections whose every read and write ends at the deadline of the exchange that uses them.

httpx's time-outs are for one read from the socket: a server that sends a byte now and then, in the headers or in the
body, holds a thread for ever. Here each read gets what is left until the deadline.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import httpcore
import httpx

from fhir_adapters.client.clock import Clock

_SLICE: Final = 65_536


@dataclass(slots=True)
class Call:
    """One exchange: until when (monotonic seconds; None for ever), and whether any of the request was sent."""

    until: float | None
    clock: Clock
    sent: bool = False

    def left_s(self, timeout: float | None) -> float | None:
        """The time-out, or what is left until the deadline where that is less. Raises httpcore.ReadTimeout."""
        if self.until is None:
            return timeout
        left = self.until - self.clock.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("deadline")
        return left if timeout is None else min(left, timeout)


# The exchange that runs in this thread: httpcore hands a stream no more than the time-out of one read.
_CALL: ContextVar[Call | None] = ContextVar("call", default=None)


class _Stream(httpcore.NetworkStream):
    """A connection whose reads and writes end at the deadline of the exchange that uses it."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # In slices: a stream applies its time-out to each send, and a slow reader would start it anew each time.
        for start in range(0, len(buffer), _SLICE):
            left = _left(timeout)
            if (call := _CALL.get()) is not None:
                call.sent = True
            self._inner.write(buffer[start : start + _SLICE], left)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(host, port, _left(timeout), local_address, socket_options))


def _left(timeout: float | None) -> float | None:
    call = _CALL.get()
    return timeout if call is None else call.left_s(timeout)


class _Body(httpx.SyncByteStream):
    def __init__(self, pieces: Any) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    def close(self) -> None:
        self._pieces.close()


class DeadlineTransport(httpx.BaseTransport):
    """httpx over such connections, for one thread at a time. Raises httpcore's errors as they are."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            # One exchange at a time, and a connection kept for each of the few servers: base, tokens, files.
            max_connections=4,
            # Under the keep-alive of common servers and proxies: a write on a connection that is being closed is lost.
            keepalive_expiry=4.0,
            network_backend=_Backend(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    def close(self) -> None:
        self._pool.close()


@contextmanager
def running(call: Call) -> Iterator[None]:
    """Within it this thread's connections end at the call's deadline."""
    mark = _CALL.set(call)
    try:
        yield
    finally:
        _CALL.reset(mark)
