"""Logging in at an OpenID provider: authorization code with PKCE, state and nonce.

OpenID Connect Core 1.0, RFC 7636, RFC 9207. Made of the FHIR client's wire and joserfc, which are here already:
Authlib's clients bring a session layer of their own, follow redirects and read proxies from the environment, and what
is needed is one redirect, one form and one signed token.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from serve.auth.addresses import is_trusted_url
from serve.auth.faults import TokenError, issuer_away
from serve.auth.fetching import Fetcher, FetchError
from serve.auth.jwks import JwksUrl, KeySources
from serve.auth.settings import ALGORITHMS, AuthSettings, read_secret
from serve.auth.tokens import check_claims, check_signature, read_token
from serve.errors import ServiceError
from serve.logs import get_logger

CALLBACK: Final = "/login/callback"
LOGIN_S: Final = 600
"""Seconds that a person may take to log in."""
_DISCOVERY_S: Final = 600.0
_RETRY_S: Final = 5.0
_MAX_LIFETIME_S: Final = 24 * 3600.0
_MAX_CHARS: Final = 256


@dataclass(frozen=True, slots=True)
class LoginStart:
    """Where to send the browser, and what its cookie must remember."""

    url: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Provider:
    """What the provider says of itself."""

    authorization: str
    token: str
    jwks: JwksUrl
    end_session: str | None
    basic_secret: bool


class NotAllowedError(Exception):
    """A person who is known and in no allowed group."""


class Oidc:
    """The login of one ingress replica; `root` is the public URL above `/login`."""

    def __init__(
        self,
        settings: AuthSettings,
        root: str,
        fetcher: Fetcher,
        keys: KeySources,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises ValueError for a secret that cannot be read."""
        assert settings.oidc_issuer is not None
        assert settings.oidc_client_id is not None
        self._issuer = settings.oidc_issuer
        self._client = settings.oidc_client_id
        file = settings.oidc_client_secret_file
        self._secret = read_secret(file, "oidc_client_secret_file", 8) if file else None
        self._settings = settings
        self._redirect = root + CALLBACK
        self._fetcher = fetcher
        self._keys = keys
        self._clock = clock
        self._provider: Provider | None = None
        self._checked = float("-inf")
        self._tried = float("-inf")
        self._looking = asyncio.Lock()

    async def start(self) -> LoginStart:
        """A new login. Raises ServiceError 503 where the provider does not answer."""
        provider = await self.provider()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code", "client_id": self._client, "redirect_uri": self._redirect,
            "scope": self._settings.oidc_scopes, "state": state, "nonce": nonce,
            "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        joined = "&" if "?" in provider.authorization else "?"
        return LoginStart(f"{provider.authorization}{joined}{urlencode(query)}", state, nonce, verifier)

    async def finish(self, code: str, verifier: str, nonce: str, issuer: str | None) -> str:
        """The person's `sub`. `issuer` is the callback's `iss`.

        Raises TokenError, NotAllowedError, and ServiceError 503 where the provider does not answer.
        """
        if issuer is not None and issuer != self._issuer:
            raise TokenError("issuer")
        provider = await self.provider()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self._redirect,
                "code_verifier": verifier}  # fmt: skip
        headers: dict[str, str] = {}
        if self._secret is None or not provider.basic_secret:
            form["client_id"] = self._client
        if self._secret is not None and provider.basic_secret:
            pair = f"{quote_plus(self._client)}:{quote_plus(self._secret)}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        elif self._secret is not None:
            form["client_secret"] = self._secret
        try:
            answer = await self._fetcher.post_form(provider.token, form, headers)
        except FetchError as error:
            get_logger().warning("the OpenID provider gave no token: %s", error)
            raise TokenError("session") from None
        claims = await self._check_id_token(answer.get("id_token"), provider, nonce)
        groups = claims.get(self._settings.oidc_groups_claim)
        held = {groups} if isinstance(groups, str) else set(map(str, groups)) if isinstance(groups, list) else set()
        if not held & set(self._settings.oidc_allowed_groups):
            raise NotAllowedError
        return str(claims["sub"])

    async def _check_id_token(self, text: object, provider: Provider, nonce: str) -> dict[str, Any]:
        if not isinstance(text, str):
            raise TokenError("malformed")
        token = read_token(text)
        claims = token.claims
        if token.issuer != self._issuer:
            raise TokenError("issuer")
        await check_signature(token, provider.jwks, algorithms=ALGORITHMS, jwks_url=provider.jwks.url)
        check_claims(
            claims, audiences=(self._client,), now=self._clock(), leeway_s=self._settings.auth_leeway_s,
            max_lifetime_s=_MAX_LIFETIME_S, needed=("iat", "sub", "nonce"),
        )  # fmt: skip
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if (several or "azp" in claims) and claims.get("azp") != self._client:
            raise TokenError("audience")
        given = claims["nonce"]
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
            raise TokenError("claims")
        if not 0 < len(claims["sub"]) <= _MAX_CHARS:
            raise TokenError("claims")
        return claims

    async def provider(self) -> Provider:
        """The provider's endpoints, looked up again every ten minutes. Raises ServiceError 503 without any."""
        async with self._looking:
            now = time.monotonic()
            if now - self._checked > _DISCOVERY_S and now - self._tried > _RETRY_S:
                self._tried = now
                await self._look()
        if self._provider is None:
            raise issuer_away()
        return self._provider

    async def _look(self) -> None:
        try:
            document, _ = await self._fetcher.get_json(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
            self._provider = self._read(document)
        except (FetchError, ValueError) as error:
            get_logger().error("the OpenID provider's configuration cannot be used: %s", error)
        else:
            self._checked = time.monotonic()

    def _read(self, document: dict[str, Any]) -> Provider:
        if document.get("issuer") != self._issuer:
            raise ValueError("its issuer is not oidc_issuer")
        places = [document.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        if not all(is_trusted_url(place) for place in places):
            raise ValueError("an endpoint is missing or not https")
        authorization, token, jwks = map(str, places)
        end_session = document.get("end_session_endpoint")
        methods = document.get("token_endpoint_auth_methods_supported")
        known = self._provider
        return Provider(
            authorization,
            token,
            known.jwks if known is not None and known.jwks.url == jwks
            else self._keys.at(jwks),
            end_session if is_trusted_url(end_session) else None,
            not isinstance(methods, list) or "client_secret_basic" in methods or "client_secret_post" not in methods,
        )  # fmt: skip

    async def logout_url(self) -> str | None:
        """Where the provider ends its own session, if it says."""
        try:
            provider = await self.provider()
        except ServiceError:
            return None
        if provider.end_session is None:
            return None
        joined = "&" if "?" in provider.end_session else "?"
        return f"{provider.end_session}{joined}{urlencode({'client_id': self._client})}"
