"""CORS for the CDS Hooks routes alone: some EHRs call them from the browser."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/cds-services"


class CdsCors:
    """ASGI middleware: pages of `origins` may read answers under `/cds-services`, and nothing else."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._with_cors = CORSMiddleware(
            app, allow_origins=list(origins), allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"], max_age=600,
        )  # fmt: skip
        self._any = bool(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        of_cds = scope["type"] == "http" and (scope["path"] == PATH or scope["path"].startswith(PATH + "/"))
        await (self._with_cors if of_cds and self._any else self._app)(scope, receive, send)
