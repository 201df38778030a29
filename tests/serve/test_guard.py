"""While there is no authentication, only requests to a loopback address, by a name of this machine, are answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.responses import Response

from serve.auth import listening
from serve.errors import SettingsError
from serve.http.guard import Exposure, Guard
from serve.settings import load_settings

HERE = ("127.0.0.1", 8000)
ELSEWHERE = ("10.0.0.5", 8000)
ISSUER = {"issuer": "https://idp.example", "audience": "x", "jwks_url": "https://idp.example/jwks"}


def status_of(path: str, server: tuple[str, int] | None, *headers: tuple[bytes, bytes], **settings: Any) -> int:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [*headers],
             "server": server}  # fmt: skip
    asyncio.run(Guard(Response("x"), Exposure.of(load_settings(**settings)))(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("path", ["/fhir/metadata", "/v1/score", "/openapi.json"])
def test_only_loopback_connections_are_answered(path: str) -> None:
    assert status_of(path, ELSEWHERE) == 403
    assert status_of(path, HERE) == 200
    assert status_of(path, ("::1", 8000)) == 200
    assert status_of(path, ELSEWHERE, auth_issuers=[ISSUER]) == 200  # the gate judges


def test_probes_come_from_anywhere_and_scrapes_where_they_may() -> None:
    assert status_of("/livez", ELSEWHERE) == 200
    assert status_of("/readyz", ELSEWHERE, (b"host", b"10.0.0.5:8000")) == 200
    assert status_of("/metrics", ELSEWHERE) == 403
    assert status_of("/metrics", ELSEWHERE, metrics_access="open") == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"127.0.0.1:8000", 200), (b"localhost", 200), (b"[::1]:8000", 200), (b"127.8.8.8", 200),
        (b"evil.example", 403), (b"evil.example:8000", 403), (b"127.0.0.1.evil.example", 403), (b"localhost.evil", 403),
        (b"192.0.2.7:8000", 403), (b"", 403), (b"[", 403), (b"a@localhost", 200), (b"localhost@evil.example", 403),
        (b"\xff", 403), (b"lang1.example.org", 403),
    ],
)  # fmt: skip
def test_a_host_name_that_leads_here_from_a_web_page_is_refused(host: bytes, status: int) -> None:
    assert status_of("/fhir/metadata", HERE, (b"host", host)) == status


def test_a_proxy_on_this_machine_may_pass_the_public_name_on() -> None:
    public = {"public_base_url": "https://lang1.example.org/fhir"}
    assert status_of("/fhir/metadata", HERE, (b"host", b"lang1.example.org"), **public) == 200
    assert status_of("/fhir/metadata", HERE, (b"host", b"evil.example"), **public) == 403
    assert status_of("/fhir/metadata", HERE, (b"host", b"any.example"), auth_issuers=[ISSUER]) == 200


def test_pages_are_asked_for_as_html() -> None:
    html = (b"accept", b"text/html")
    assert status_of("/beds", HERE, html) == 200
    assert status_of("/beds", HERE, (b"accept", b"text/*")) == 200
    assert status_of("/v1/model", HERE, html) == 406
    assert status_of("/fhir/metadata", HERE, html) == 406
    assert status_of("/beds", HERE, (b"accept", b"image/png")) == 406


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.5", "::"])  # noqa: S104
def test_a_replica_refuses_a_proxy_that_listens_beyond_this_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "proxy_host", lambda: host)
    with pytest.raises(SettingsError, match=r"http_options\.host"):
        listening.check_listen_address(load_settings())
    listening.check_listen_address(load_settings(auth_issuers=[ISSUER]))
    monkeypatch.setattr(listening, "proxy_host", lambda: "127.0.0.1")
    listening.check_listen_address(load_settings())
    monkeypatch.setattr(listening, "proxy_host", lambda: None)  # not to be known: the guard holds
    listening.check_listen_address(load_settings())
