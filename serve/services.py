"""What the routes of one ingress replica share."""

from __future__ import annotations

import time
from dataclasses import dataclass

from starlette.requests import Request

from serve.pipeline import Pipeline, RequestContext
from serve.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Settings, the pipeline and when it was deployed."""

    settings: Settings
    pipeline: Pipeline
    started: str
    """FHIR dateTime of the deployment, the same on every replica: definitions must not differ between answers."""

    def context(self, request: Request) -> RequestContext:
        """Who asks and until when; the clock starts now."""
        return RequestContext(
            source=self.settings.source,
            request_id=request.headers.get("x-request-id", "none")[:64],
            deadline=time.monotonic() + self.settings.deadline_s,
        )
