"""The test EHR: a FHIR R4 server over real HTTP, in memory.

with TestEhr() as ehr:
    ehr.add({"resourceType": "Patient"})            # -> "Patient/ehr-1"
    ehr.faults.drop_after(path="RiskAssessment")    # the next write is done and its answer is lost
    ehr.auth.required = True                        # tokens, after ehr.auth.register(client_id, jwks)
    ehr.behaviour.location = "relative"             # what differs between real servers
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, cast

from tests.ehr.bulk import EXPORT, BulkServer
from tests.ehr.faults import Fault, Faults
from tests.ehr.messages import Refused, Reply, Request, Seen, outcome
from tests.ehr.rest import Behaviour, Rest
from tests.ehr.smart import AuthServer
from tests.ehr.store import Resource, ResourceStore

BASE_PATH = "/fhir"
_KEPT_HEADERS = {
    "accept", "authorization", "content-type", "cookie", "if-match", "if-none-exist", "prefer", "user-agent",
    "x-request-id",
}  # fmt: skip


class TestEhr:
    """`url` is the FHIR base. Use as a context manager; `down()` takes it off the network for a while."""

    __test__ = False  # not a test case of pytest's

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._port = 0
        self._server: _Server | None = None
        self._listen()
        scheme = "http" if tls is None else "https"
        self.origin = f"{scheme}://127.0.0.1:{self._port}"
        self.url = self.origin + BASE_PATH
        self.faults = Faults()
        self.behaviour = Behaviour()
        self.store = ResourceStore()
        self.auth = AuthServer(f"{self.origin}/auth/token")
        self.bulk = BulkServer(self.store, self.origin)
        self._rest = Rest(self.store, self.behaviour, self.url)
        self.connections = 0
        """How many were opened."""
        self._seen: list[Seen] = []
        self._seen_lock = threading.Lock()

    def __enter__(self) -> TestEhr:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.end()
            self._server = None

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nothing listens on the port meanwhile; what is stored stays."""
        self.close()
        try:
            yield
        finally:
            self._listen()

    def add(self, resource: Resource, *, last_updated: str | None = None) -> str:
        """Store a resource (a new version where its id is known) as if another system had sent it: `Type/id`."""
        kept = self.store.put(resource, last_updated)
        return f"{kept['resourceType']}/{kept['id']}"

    def resources(self, resource_type: str) -> list[Resource]:
        """The current version of each resource of the type, oldest resource first."""
        return self.store.of_type(resource_type)

    def history(self, reference: str) -> list[Resource | None]:
        """Every version, oldest first; None is a deletion."""
        return self.store.history(reference)

    def requests(self, method: str | None = None, path: str = "") -> list[Seen]:
        """What was asked, in the order of the answers; `path` is part of the path."""
        with self._seen_lock:
            seen = list(self._seen)
        return [each for each in seen if method in (None, each.method) and path in each.path]

    def clear_requests(self) -> None:
        with self._seen_lock:
            self._seen.clear()

    def _listen(self) -> None:
        self._server = _Server(self, self._port, self._tls)
        self._port = self._server.server_port
        self._server.begin()

    def record(self, request: Request, status: int | None) -> None:
        kept = {name: value for name, value in request.headers.items() if name in _KEPT_HEADERS}
        with self._seen_lock:
            self._seen.append(Seen(request.method, request.path, request.query, kept, request.body, status))

    def answer(self, request: Request) -> Reply:
        """What the server answers where nothing goes wrong."""
        try:
            return self._answer(request)
        except Refused as refused:
            return refused.reply

    def _answer(self, request: Request) -> Reply:
        if request.path == "/auth/token":
            return self.auth.answer(request)
        if request.path.startswith("/bulk/"):
            is_file = request.path.count("/") == 3
            if not is_file or self.bulk.behaviour.requires_access_token:
                self.auth.check(request, None)
            return self.bulk.answer(request, request.path.removeprefix("/bulk/"))
        if request.path != BASE_PATH and not request.path.startswith(BASE_PATH + "/"):
            raise Refused(404, "not-found")
        path = request.path[len(BASE_PATH) + 1 :]
        if path == ".well-known/smart-configuration":
            return self.auth.configuration()
        type_ = path.partition("/")[0]
        if path != "metadata":
            self.auth.check(request, type_ if type_ and "$" not in path else None)
        if EXPORT.fullmatch(path):
            return self.bulk.start(request, f"{self.url}/{path}")
        return self._rest.answer(request, path)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    block_on_close = False

    def __init__(self, ehr: TestEhr, port: int, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.ehr = ehr
        self.ended = threading.Event()
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def begin(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def end(self) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the connection's own thread: a client that does not finish its handshake holds up nobody.
        if self._tls is not None:
            try:
                request.settimeout(10)
                request = self._tls.wrap_socket(request, server_side=True)
                request.settimeout(None)
            except OSError:
                return
        with self._lock:
            self.ehr.connections += 1
            self._open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            with self._lock:
                self._open.discard(request)
            if self._tls is not None:
                request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one packet

    def _handle(self) -> None:
        server = cast(_Server, self.server)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request.of(self.command, self.path, headers, body)
        fault = server.ehr.faults.take(request)
        reply = self._before(server, fault)
        if reply is None and not (fault and fault.kind == "drop-before"):
            reply = server.ehr.answer(request)
        if reply is None or (fault and fault.kind == "drop-after"):
            server.ehr.record(request, None)
            self._drop()
            return
        server.ehr.record(request, reply.status)
        self._send(reply, fault, server)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _handle  # noqa: N815  # names of http.server

    def _before(self, server: _Server, fault: Fault | None) -> Reply | None:
        """The answer that a fault gives in place of the server."""
        if fault is None:
            return None
        if fault.kind != "drip":
            server.ended.wait(fault.delay_s)
        if fault.kind == "redirect":
            return Reply(fault.status, b"", {"Location": fault.location})
        if fault.kind == "body":
            return Reply(fault.status, fault.body, {"Content-Type": fault.content_type})
        if fault.kind == "status":
            reply = outcome(fault.status, fault.code)
            after = fault.retry_after_s
            return reply if after is None else reply.with_headers(Retry_After=f"{after:g}")
        return None

    def _send(self, reply: Reply, fault: Fault | None, server: _Server) -> None:
        kind = fault.kind if fault else None
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if kind == "chunk":
            self.send_header("Transfer-Encoding", "chunked")
        elif reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if fault and kind == "truncate":
            self.wfile.write(reply.body[: int(len(reply.body) * fault.share)])
            self.wfile.flush()
            self._drop()
        elif kind == "chunk":
            for start in range(0, len(reply.body), 4096):
                piece = reply.body[start : start + 4096]
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        elif fault and kind == "drip":
            self.wfile.flush()
            for place in range(len(reply.body)):
                if server.ended.wait(fault.delay_s):
                    return
                self.wfile.write(reply.body[place : place + 1])
                self.wfile.flush()
        else:
            self.wfile.write(reply.body)

    def _drop(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


def wait_for(condition: Any, limit_s: float = 5.0) -> None:
    """Until `condition()` is true. AssertionError past the limit."""
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, f"not within {limit_s} s"
        time.sleep(0.01)  # polls with a limit
