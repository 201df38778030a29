"""The API over a pipeline of its own: no Ray, no model, a real database for used tokens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from lang1.tasks import BUILT_IN, TaskRegistry
from serve.http.cds_cors import CdsCors
from serve.http.guard import Exposure, Guard
from serve.ingress import build_api
from serve.note_job import RequestContext
from serve.services import Services
from serve.settings import Settings, load_settings
from serve.store.core import Store
from serve.store.records import SearchPage

ROOT = "https://lang1.example.org"


class Pipeline:
    """Knows the built-in tasks, finds nothing, and remembers the contexts that it was asked with."""

    def __init__(self, database_url: str) -> None:
        self.model = self
        self.contexts: list[RequestContext] = []
        self._url = database_url
        self._store: Store | None = None

    async def registry(self) -> TaskRegistry:
        return BUILT_IN

    async def get(self, prediction: str, context: RequestContext) -> None:
        self.contexts.append(context)

    async def search(self, query: Any, context: RequestContext) -> SearchPage:
        self.contexts.append(context)
        return SearchPage((), 0, None)

    async def newest_of_encounter(self, subject: str, encounter: str, context: RequestContext) -> list[Any]:
        self.contexts.append(context)
        return []

    async def write(self, work: Callable[..., Any], *args: Any) -> Any:
        if self._store is None:
            self._store = Store(self._url)
            self._store.migrate()
        return self._store.write(work, *args)


class Api:
    """`client` calls the ingress's whole ASGI app, from the guard inwards, as if it came over loopback."""

    def __init__(self, folder: Path, server: tuple[str, int] = ("127.0.0.1", 8000), **settings: Any) -> None:
        values: dict[str, Any] = {"state_dir": str(folder), "public_base_url": f"{ROOT}/fhir"} | settings
        self.settings: Settings = load_settings(**values)
        self.pipeline = Pipeline(self.settings.resolved_database_url)
        services: Any = Services(self.settings, self.pipeline, datetime.now(UTC).isoformat(timespec="seconds"))  # type: ignore[arg-type]
        self.app = build_api(services)
        guarded = Guard(CdsCors(self.app, self.settings.cds_allowed_origins), Exposure.of(self.settings))

        async def placed(scope: Any, receive: Any, send: Any) -> None:
            await guarded({**scope, "server": server}, receive, send)

        self._placed = placed
        self.client = self.browser()

    def browser(self) -> TestClient:
        """A client with cookies of its own."""
        return TestClient(self._placed, base_url=ROOT, follow_redirects=False)

    def status(self, method: str, path: str, token: str | None = None, **more: Any) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.client.request(method, path, headers=headers | more.pop("headers", {}), **more).status_code
