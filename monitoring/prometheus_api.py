"""Range queries of a Prometheus server over its HTTP API.

https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import httpx

from lang1.errors import Lang1Error

MAX_POINTS: Final = 11_000
"""Of one series: what Prometheus gives at most."""
_TIMEOUT_S: Final = 60.0
_MAX_BYTES: Final = 64 * 2**20
_LOCAL: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class PrometheusError(Lang1Error):
    """Prometheus is away, refuses the caller or the query, or does not answer as Prometheus does."""

    code: ClassVar[str] = "transient"


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a range. points: (seconds since 1970, value), in order; values may be NaN or infinite."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


class PrometheusApi:
    """One server. `token_file` holds a bearer token; `ca_file` a PEM of the CA of its certificate.

    Raises PrometheusError for files that cannot be used, and for a token that would cross a network in the open.
    """

    def __init__(self, url: str, *, token_file: Path | None = None, ca_file: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise PrometheusError("the URL of Prometheus is http or https and a host, as http://127.0.0.1:9090")
        headers = {}
        if token_file is not None:
            if parts.scheme != "https" and parts.hostname not in _LOCAL:
                raise PrometheusError("a token is sent over https alone, or to this machine; give an https URL")
            headers["Authorization"] = f"Bearer {_read_token(token_file)}"
        try:
            tls = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise PrometheusError(f"{ca_file} is no PEM of certificates ({type(error).__name__})") from None
        self._client = httpx.Client(
            base_url=url.rstrip("/"), headers=headers, timeout=_TIMEOUT_S, verify=tls, trust_env=False,
            follow_redirects=False,
        )  # fmt: skip

    def __enter__(self) -> PrometheusApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def range(self, expression: str, start_s: float, end_s: float, step_s: float) -> tuple[Series, ...]:
        """The series of a query between two times, a point each step. Raises PrometheusError."""
        form = {"query": expression, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:.3f}"}
        result = self._data(form)
        try:
            return tuple(_series(each) for each in result["result"])
        except (KeyError, TypeError, ValueError):
            raise PrometheusError("the server's answer is not that of a range query of Prometheus") from None

    def _data(self, form: Mapping[str, str]) -> dict[str, Any]:
        try:
            # POST: a query may be longer than a URL. Read-only, as Prometheus has it.
            answer = self._client.post("/api/v1/query_range", data=dict(form))
        except httpx.HTTPError as error:
            raise PrometheusError(f"Prometheus does not answer ({type(error).__name__}); is the URL right?") from None
        if answer.status_code in (401, 403):
            raise PrometheusError(f"Prometheus refuses the caller ({answer.status_code}); give --token-file")
        if len(answer.content) > _MAX_BYTES:
            raise PrometheusError(f"the answer has over {_MAX_BYTES} bytes; ask for a larger --step")
        try:
            body = answer.json()
            if answer.status_code == 200 and body["status"] == "success":
                data: dict[str, Any] = body["data"]
                return data
            told = str(body["error"])
        except (ValueError, KeyError, TypeError):
            raise PrometheusError(f"this is no Prometheus: status {answer.status_code} without its JSON") from None
        raise PrometheusError(f"Prometheus refuses a query: {told[:300]}; query: {form['query']}")


def _read_token(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PrometheusError(f"the token's file {path} cannot be read as text ({type(error).__name__})") from None


def _series(found: Any) -> Series:
    labels = {str(name): str(value) for name, value in found["metric"].items()}
    # Infinity is no place on an axis.
    points = ((float(at), float(value)) for at, value in found["values"])
    return Series(labels, tuple((at, value if math.isfinite(value) else math.nan) for at, value in points))
