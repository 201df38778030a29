"""Who may call a route, as OpenAPI states it; the rules are `serve.auth.access`."""

from __future__ import annotations

from typing import Any, Final

from serve.auth.access import Access
from serve.auth.session import SESSION

SCHEMES: Final[dict[str, Any]] = {
    "bearer": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "Access token of an authorisation server that this service is set to. One of the named scopes.",
    },
    "cdsHooks": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "The EHR's own JWT, as CDS Hooks 2.0 has it: one for each call.",
    },
    "notification": {
        "type": "http", "scheme": "bearer", "description": "The secret in the Subscription's header.",
    },
    "session": {"type": "apiKey", "in": "cookie", "name": SESSION, "description": "A person who is logged in."},
}  # fmt: skip


def requirements(access: Access | None) -> list[dict[str, list[str]]]:
    """The alternatives, of which a caller meets one. Scopes are named, one an alternative."""
    if access is None:
        # No rule: closed to everyone. An empty list would say open.
        return [{"bearer": ["none"]}]
    if access.by == "cds":
        return [{"cdsHooks": []}]
    found: list[dict[str, list[str]]] = [{"bearer": [scope]} for scope in access.scopes]
    if access.by == "metrics":
        found.append({})  # not on every machine: see the setting metrics_access
    if access.by == "notification":
        found.append({"notification": []})
    if access.session:
        found.append({"session": []})
    return found
