"""While there is no authentication, a request that did not come to a loopback address is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.responses import Response

from serve.http.guard import Guard


def status_of(path: str, server: tuple[str, int] | None) -> int:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "server": server}
    asyncio.run(Guard(Response("x"))(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("path", ["/fhir/metadata", "/v1/score", "/openapi.json"])
def test_only_loopback_connections_are_answered(path: str) -> None:
    assert status_of(path, ("10.0.0.5", 8000)) == 403
    assert status_of(path, ("127.0.0.1", 8000)) == 200
    assert status_of(path, ("::1", 8000)) == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_and_scrapes_come_from_anywhere(path: str) -> None:
    assert status_of(path, ("10.0.0.5", 8000)) == 200
