"""Fetching from the issuers that settings name, and from nowhere else: no redirect, no proxy, with limits."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from fhir_adapters.client.wire import Reply, Timeouts, Wire, WireError
from fhir_adapters.errors import FhirInputError
from fhir_adapters.json_body import parse_json_object

MAX_BYTES: Final = 256 * 1024
_TOTAL_S: Final = 5.0
_JSON: Final = {"Accept": "application/json"}


class FetchError(Exception):
    """Nothing usable came back. The text is ours: a server's may hold anything."""


class Fetcher:
    """HTTP to issuers. `ca_file` is a PEM of their CA; None: the system's. Raises ValueError for a CA that is none."""

    def __init__(self, ca_file: Path | None = None, total_s: float = _TOTAL_S) -> None:
        try:
            tls = ssl.create_default_context(cafile=ca_file.expanduser() if ca_file else None)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"auth_ca_file: {ca_file} is no PEM of certificates ({type(error).__name__})") from None
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._wire = Wire(timeouts=Timeouts(connect_s=3.0, read_s=total_s, total_s=total_s), tls=tls, max_connections=8)
        self._total_s = total_s
        # Threads of its own: a slow issuer holds up no parser.
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="issuer")

    async def get_json(self, url: str) -> tuple[dict[str, Any], Mapping[str, str]]:
        """The JSON object at `url`, and the answer's headers. Raises FetchError."""
        reply = await self._exchange("GET", url, _JSON, None)
        return _object(reply), reply.headers

    async def post_form(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object that answers a form. Raises FetchError."""
        sent = _JSON | {"Content-Type": "application/x-www-form-urlencoded"} | dict(headers)
        return _object(await self._exchange("POST", url, sent, urlencode(form).encode()))

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._send, method, url, headers, body)

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        try:
            until = time.monotonic() + self._total_s
            return self._wire.send(method, url, headers=headers, body=body, until=until, max_bytes=MAX_BYTES)
        except WireError as error:
            raise FetchError(error.why) from None


def _object(reply: Reply) -> dict[str, Any]:
    if reply.status != 200:
        raise FetchError(f"status {reply.status}")
    try:
        return parse_json_object(reply.body, max_depth=16)
    except FhirInputError:
        raise FetchError("not JSON") from None
