"""The gate in front of the routes: every request gets a Caller here, or an answer that says why not."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.auth.access import PAGE_SCOPES, Access, Match, find_access
from serve.auth.addresses import is_loopback, origin
from serve.auth.bearer import BearerTokens
from serve.auth.caller import LOGIN_SOURCE, NOTIFICATION_SOURCE, SCOPE_KEY, Caller, anyone, caller_of
from serve.auth.cds import CdsTokens, Write
from serve.auth.faults import NotLoggedInError, TokenError, closed_route, cross_site, forbidden_scope, log_refusal
from serve.auth.fetching import Fetcher
from serve.auth.jwks import KeySources
from serve.auth.oidc import Oidc
from serve.auth.session import SESSION, Cookies, read_session_keys
from serve.auth.settings import read_secret
from serve.errors import Problem, ServiceError, SettingsError
from serve.http.answers import problem_response
from serve.settings import Settings

# RFC 6750 section 2.1; the scheme in any case (RFC 9110).
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_NOBODY: Final = Caller("anonymous", "")
_MIN_SECRET_CHARS: Final = 32


class Authenticator:
    """Everything that proves callers, of one ingress replica. Raises SettingsError for files that cannot be used."""

    def __init__(self, settings: Settings, write: Write) -> None:
        self._settings = settings
        self.root = settings.public_root
        self._secret: bytes | None = None
        self.cookies: Cookies | None = None
        self.oidc: Oidc | None = None
        if not settings.authenticates:
            return
        try:
            fetcher = Fetcher(settings.auth_ca_file)
            self._keys = KeySources(settings, fetcher)
            self._bearer = BearerTokens(settings, self._keys)
            endpoint = f"{settings.cds_audience or self.root}/cds-services"
            self._cds = CdsTokens(settings, endpoint, self._keys, write)
            if settings.oidc_issuer is not None and settings.session_key_file is not None:
                keys = read_session_keys(settings.session_key_file)
                self.cookies = Cookies(keys, secure=self.root.startswith("https://"))
                self.oidc = Oidc(settings, self.root, fetcher, self._keys)
            if settings.notification_secret_file is not None:
                secret = read_secret(settings.notification_secret_file, "notification_secret_file", _MIN_SECRET_CHARS)
                self._secret = hashlib.sha256(secret.encode()).digest()
        except ValueError as error:
            raise SettingsError(str(error)) from None

    def start(self) -> None:
        """Begin to fetch keys; in the event loop that serves."""
        if self._settings.authenticates:
            self._keys.refresh()

    async def caller(self, request: Request, match: Match) -> Caller:
        """Who sent a request. Raises TokenError and ServiceError."""
        access = match.access
        if not self._settings.authenticates:
            return anyone(self._settings.source)
        if access.by == "anyone" or (access.by == "metrics" and self._metrics_open(request)):
            return _NOBODY
        text = bearer_token(request)
        if access.by == "cds":
            if text is None:
                raise NotLoggedInError
            service = match.values["service_id"]
            return await self._cds.caller(text, service, feedback=match.template.endswith("/feedback"))
        if text is None:
            caller = self._session(request) if access.session else None
            if caller is None:
                raise NotLoggedInError
        elif access.by == "notification" and self._is_secret(text):
            return Caller(NOTIFICATION_SOURCE, NOTIFICATION_SOURCE, frozenset(access.scopes))
        else:
            caller = await self._bearer.caller(text)
        if not any(caller.has(scope) for scope in access.scopes):
            raise ServiceError(forbidden_scope(access.scopes))
        return caller

    def _metrics_open(self, request: Request) -> bool:
        if self._settings.metrics_access == "loopback":
            server = request.scope.get("server")
            return server is not None and is_loopback(server[0])
        return self._settings.metrics_access == "open"

    def _is_secret(self, text: str) -> bool:
        given = hashlib.sha256(text.encode("latin-1")).digest()
        return self._secret is not None and hmac.compare_digest(given, self._secret)

    def _session(self, request: Request) -> Caller | None:
        session = self.cookies.get(request, SESSION, "session") if self.cookies else None
        if session is None:
            return None
        if request.method not in _SAFE_METHODS and not self.is_own_page(request):
            raise ServiceError(cross_site())
        return Caller(LOGIN_SOURCE, self._settings.oidc_client_id or "", PAGE_SCOPES, user=str(session["sub"]))

    def is_own_page(self, request: Request) -> bool:
        """Whether a browser says that a page of this very service sent the request. Other sites cannot say so."""
        return request.headers.get("origin", "").lower() == origin(self.root)


def bearer_token(request: Request) -> str | None:
    """The token of the Authorization header; None without the header. A token in a query or a form is not looked at.

    Raises NotLoggedInError for another scheme, for more than one header, and for what is no token.
    """
    headers = request.headers.getlist("authorization")
    if not headers:
        return None
    found = _BEARER.fullmatch(headers[0]) if len(headers) == 1 else None
    if found is None:
        raise NotLoggedInError
    return found[1]


class Gate:
    """ASGI middleware between the error handling and the routes."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._authenticator.start()
        match = find_access(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if match is None:
            # No route, or one without a rule: `let_in` closes the latter.
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            caller = await self._authenticator.caller(request, match)
        except TokenError as fault:
            await self._refuse(request, match.access, fault.problem, fault.reason)(scope, receive, send)
            return
        except ServiceError as error:
            problem = error.problem
            await self._refuse(request, match.access, problem, problem.code)(scope, receive, send)
            return
        await self._app({**scope, SCOPE_KEY: caller}, receive, send)

    def _refuse(self, request: Request, access: Access, problem: Problem, reason: str) -> Response:
        has_login = self._authenticator.cookies is not None
        if problem.status == 401 and access.page and has_login and "authorization" not in request.headers:
            query = f"?{request.url.query}" if request.url.query else ""
            after = quote(f"{request.url.path}{query}", safe="")
            url = f"{self._authenticator.root}/login?next={after}"
            return RedirectResponse(url, 303, {"Cache-Control": "no-store"})
        log_refusal(request.scope["headers"], problem.status, reason)
        return problem_response(request.url.path, problem)


def check_authentication(settings: Settings) -> None:
    """Raise SettingsError for keys and secrets that cannot be used, before anything is started."""
    Authenticator(settings, _no_write)


async def _no_write(work: Callable[..., Any], *args: Any) -> Any:
    raise AssertionError("nothing is served yet")


async def let_in(request: Request) -> None:
    """Dependency of every route: refuse what did not pass the gate, so that a forgotten rule opens nothing."""
    try:
        caller_of(request)
    except LookupError:
        raise ServiceError(closed_route()) from None
