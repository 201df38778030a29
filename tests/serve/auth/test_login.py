"""Logging in to pages at an OpenID provider, over a small real one."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from serve.auth.caller import caller_of
from serve.auth.gate import Authenticator, Gate, let_in
from serve.auth.routes import local_page, login_router
from serve.auth.session import Cookies, read_session_keys
from serve.errors import ServiceError
from serve.http.answers import problem_response
from serve.http.guard import Exposure, Guard
from serve.settings import load_settings
from tests.serve.auth.api import ROOT
from tests.serve.auth.idp import CLIENT_SECRET, Idp

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def login_settings(folder: Path, idp: Idp) -> dict[str, Any]:
    key, secret = folder / "session.key", folder / "client.secret"
    key.write_text(base64.b64encode(b"k" * 32).decode())
    secret.write_text(CLIENT_SECRET + "\n")
    return {
        "oidc_issuer": idp.issuer, "oidc_client_id": "lang1 pages", "oidc_client_secret_file": str(secret),
        "oidc_allowed_groups": ["bed-managers"], "session_key_file": str(key),
    }  # fmt: skip


class Pages:
    """The gate and the login as the ingress has them, before pages that say who asks."""

    def __init__(self, **settings: Any) -> None:
        chosen = load_settings(**{"public_base_url": f"{ROOT}/fhir"} | settings)
        authenticator = Authenticator(chosen, never_written)
        app = FastAPI(dependencies=[Depends(let_in)])
        app.add_middleware(Gate, authenticator=authenticator)
        app.include_router(login_router(chosen, authenticator))

        @app.exception_handler(ServiceError)
        async def failed(request: Request, error: ServiceError) -> Response:
            return problem_response(request.url.path, error.problem)

        @app.get("/beds")
        async def beds(request: Request) -> Response:
            caller = caller_of(request)
            return Response(f"beds for {caller.user} from {caller.source}", media_type="text/html")

        @app.get("/v1/beds/forecast")
        @app.get("/fhir/RiskAssessment")
        async def answer(request: Request) -> dict[str, str | None]:
            return {"user": caller_of(request).user}

        self._app = Guard(app, Exposure.of(chosen))
        self.client = self.browser()

    def browser(self) -> TestClient:
        """A client with cookies of its own."""
        return TestClient(self._app, base_url=ROOT, follow_redirects=False)


async def never_written(work: Any, *args: Any) -> Any:
    raise AssertionError("a login writes nothing")


@pytest.fixture
def api(tmp_path: Path, idp: Idp) -> Pages:
    return Pages(**login_settings(tmp_path, idp))


def log_in(api: Pages, path: str = "/beds", **changed: str) -> Any:
    """What the callback answers, after the provider let the person in; `changed` are its parameters."""
    sent = api.client.get(path, headers=HTML)
    assert sent.status_code == 303
    begun = api.client.get(sent.headers["location"])
    assert begun.status_code == 303
    back = httpx.get(begun.headers["location"], trust_env=False).headers["location"]
    parts = urlsplit(back)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changed
    return api.client.get(f"{parts.scheme}://{parts.netloc}{parts.path}", params=query)


def test_a_person_without_a_session_is_sent_to_log_in_and_back(api: Pages) -> None:
    answer = log_in(api, "/beds?unit=4W&days=3")
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == f"{ROOT}/beds?unit=4W&days=3"
    (cookie,) = [each for each in answer.headers.get_list("set-cookie") if "session" in each]
    assert cookie.startswith("__Host-lang1-session=")
    for flag in ("HttpOnly", "Secure", "Path=/", "SameSite=lax", "Max-Age=28800"):
        assert flag in cookie
    assert "Domain" not in cookie
    assert "person-1" not in cookie
    page = api.client.get("/beds", headers=HTML)
    assert page.text == "beds for person-1 from login"
    assert api.client.get("/v1/beds/forecast").json() == {"user": "person-1"}
    assert api.client.get("/fhir/RiskAssessment").status_code == 401  # a session opens the board alone


def test_the_request_to_the_provider(api: Pages, idp: Idp) -> None:
    begun = urlsplit(api.client.get("/login").headers["location"])
    asked = {name: values[0] for name, values in parse_qs(begun.query).items()}
    assert begun.netloc == urlsplit(idp.issuer).netloc
    assert asked["redirect_uri"] == f"{ROOT}/login/callback"
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert all(len(asked[name]) == 43 for name in ("state", "nonce", "code_challenge"))
    again = parse_qs(urlsplit(api.client.get("/login").headers["location"]).query)
    assert all(again[name][0] != asked[name] for name in ("state", "nonce", "code_challenge"))


CHANGED: list[dict[str, str]] = [
    {"state": "x" * 43},
    {"state": ""},
    {"iss": "https://evil.example"},
    {"code": "forged"},
    {"code": ""},
    {"error": "access_denied"},
]


@pytest.mark.parametrize("changed", CHANGED)
def test_a_changed_callback_opens_no_session(changed: dict[str, str], api: Pages) -> None:
    answer = log_in(api, **changed)
    assert answer.status_code in (400, 401)
    assert "text/html" in answer.headers["content-type"]
    assert api.client.get("/beds", headers=HTML).status_code == 303


def test_a_state_is_compared_whole(api: Pages) -> None:
    sent = api.client.get("/login")
    back = urlsplit(httpx.get(sent.headers["location"], trust_env=False).headers["location"])
    query = {name: values[0] for name, values in parse_qs(back.query).items()}
    # The cookie is found by the state's first characters.
    near = query | {"state": query["state"][:-1] + ("A" if query["state"][-1] != "A" else "B")}
    assert api.client.get("/login/callback", params=near).status_code == 400
    assert api.client.get("/login/callback", params=query).status_code == 303


def test_a_callback_works_once_and_in_its_own_browser_alone(api: Pages) -> None:
    sent = api.client.get("/login")
    back = httpx.get(sent.headers["location"], trust_env=False).headers["location"]
    assert api.browser().get(back).status_code == 400
    assert api.client.get(back).status_code == 303
    assert api.client.get(back).status_code == 400


BAD_ID_TOKENS: dict[str, dict[str, Any]] = {
    "another nonce": {"nonce": "x" * 43},
    "no nonce": {"nonce": None},
    "another audience": {"aud": "other"},
    "two audiences and no azp": {"aud": ["lang1 pages", "other"]},
    "another azp": {"azp": "other"},
    "another issuer": {"iss": "https://evil.example"},
    "expired": {"exp": int(time.time()) - 60},
    "no sub": {"sub": None},
}


@pytest.mark.parametrize("name", BAD_ID_TOKENS)
def test_an_id_token_that_is_not_for_this_login_is_refused(name: str, api: Pages, idp: Idp) -> None:
    idp.id_token_changes = BAD_ID_TOKENS[name]
    assert log_in(api).status_code == 401
    assert api.client.get("/beds", headers=HTML).status_code == 303


@pytest.mark.parametrize(
    ("groups", "status"),
    [
        (["bed-managers", "x"], 303), ("bed-managers", 303), (["x"], 403), ([], 403), (None, 403),
        ({"bed-managers": 1}, 403), ("bed-managers x", 403),
    ],
)  # fmt: skip
def test_only_allowed_groups_get_a_session(groups: Any, status: int, api: Pages, idp: Idp) -> None:
    idp.person = {"sub": "person-2", "groups": groups}
    assert log_in(api).status_code == status


def test_logging_out(api: Pages, idp: Idp) -> None:
    log_in(api)
    for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": f"{ROOT}.evil.example"}):
        assert api.client.post("/logout", headers=headers).status_code == 403
    assert api.client.get("/beds", headers=HTML).status_code == 200
    answer = api.client.post("/logout", headers={"Origin": ROOT})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{idp.issuer}/bye?")
    assert api.client.get("/beds", headers=HTML).status_code == 303


def test_a_program_is_told_401_not_sent_to_a_login(api: Pages, idp: Idp) -> None:
    assert api.client.get("/v1/beds/forecast").status_code == 401
    assert api.client.get("/beds", headers={"Authorization": "Bearer a.b.c"}).status_code == 401


def test_a_bearer_token_works_on_the_page_too(tmp_path: Path, idp: Idp) -> None:
    pages = Pages(auth_issuers=[idp.issuer_setting()], **login_settings(tmp_path, idp))
    for scope, status in (("lang1/beds.read", 200), ("lang1/score", 403)):
        headers = {"Authorization": f"Bearer {idp.token('board', scope)}"}
        assert pages.client.get("/v1/beds/forecast", headers=headers).status_code == status
        assert pages.client.get("/beds", headers=headers | HTML).status_code == status


def test_a_provider_that_is_away(api: Pages, idp: Idp) -> None:
    idp.down = True
    answer = api.client.get("/login")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_a_provider_that_says_it_is_another_is_not_used(tmp_path: Path, idp: Idp) -> None:
    api = Pages(**(login_settings(tmp_path, idp) | {"oidc_issuer": f"{idp.issuer}/"}))
    assert api.client.get("/login").status_code == 503


@pytest.mark.parametrize(
    ("wanted", "leads"),
    [
        ("/beds?unit=4W", "/beds?unit=4W"), ("//evil.example/beds", "/beds"), ("https://evil.example/beds", "/beds"),
        ("/\\evil.example", "/beds"), ("/beds/../x", "/beds"), ("/beds?a=<script>", "/beds"), (None, "/beds"),
        ("javascript:alert(1)", "/beds"), ("/login", "/beds"), ("/beds?a=b\r\nSet-Cookie: x=y", "/beds"),
    ],
)  # fmt: skip
def test_a_login_leads_to_pages_of_this_service_alone(wanted: str | None, leads: str) -> None:
    assert local_page(wanted) == leads


def cookie_request(name: str, value: str) -> Request:
    return Request({"type": "http", "headers": [(b"cookie", f"{name}={value}".encode())]})


def test_cookies_are_sealed() -> None:
    now = 1000.0
    cookies = Cookies([b"a" * 32], secure=False, clock=lambda: now)
    response = Response()
    cookies.set(response, "lang1-session", "session", {"sub": "person-1"}, 60)
    value = response.headers["set-cookie"].split(";")[0].partition("=")[2]
    assert "Secure" not in response.headers["set-cookie"]
    opened = cookies.get(cookie_request("lang1-session", value), "lang1-session", "session")
    assert opened == {"sub": "person-1", "exp": 1060}
    assert cookies.get(cookie_request("lang1-session", value), "lang1-session", "login") is None
    rotated = Cookies([b"b" * 32, b"a" * 32], secure=False, clock=lambda: now)
    assert rotated.get(cookie_request("lang1-session", value), "lang1-session", "session") == opened
    other = Cookies([b"b" * 32], secure=False, clock=lambda: now)
    changed = value[:-2] + ("AA" if value[-2:] != "AA" else "BB")
    for reader, given in ((other, value), (cookies, changed), (cookies, "x"), (cookies, ""), (cookies, "a.b.c.d.e")):
        assert reader.get(cookie_request("lang1-session", given), "lang1-session", "session") is None
    now = 1060.0
    assert cookies.get(cookie_request("lang1-session", value), "lang1-session", "session") is None


def test_session_keys_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "key"
    for text in ("", "short", "!" * 44, base64.b64encode(b"x" * 40).decode()):
        file.write_text(text)
        with pytest.raises(ValueError, match="session_key_file"):
            read_session_keys(file)
    file.write_text("\n".join(base64.b64encode(bytes([each]) * 32).decode() for each in (1, 2)))
    assert read_session_keys(file) == [b"\1" * 32, b"\2" * 32]
