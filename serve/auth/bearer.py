"""Bearer access tokens of the configured authorisation servers, each checked once and then known until it expires."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from serve.auth.caller import Caller, Sources
from serve.auth.faults import TokenError
from serve.auth.jwks import KeySource, KeySources
from serve.auth.scopes import granted
from serve.auth.settings import AuthSettings, TokenIssuer
from serve.auth.tokens import UncheckedToken, check_claims, check_signature, read_token

MAX_KNOWN: Final = 2048
_CLIENT_CLAIMS: Final = ("client_id", "azp", "sub")


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    expires: float
    keys: KeySource
    generation: int


class BearerTokens:
    """Of one ingress replica. Raises ValueError for a jwks_file that is no JWK Set."""

    def __init__(self, settings: AuthSettings, keys: KeySources, clock: Callable[[], float] = time.time) -> None:
        self._issuers: Mapping[str, tuple[TokenIssuer, KeySource]] = {
            each.issuer: (each, keys.of(each)) for each in settings.auth_issuers
        }
        self._sources = Sources(settings.auth_sources, hashed=len(settings.auth_issuers) > 1)
        self._leeway_s = settings.auth_leeway_s
        self._max_lifetime_s = settings.auth_max_token_hours * 3600
        self._clock = clock
        # By hash: a dump of this process shows no token that could be used.
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    async def caller(self, text: str) -> Caller:
        """Who holds this token. Raises TokenError, and ServiceError 503 where its issuer's keys cannot be had."""
        digest = hashlib.sha256(text.encode("latin-1")).digest()
        known = self._known.get(digest)
        if known is not None:
            known.keys.refresh_if_due()
            if known.generation == known.keys.generation and self._clock() < known.expires:
                self._known.move_to_end(digest)
                return known.caller
            del self._known[digest]
        token = read_token(text)
        issuer, keys = self._issuers.get(token.issuer or "", (None, None))
        if issuer is None or keys is None:
            raise TokenError("issuer")
        await check_signature(token, keys, algorithms=issuer.algorithms, jwks_url=issuer.jwks_url)
        expires = check_claims(
            token.claims, audiences=issuer.audience, now=self._clock(), leeway_s=self._leeway_s,
            max_lifetime_s=self._max_lifetime_s,
        )  # fmt: skip
        caller = self._caller(token, issuer)
        self._known[digest] = _Known(caller, expires + self._leeway_s, keys, keys.generation)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return caller

    def _caller(self, token: UncheckedToken, issuer: TokenIssuer) -> Caller:
        names = (issuer.client_claim,) if issuer.client_claim else _CLIENT_CLAIMS
        client = next((value for name in names if isinstance(value := token.claims.get(name), str) and value), None)
        if client is None or len(client) > 256:
            raise TokenError("claims")
        scopes = granted(token.claims.get(name) for name in issuer.scope_claims)
        return Caller(self._sources.of(issuer.issuer, client), client, scopes)
