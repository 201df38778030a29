"""Login pages, and what clients of SMART on FHIR look up under `/.well-known`."""

from __future__ import annotations

import asyncio
import hmac
import re
from html import escape
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from serve.auth.access import PAGES, ROUTES
from serve.auth.faults import TokenError, cross_site, log_refusal
from serve.auth.gate import Authenticator
from serve.auth.oidc import LOGIN_S, NotAllowedError
from serve.auth.session import SESSION
from serve.ehr.connection import client_jwks
from serve.errors import Problem, ServiceError, SettingsError
from serve.http.answers import json_response
from serve.settings import Settings

_NO_STORE: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STATE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_QUERY: Final = re.compile(r"[A-Za-z0-9_.~%+&=,:-]{0,512}")
_MAX_CODE_CHARS: Final = 4096


def login_router(settings: Settings, authenticator: Authenticator) -> APIRouter:
    """`/login`, its callback and `/logout`."""
    routes = APIRouter(tags=["login"], include_in_schema=False)
    cookies, oidc, root = authenticator.cookies, authenticator.oidc, authenticator.root
    assert cookies is not None
    assert oidc is not None
    session_s = round(settings.session_hours * 3600)
    again = f"{root}/login"

    @routes.get("/login")
    async def login(request: Request) -> Response:
        begun = await oidc.start()
        answer = RedirectResponse(begun.url, 303, _NO_STORE)
        remembered = {"state": begun.state, "nonce": begun.nonce, "verifier": begun.verifier,
                      "next": local_page(request.query_params.get("next"))}  # fmt: skip
        cookies.set(answer, _login_cookie(begun.state), "login", remembered, LOGIN_S)
        return answer

    @routes.get("/login/callback")
    async def callback(request: Request) -> Response:
        asked = request.query_params
        state, code = asked.get("state", ""), asked.get("code", "")
        name = _login_cookie(state) if _STATE.fullmatch(state) else None
        begun = cookies.get(request, name, "login") if name else None
        # No cookie: another browser's login, or one that took too long.
        if begun is None or name is None or not hmac.compare_digest(begun["state"], state):
            return _page(400, "The login could not be matched to this browser, or it took too long.", again)
        answer: Response
        try:
            if not 0 < len(code) <= _MAX_CODE_CHARS or "error" in asked:
                raise TokenError("session")
            user = await oidc.finish(code, begun["verifier"], begun["nonce"], asked.get("iss"))
        except TokenError as fault:
            log_refusal(request.scope["headers"], 401, f"login: {fault.reason}")
            answer = _page(401, "The login did not succeed.", again)
        except NotAllowedError:
            log_refusal(request.scope["headers"], 403, "login: groups")
            answer = _page(403, "You are logged in, and not in a group that may read these pages.", again)
        else:
            answer = RedirectResponse(root + begun["next"], 303, _NO_STORE)
            cookies.set(answer, SESSION, "session", {"sub": user}, session_s)
        cookies.clear(answer, name)
        return answer

    @routes.post("/logout")
    async def logout(request: Request) -> Response:
        if not authenticator.is_own_page(request):
            raise ServiceError(cross_site())
        url = await oidc.logout_url()
        answer = RedirectResponse(url, 303, _NO_STORE) if url else _page(200, "You are logged out.", again)
        cookies.clear(answer, SESSION)
        return answer

    return routes


def local_page(wanted: str | None) -> str:
    """Where a login leads: a page of the table with its query, never another site."""
    parts = urlsplit(wanted or "")
    pages = [path for path in sorted(PAGES) if ("GET", path) in ROUTES and ROUTES["GET", path].page]
    if parts.scheme or parts.netloc or parts.path not in pages or not _QUERY.fullmatch(parts.query):
        return pages[0]
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _login_cookie(state: str) -> str:
    # One for each login under way: two tabs do not end each other's.
    return f"lang1-login-{state[:12]}"


def _page(status: int, text: str, login_url: str) -> HTMLResponse:
    link = f'<a href="{escape(login_url)}">Log in again.</a>'
    body = f'<!doctype html><html lang="en"><title>Lang1</title><body><p>{text} {link}</p></body></html>'
    return HTMLResponse(body, status, _NO_STORE)


def well_known_router(settings: Settings) -> APIRouter:
    """SMART discovery of this resource server, and the keys with which it is a client of the EHR."""
    routes = APIRouter(tags=["discovery"])

    @routes.get("/.well-known/jwks.json", summary="Public keys of this service as a client of the EHR")
    async def jwks() -> Response:
        try:
            # Read each time: a key that was replaced shows at once.
            keys = await asyncio.to_thread(client_jwks, settings)
        except SettingsError:
            raise ServiceError(Problem(503, "transient", "the key cannot be read; tell the operator")) from None
        if keys is None:
            raise ServiceError(Problem(404, "not-found", "this service has no key of its own"))
        return json_response(keys)

    async def smart_configuration() -> Response:
        if not settings.auth_issuers:
            raise ServiceError(Problem(404, "not-found", "no authorisation server is configured here"))
        return json_response(smart_document(settings))

    for path in ("/.well-known/smart-configuration", "/fhir/.well-known/smart-configuration"):
        routes.add_api_route(path, smart_configuration, summary="SMART configuration", name=f"smart {path}")
    return routes


def smart_document(settings: Settings) -> dict[str, Any]:
    """What a backend service needs to get a token. Of an authorisation server only what settings say is shown."""
    scopes = sorted({scope for access in ROUTES.values() for scope in access.scopes})
    document: dict[str, Any] = {
        "grant_types_supported": ["client_credentials"],
        "scopes_supported": scopes,
        "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
        "code_challenge_methods_supported": ["S256"],
    }
    shown = next((each for each in settings.auth_issuers if each.token_endpoint), None)
    if shown is not None:
        document |= {"issuer": shown.issuer, "token_endpoint": shown.token_endpoint}
    return document
