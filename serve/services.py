"""What the routes of one ingress replica share."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass

from starlette.requests import Request

from serve.auth.caller import caller_of
from serve.beds.census import CensusSource
from serve.beds.recorded import RecordedCensus
from serve.http.request_id import valid_or_new
from serve.note_job import RequestContext
from serve.pipeline import Pipeline
from serve.settings import Settings
from serve.store.records import AuditAction


@dataclass(frozen=True, slots=True)
class Services:
    """Settings, the pipeline and when it was deployed."""

    settings: Settings
    pipeline: Pipeline
    started: str
    """FHIR dateTime of the deployment, the same on every replica: definitions must not differ between answers."""

    @property
    def beds(self) -> CensusSource:
        """The hospital's beds, as the record tells of them."""
        return RecordedCensus(self.settings, self.pipeline)

    def context(self, request: Request, action: AuditAction = "score") -> RequestContext:
        """Who asks, until when, and what for; the clock starts now. The gate has let the caller in."""
        return RequestContext(
            action=action,
            source=caller_of(request).source,
            request_id=valid_or_new(request.headers.get("x-request-id", "").encode("latin-1")),
            deadline=time.monotonic() + self.settings.deadline_s,
            client_address=_address(request),
        )


def _address(request: Request) -> str | None:
    """Of the client, or of the proxy in front. A proxy on this machine may name its client, in any words at all."""
    try:
        return str(ipaddress.ip_address(request.client.host)) if request.client else None
    except ValueError:
        return None
