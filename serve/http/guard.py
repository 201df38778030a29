"""The ingress's own outermost layer: no exception leaves it, every answer is marked, counted and of a wanted type."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.auth.access import PAGES
from serve.auth.addresses import is_loopback
from serve.errors import Problem, ServiceError, internal
from serve.http.answers import is_fhir_path, problem_response
from serve.http.edge import INGRESS_MARK
from serve.logs import get_logger
from serve.settings import Settings

_FHIR_ACCEPTED = ("application/fhir+json", "application/json", "application/json+fhir", "text/json")
_PLAIN_ACCEPTED = ("application/json", "application/problem+json")
_HTML_ACCEPTED = ("text/html", "application/xhtml+xml", *_PLAIN_ACCEPTED)
_PROBES = frozenset({"/livez", "/readyz"})
# Probes and scrapes are not traffic: they would dilute the error rate.
_UNCOUNTED = _PROBES | {"/metrics"}


@dataclass(frozen=True, slots=True)
class Exposure:
    """To whom the guard leaves requests: with authentication to the gate, else to programs of this machine."""

    authenticates: bool = False
    open_paths: frozenset[str] = _PROBES
    """Answered from anywhere."""
    public_host: str | None = None
    """Host name of public_base_url: what a proxy on this machine may pass on."""

    @classmethod
    def of(cls, settings: Settings) -> Exposure:
        """As the settings say."""
        public = urlsplit(settings.public_base_url or "").hostname
        opened = _UNCOUNTED if settings.metrics_access == "open" else _PROBES
        return cls(settings.authenticates, opened, public)


class Guard:
    """ASGI middleware around the FastAPI app of one ingress replica."""

    def __init__(self, app: ASGIApp, exposure: Exposure | None = None) -> None:
        self._app = app
        self._exposure = exposure or Exposure()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        if scope["path"] == "/fhir/":
            # What clients make of the base URL and an empty path when they send a batch.
            scope = {**scope, "path": "/fhir"}
        path = scope["path"]
        status = 0

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), INGRESS_MARK]}
            await send(message)

        try:
            if refused := _from_elsewhere(scope, path, self._exposure) or _unmet_accept(Request(scope), path):
                await problem_response(path, refused)(scope, receive, marked)
            else:
                await self._app(scope, receive, marked)
        except asyncio.CancelledError:
            status = status or 499
            raise
        except ServiceError as error:
            if not status:
                await problem_response(path, error.problem)(scope, receive, marked)
        except Exception as error:
            # The class and place alone: the text of an unplanned error may quote a note.
            get_logger().error("unplanned error: %s", _class_and_place(error))
            if not status:
                await problem_response(path, internal())(scope, receive, marked)
        finally:
            if path not in _UNCOUNTED:
                _count(status or 500, time.monotonic() - started)


def _count(status: int, seconds: float) -> None:
    from monitoring import metrics

    metrics.requests_total.labels(str(status)).inc()
    metrics.request_duration_seconds.labels(str(status)).observe(seconds)


def _from_elsewhere(scope: Scope, path: str, exposure: Exposure) -> Problem | None:
    if exposure.authenticates or path in exposure.open_paths:
        return None
    # `host` is checked at the start, but a Serve config file binds by its own http_options (0.0.0.0 by default).
    server = scope.get("server")
    if server and not is_loopback(server[0]):
        return Problem(
            403, "forbidden", "there is no authentication, so only loopback connections are answered; bind to 127.0.0.1"
        )
    # A web page can have its own host name resolve to 127.0.0.1 and read answers as its own; the Host header tells.
    host = _host_name(scope)
    if host is None or is_loopback(host) or host == exposure.public_host:
        return None
    return Problem(
        403, "forbidden", "there is no authentication, so only the host names localhost and 127.0.0.1 are answered; "
        "call one of them, or set public_base_url",
    )  # fmt: skip


def _host_name(scope: Scope) -> str | None:
    """Of the Host header, without port; None without one, which no browser leaves out."""
    values = [value for name, value in scope["headers"] if name == b"host"]
    if not values:
        return None
    try:
        return urlsplit(f"//{values[0].decode('ascii')}").hostname or ""
    except ValueError:
        return ""


def _class_and_place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    return f"{type(error).__name__} at {place}"


def _unmet_accept(request: Request, path: str) -> Problem | None:
    if path in _UNCOUNTED:
        return None
    offered = _HTML_ACCEPTED if path in PAGES else _FHIR_ACCEPTED if is_fhir_path(path) else _PLAIN_ACCEPTED
    wanted = request.query_params.get("_format") if is_fhir_path(path) else None
    if wanted is not None:
        # A "+" in a query string arrives as a space.
        met = wanted.replace(" ", "+").partition(";")[0].lower() in (*offered, "json")
    else:
        met = _accepts(request.headers.getlist("accept"), offered)
    if met:
        return None
    return Problem(406, "not-supported", f"only {offered[0]} is answered; ask for that")


def _accepts(headers: Iterable[str], offered: tuple[str, ...]) -> bool:
    ranges = [part.strip().lower() for header in headers for part in header.split(",") if part.strip()]
    if not ranges:
        return True
    for each in ranges:
        media, _, parameters = each.partition(";")
        media = media.strip()
        refused = any(
            p.strip().replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for p in parameters.split(";")
        )
        if not refused and (media in offered or media in ("*/*", f"{offered[0].partition('/')[0]}/*")):
            return True
    return False
