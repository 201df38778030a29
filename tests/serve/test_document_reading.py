"""Attachments of one ingress: a bounded number read at once, within the deadline; and URLs that drip."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import pytest

from fhir_adapters.client.client import FhirClient
from fhir_adapters.errors import FhirInputError
from fhir_adapters.parameters import parse_score_request
from lang1.tasks import BUILT_IN
from serve.document_reading import DocumentReader
from serve.fetching import HttpFetcher
from serve.note_job import RequestContext
from serve.settings import load_settings
from tests.serve.notes import document, encoded, with_attachment

HTML = parse_score_request(with_attachment(contentType="text/html", data=encoded("<p>x</p>")), BUILT_IN)
PLAIN = parse_score_request(document(), BUILT_IN)


def context(left_s: float) -> RequestContext:
    return RequestContext("s", "r", time.monotonic() + left_s)


def test_at_most_max_parsers_run_at_once_and_the_others_wait_until_their_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, started = threading.Event(), []

    def slow(request: Any, settings: Any, fetcher: Any, source: str) -> Any:
        started.append(request)
        if request is HTML:
            gate.wait(10)
        raise FhirInputError("read", code="value")

    monkeypatch.setattr("serve.document_reading.request_to_job", slow)

    async def check() -> None:
        reader = DocumentReader(load_settings(max_parsers=2))
        first = [asyncio.create_task(reader.read(HTML, context(10))) for _ in range(2)]
        while len(started) < 2:
            await asyncio.sleep(0.01)
        late = [(await reader.read(HTML, context(0.05))).problem for _ in range(3)]
        assert [(each.status, each.code) for each in late if each] == [(504, "timeout")] * 3
        assert len(started) == 2
        plain = (await reader.read(PLAIN, context(10))).problem  # needs no parser, so it waits for none
        assert plain is not None
        assert plain.code == "value"
        gate.set()
        assert all(each.problem and each.problem.code == "value" for each in await asyncio.gather(*first))
        assert len(started) == 3  # those that timed out while they waited never ran

    asyncio.run(asyncio.wait_for(check(), 20))


def test_a_surprise_while_reading_is_500_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("text of the note")

    monkeypatch.setattr("serve.document_reading.request_to_job", broken)
    problem = asyncio.run(DocumentReader(load_settings()).read(PLAIN, context(5))).problem
    assert problem is not None
    assert (problem.status, "text of" in problem.message) == (500, False)


def test_a_server_that_drips_is_left_at_the_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n")
                try:
                    for _ in range(100):
                        connection.sendall(b"x")
                        time.sleep(0.05)
                except OSError:
                    return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        base = f"http://127.0.0.1:{server.getsockname()[1]}/fhir"
        began = time.monotonic()
        with pytest.raises(FhirInputError) as raised:
            HttpFetcher(FhirClient(base), max_bytes=1000, timeout_s=0.3).fetch(f"{base}/Binary/1")
        assert (raised.value.status, raised.value.code) == (502, "transient")
        assert time.monotonic() - began < 3
        thread.join(10)
