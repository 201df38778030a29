"""Around Ray's own proxy: what its logs, its timeouts and its error bodies must not see or show.

Ray Serve loads this through RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH and runs it in the proxy process.
"""

from __future__ import annotations

import logging
from typing import Any, cast

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import Problem, scorer_away
from serve.http.answers import problem_response
from serve.http.request_id import HEADER, valid_or_new

# Ray obeys these headers: a client could set its own time-out, and get Ray's plain-text 408.
_RAY_CONTROL_HEADERS = frozenset(
    {b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve_multiplexed_model_id", b"x-session-id"}
)
# A body of this size or less goes to the ingress with the request; a larger one is streamed, one actor call a piece.
INLINE_BODY_BYTES = 256 * 1024
INLINE_BODY_KEY = "lang1.body"
# Every answer of the ingress carries this; one without it is Ray's own.
INGRESS_MARK = (b"x-lang1", b"1")


class Edge:
    """ASGI middleware outside Ray's proxy app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # No route here is a websocket; Ray would hold one open.
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == HEADER), None)
        headers = [(n, v) for n, v in scope["headers"] if n not in _RAY_CONTROL_HEADERS and n != HEADER]
        headers.append((HEADER, valid_or_new(given).encode()))
        scope = {**scope, "headers": headers}
        receive = await _inline_small_body(scope, receive)
        await self._app(scope, receive, _Answer(scope["path"], send))


async def _inline_small_body(scope: Scope, receive: Receive) -> Receive:
    """Put a small body of known length into the scope, so that the ingress need not call back for it."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    if not length.isdigit() or not 0 < int(length) <= INLINE_BODY_BYTES:
        return receive
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return _replay([message], receive)
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    scope["extensions"] = {**(scope.get("extensions") or {}), INLINE_BODY_KEY: {"body": b"".join(pieces)}}
    # Ray watches `receive` for a client that goes away, so it still gets an end of body, without the bytes.
    return _replay([{"type": "http.request", "body": b"", "more_body": False}], receive)


def _replay(messages: list[Message], receive: Receive) -> Receive:
    async def next_message() -> Message:
        return messages.pop(0) if messages else await receive()

    return next_message


class _Answer:
    """Passes the ingress's answers on, and puts our own in the place of Ray's."""

    def __init__(self, path: str, send: Send) -> None:
        self._path = path
        self._send = send
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: list[tuple[bytes, bytes]] = [(bytes(n), bytes(v)) for n, v in message.get("headers", [])]
            if INGRESS_MARK in headers:
                await self._send({**message, "headers": [h for h in headers if h != INGRESS_MARK]})
                return
            if message["status"] >= 400:
                self._replaced = True
                request_id = [(n, v) for n, v in headers if n.lower() == HEADER]
                await self._replace(message["status"], request_id)
                return
        if not self._replaced:
            await self._send(message)

    async def _replace(self, status: int, kept: list[tuple[bytes, bytes]]) -> None:
        problem = scorer_away() if status in (408, 429, 503) else _UNFINISHED
        response = problem_response(self._path, problem)
        await self._send(
            {"type": "http.response.start", "status": problem.status, "headers": response.raw_headers + kept}
        )
        await self._send({"type": "http.response.body", "body": response.body})


def _is_no_access(record: logging.LogRecord) -> bool:
    # The access log holds paths, which name records; a Serve config file may leave it on.
    return not getattr(record, "serve_access_log", False)


_UNFINISHED = Problem(
    503, "transient", "the request was not finished; send it again: what was recorded is answered from the store",
    retry_after_s=1,
)  # fmt: skip


def proxy_middlewares() -> list[Any]:
    """The callback that Ray Serve's proxy calls at its start."""
    for handler in logging.getLogger("ray.serve").handlers:
        handler.addFilter(_is_no_access)
    return [Middleware(cast("Any", Edge))]
