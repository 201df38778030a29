"""A small authorisation server and OpenID provider for tests: real HTTP on loopback, keys that can be rotated.

`token(client, scopes, **claims)` gives an access token, `cds_jwt(audience, **claims)` a JWT of a CDS Hooks client.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

AUDIENCE = "https://lang1.example.org/fhir"
CLIENT_SECRET = "a-secret-of-the-test"
_RSA = RSAKey.generate_key(2048, {"kid": "rsa-1"})  # made once: a key takes a while
_EC = ECKey.generate_key("P-384", {"kid": "ec-1"})


class Idp:
    """Started at once; `close` it. `down = True` answers 500; `requests` are the paths that were asked for."""

    def __init__(self, audience: str = AUDIENCE) -> None:
        self.audience = audience
        self.keys: dict[str, RSAKey | ECKey] = {"RS384": _RSA, "ES384": _EC}
        self.published: list[RSAKey | ECKey] = [_RSA, _EC]
        self.down = False
        self.cache_control = "max-age=60"
        self.requests: list[str] = []
        self.person: dict[str, Any] = {"sub": "person-1", "groups": ["bed-managers"]}
        self.id_token_changes: dict[str, Any] = {}
        self._codes: dict[str, dict[str, str]] = {}
        idp = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                idp._get(self)

            def do_POST(self) -> None:
                idp._post(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self.jwks_url = f"{self.issuer}/jwks"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": [{**key.as_dict(private=False), "use": "sig"} for key in self.published]}

    def issuer_setting(self, **more: Any) -> dict[str, Any]:
        """An entry of `auth_issuers`."""
        return {"issuer": self.issuer, "audience": self.audience, "jwks_url": self.jwks_url} | more

    def token(
        self,
        client: str,
        scopes: str = "",
        *,
        algorithm: str = "ES384",
        header: Mapping[str, Any] | None = None,
        key: Any = None,
        **claims: Any,
    ) -> str:
        """An access token for five minutes. A claim of None is left out, as is a header of None."""
        now = int(time.time())
        every: dict[str, Any] = {
            "iss": self.issuer, "aud": self.audience, "sub": client, "client_id": client, "iat": now, "exp": now + 300,
            "scope": scopes,
        } | claims  # fmt: skip
        return self.sign(every, algorithm=algorithm, header=header, key=key)

    def cds_jwt(self, audience: str, *, algorithm: str = "ES384", **claims: Any) -> str:
        """A JWT of CDS Hooks for one call."""
        now = int(time.time())
        every: dict[str, Any] = {
            "iss": self.issuer, "aud": audience, "iat": now, "exp": now + 300, "jti": secrets.token_hex(16)
        } | claims  # fmt: skip
        return self.sign(every, algorithm=algorithm)

    def sign(
        self, claims: Mapping[str, Any], *, algorithm: str = "ES384", header: Mapping[str, Any] | None = None,
        key: Any = None,
    ) -> str:  # fmt: skip
        """Any claims as a JWT."""
        chosen = key or self.keys[algorithm if algorithm in self.keys else "RS384"]
        every = {"alg": algorithm, "kid": chosen.kid, "typ": "JWT"} | dict(header or {})
        bare = {name: value for name, value in every.items() if value is not None}
        given = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(bare, given, chosen, algorithms=[algorithm], default_type=None)

    def rotate(self, kid: str, *, keep: bool = False) -> None:
        """A new EC key; the old one is unpublished unless `keep`."""
        new = ECKey.generate_key("P-384", {"kid": kid})
        self.published = ([*self.published] if keep else []) + [new]
        self.keys = {**self.keys, "ES384": new}

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        self.requests.append(parts.path)
        if self.down:
            return _answer(handler, 500, b"down")
        if parts.path == "/jwks":
            return _json(handler, self.jwks, {"Cache-Control": self.cache_control})
        if parts.path == "/.well-known/openid-configuration":
            return _json(
                handler,
                {
                    "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token", "jwks_uri": self.jwks_url,
                    "end_session_endpoint": f"{self.issuer}/bye",
                },
            )  # fmt: skip
        if parts.path == "/authorize":
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            code = secrets.token_urlsafe(16)
            self._codes[code] = asked
            back = {"code": code, "state": asked["state"], "iss": self.issuer}
            return _answer(handler, 302, b"", {"Location": f"{asked['redirect_uri']}?{urlencode(back)}"})
        return _answer(handler, 404, b"")

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", "0"))).decode()
        self.requests.append(urlsplit(handler.path).path)
        form = {name: values[0] for name, values in parse_qs(body).items()}
        asked = self._codes.pop(form.get("code", ""), None)
        if self.down or handler.path != "/token" or asked is None:
            return _answer(handler, 400, b'{"error": "invalid_grant"}')
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        given = base64.b64decode(handler.headers.get("Authorization", "Basic ").removeprefix("Basic ")).decode()
        good = (
            challenge.decode() == asked["code_challenge"]
            and form["redirect_uri"] == asked["redirect_uri"]
            and unquote_plus(given) == f"{asked['client_id']}:{CLIENT_SECRET}"
        )
        if not good:
            return _answer(handler, 400, b'{"error": "invalid_grant"}')
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": asked["client_id"], "iat": now, "exp": now + 300, "nonce": asked["nonce"]
        } | self.person | self.id_token_changes  # fmt: skip
        return _json(handler, {"access_token": "x", "token_type": "Bearer", "id_token": self.sign(claims)})


def _json(handler: BaseHTTPRequestHandler, value: Any, headers: Mapping[str, str] | None = None) -> None:
    _answer(handler, 200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


def _answer(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
