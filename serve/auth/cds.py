"""JWTs of CDS Hooks clients, each good for one call. CDS Hooks 2.0, "Trusting CDS Clients"."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from serve.auth.caller import Caller, Sources
from serve.auth.faults import TokenError
from serve.auth.jwks import KeySource, KeySources
from serve.auth.replay import token_key, use_once
from serve.auth.settings import CDS_ALGORITHMS, AuthSettings, CdsClient
from serve.auth.tokens import check_claims, check_signature, read_token

MAX_LIFETIME_S: Final = 3600.0
"""The guide's advice is five minutes. Longer ones would have to be remembered for as long."""
_MAX_CHARS: Final = 256


class Write(Protocol):
    """`Pipeline.write`: a function of a transaction and arguments, run by the store's writer."""

    def __call__(self, work: Callable[..., Any], *args: Any) -> Awaitable[Any]: ...


class CdsTokens:
    """Of one ingress replica; `endpoint` is the public URL of `/cds-services`."""

    def __init__(
        self,
        settings: AuthSettings,
        endpoint: str,
        keys: KeySources,
        write: Write,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clients: Mapping[str, tuple[CdsClient, KeySource]] = {
            each.issuer: (each, keys.of(each)) for each in settings.cds_clients
        }
        self._sources = Sources(settings.auth_sources, hashed=False)
        self._endpoint = endpoint
        self._leeway_s = settings.auth_leeway_s
        self._write = write
        self._clock = clock

    async def caller(self, text: str, service: str, *, feedback: bool) -> Caller:
        """Who signed this JWT for a call of `service`; the JWT is used up.

        Raises TokenError, and ServiceError 503 where keys or the record of used tokens cannot be had.
        """
        token = read_token(text)
        client, keys = self._clients.get(token.issuer or "", (None, None))
        if client is None or keys is None:
            raise TokenError("issuer")
        await check_signature(token, keys, algorithms=CDS_ALGORITHMS, jwks_url=client.jwks_url, needs_kid=True)
        claims = token.claims
        own = f"{self._endpoint}/{service}"
        audiences = (own, f"{own}/feedback") if feedback else (own,)
        expires = check_claims(
            claims, audiences=audiences, now=self._clock(), leeway_s=self._leeway_s, max_lifetime_s=MAX_LIFETIME_S,
            needed=("iat", "jti"),
        )  # fmt: skip
        # `aud` is this endpoint and nothing besides: a token that is also for another service may have been used there.
        if isinstance(claims["aud"], list) and not set(claims["aud"]) <= set(audiences):
            raise TokenError("audience")
        tenant = claims.get("tenant")
        if len(claims["jti"]) > _MAX_CHARS or not (tenant is None or isinstance(tenant, str)):
            raise TokenError("claims")
        if tenant is not None and len(tenant) > _MAX_CHARS:
            raise TokenError("claims")
        key = token_key(client.issuer, claims["jti"])
        if not await self._write(use_once, key, (expires + self._leeway_s) * 1000):
            raise TokenError("replayed")
        return Caller(self._sources.of_cds(client.issuer, tenant), client.issuer, tenant=tenant)
