"""Who calls: what the routes and the audit know of whoever sent a request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from starlette.requests import Request

from serve.auth.scopes import EVERYTHING, allows, satisfies
from serve.auth.settings import SOURCE

SCOPE_KEY: Final = "lang1.caller"
"""Where the ASGI scope holds the Caller."""
LOGIN_SOURCE: Final = "login"
NOTIFICATION_SOURCE: Final = "subscription"


@dataclass(frozen=True, slots=True)
class Caller:
    """`source` is the sending system's name, part of the idempotency key; `client` the id by which it proved itself.

    `user` is a person's `sub` at the OpenID provider, for callers with a session. `tenant` is of a CDS Hooks JWT.
    """

    source: str
    client: str
    scopes: frozenset[str] = frozenset()
    user: str | None = None
    tenant: str | None = None

    def allows(self, resource: str, interaction: Literal["c", "r", "u", "d", "s"]) -> bool:
        """Whether this caller may do `interaction` on a FHIR resource type. For the entries of a batch."""
        return allows(self.scopes, resource, interaction)

    def has(self, scope: str) -> bool:
        """Whether one scope, such as `lang1/score` or `system/RiskAssessment.r`, is granted."""
        return satisfies(self.scopes, scope)


def anyone(source: str) -> Caller:
    """The caller while there is no authentication: all rights, on a loopback address."""
    return Caller(source, "", EVERYTHING)


def caller_of(request: Request) -> Caller:
    """Who sent this request. Raises LookupError where the gate did not let it in: a mistake of the program."""
    caller = request.scope.get(SCOPE_KEY)
    if not isinstance(caller, Caller):
        raise LookupError("the request did not pass the gate; add its route to serve/auth/access.py")
    return caller


class Sources:
    """Source names of clients: as configured, else the client's id, else a hash of it.

    No client gets the name of another: an id that is another's name, or a reserved one, is hashed. With several
    authorisation servers every unmapped id is, with its issuer.
    """

    def __init__(self, names: Mapping[str, str], *, hashed: bool) -> None:
        self._names = dict(names)
        self._taken = {*names.values(), LOGIN_SOURCE, NOTIFICATION_SOURCE}
        self._hashed = hashed

    def of(self, issuer: str, client: str) -> str:
        """The source of a bearer token's client."""
        name = self._names.get(f"{issuer}|{client}") or (None if self._hashed else self._names.get(client))
        if name:
            return name
        # "c-": where hashes live, so an id of that form is hashed too.
        if self._hashed or client in self._taken or client.startswith("c-") or not SOURCE.fullmatch(client):
            return _hashed(issuer, client)
        return client

    def of_cds(self, issuer: str, tenant: str | None) -> str:
        """The source of a CDS Hooks JWT: of its issuer and tenant, else of its issuer."""
        with_tenant = self._names.get(f"{issuer}|{tenant}") if tenant else None
        return with_tenant or self._names.get(issuer) or _hashed(issuer, tenant or "")


def _hashed(issuer: str, client: str) -> str:
    return "c-" + hashlib.sha256(f"{issuer}\n{client}".encode()).hexdigest()[:40]
