"""The test EHR's authorisation server: SMART Backend Services, with every check that the specification asks for.

Signatures are checked with `cryptography` alone: the client under test signs with another library.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.ehr.messages import PLANTED, Refused, Reply, Request, plain_json

MAX_ASSERTION_S = 300
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_INTERACTIONS = {"GET": "rs", "POST": "c", "PUT": "u", "DELETE": "d"}


class AuthServer:
    """`register` a client's public JWKS; then `required` decides whether the FHIR base asks for a token."""

    def __init__(self, token_url: str) -> None:
        self.token_url = token_url
        self.required = False
        self.token_lifetime_s = 300
        self.clients: dict[str, Mapping[str, Any]] = {}
        self.granted: str | None = None
        """Scopes that every token gets in place of those asked for."""
        self.assertions: list[tuple[dict[str, Any], dict[str, Any]]] = []
        """Header and claims of every assertion whose signature was good."""
        self.refusals: list[str] = []
        """Why assertions were refused."""
        self.issued = 0
        self._tokens: dict[str, tuple[float, str]] = {}
        self._jtis: set[tuple[str, str]] = set()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def register(self, client_id: str, jwks: Mapping[str, Any]) -> None:
        """The client's public keys; a private one is a mistake of the test."""
        assert not any("d" in key for key in jwks["keys"])
        self.clients[client_id] = jwks

    def revoke_tokens(self) -> None:
        """Every token issued so far answers 401."""
        with self._lock:
            self._tokens.clear()

    def issue(self, scope: str, lifetime_s: float | None = None) -> str:
        """A token without an assertion, as an EHR puts into `fhirAuthorization`."""
        with self._lock:
            token = f"token-{next(self._numbers)}-{PLANTED}"
            self._tokens[token] = (time.time() + (self.token_lifetime_s if lifetime_s is None else lifetime_s), scope)
            self.issued += 1
        return token

    def configuration(self) -> Reply:
        return plain_json(
            {
                "token_endpoint": self.token_url,
                "grant_types_supported": ["client_credentials"],
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
                "scopes_supported": ["system/*.rs"],
                "capabilities": ["client-confidential-asymmetric", "permission-v2"],
            }
        )

    def answer(self, request: Request) -> Reply:
        """The token endpoint."""
        if request.method != "POST" or request.headers.get("content-type") != "application/x-www-form-urlencoded":
            return self._refuse("invalid_request", "not a form")
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items() if len(values) == 1}
        if form.get("grant_type") != "client_credentials":
            return self._refuse("unsupported_grant_type", "grant_type")
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            return self._refuse("invalid_client", "client_assertion_type")
        if not form.get("scope"):
            return self._refuse("invalid_scope", "scope")
        why = self._check(form.get("client_assertion", ""))
        if why is not None:
            return self._refuse("invalid_client", why)
        scope = self.granted or form["scope"]
        token = self.issue(scope)
        answer = {
            "access_token": token, "token_type": "bearer", "expires_in": self.token_lifetime_s, "scope": scope,
        }  # fmt: skip
        return plain_json(answer).with_headers(Cache_Control="no-store")

    def check(self, request: Request, resource_type: str | None) -> None:
        """Raises Refused: 401 without a good token, 403 where its scopes do not cover the request."""
        if not self.required:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        with self._lock:
            held = self._tokens.get(token)
        if scheme.lower() != "bearer" or held is None or held[0] <= time.time():
            raise Refused(401, "login")
        if resource_type is not None and not _covers(held[1], resource_type, _INTERACTIONS[request.method]):
            raise Refused(403, "forbidden")

    def _refuse(self, error: str, why: str) -> Reply:
        self.refusals.append(why)
        return plain_json({"error": error, "error_description": PLANTED}, 401 if error == "invalid_client" else 400)

    def _check(self, assertion: str) -> str | None:
        """Why the assertion is not good; None where it is."""
        try:
            head, body, signature = assertion.split(".")
            header, claims = json.loads(_bytes(head)), json.loads(_bytes(body))
            raw = _bytes(signature)
        except ValueError:
            return "not a JWT"
        client = claims.get("sub")
        keys = self.clients.get(client, {}).get("keys", []) if isinstance(client, str) else []
        key = next((each for each in keys if each["kid"] == header.get("kid")), None)
        if key is None:
            return "unknown client or kid"
        if header.get("typ") != "JWT" or not _verified(key, header.get("alg"), f"{head}.{body}".encode(), raw):
            return "signature"
        now = time.time()
        if claims.get("iss") != client:
            return "iss is not sub"
        if claims.get("aud") != self.token_url:
            return "aud"
        if not isinstance(claims.get("exp"), int) or not now < claims["exp"] <= now + MAX_ASSERTION_S:
            return "exp"
        jti = claims.get("jti")
        with self._lock:
            if not isinstance(jti, str) or not jti or (client, jti) in self._jtis:
                return "jti"
            self._jtis.add((client, jti))
            self.assertions.append((header, claims))
        return None


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _number(part: str) -> int:
    return int.from_bytes(_bytes(part), "big")


def _verified(key: Mapping[str, Any], algorithm: object, signed: bytes, signature: bytes) -> bool:
    try:
        if algorithm == "RS384" and key["kty"] == "RSA":
            public = rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key()
            public.verify(signature, signed, padding.PKCS1v15(), hashes.SHA384())
            return True
        if algorithm == "ES384" and key["kty"] == "EC" and key["crv"] == "P-384" and len(signature) == 96:
            point = ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), ec.SECP384R1()).public_key()
            r, s = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
            point.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
            return True
    except InvalidSignature:
        return False
    return False


def _covers(scopes: str, resource_type: str, interactions: str) -> bool:
    """Whether SMART scopes, v2 (`.rs`) or v1 (`.read`), give any of the interactions on the type."""
    for scope in scopes.split():
        subject, _, granted = scope.rpartition(".")
        granted = {"read": "rs", "write": "cud", "*": "cruds"}.get(granted, granted)
        level, _, named = subject.partition("/")
        if (
            level in {"system", "user", "patient"}
            and named in {"*", resource_type}
            and set(interactions) & set(granted)
        ):
            return True
    return False
