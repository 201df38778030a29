"""SMART Backend Services: access tokens for a client that proves itself with a signed assertion.

HL7 SMART App Launch 2.2, "Backend Services" and "Asymmetric Client Authentication".
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from fhir_adapters.client.answers import failure, json_of, wire_failure
from fhir_adapters.client.clock import SYSTEM_CLOCK, Clock
from fhir_adapters.client.errors import ClientConfigError, ErrorKind, FhirServerError
from fhir_adapters.client.keys import KeyFile, SigningKey
from fhir_adapters.client.tokens import TOKEN
from fhir_adapters.client.urls import Base
from fhir_adapters.client.wire import Reply, Wire, WireError

ASSERTION_LIFETIME_S: Final = 240
"""Under the five minutes that servers allow, so that a clock that is a minute ahead of theirs is no refusal."""

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_DISCOVERY_LIFETIME_S: Final = 3600.0
_UNSTATED_LIFETIME_S: Final = 60.0
_MAX_BYTES: Final = 256 * 1024
# RFC 6749, 5.2. Any other text in `error` is the server's own and is not passed on.
_OAUTH_ERRORS: Final = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float


class BackendServices:
    """Tokens for `client_id`, kept until shortly before they expire; one request for a token at a time. Thread-safe.

    The token endpoint is `token_url`, or the one that `{base}/.well-known/smart-configuration` names.
    """

    def __init__(
        self,
        base_url: str,
        *,
        client_id: str,
        key: KeyFile | SigningKey,
        scopes: str,
        wire: Wire,
        token_url: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._base = Base.of(base_url)
        self._client_id = client_id
        self._key = key
        self._scopes = scopes
        self._wire = wire
        self._clock = clock
        if token_url is not None and not self._good_endpoint(token_url):
            raise ClientConfigError("the token URL must be https, as the FHIR base is, without user, query or fragment")
        self._configured_url = token_url
        self._discovered: tuple[str, float] | None = None
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._requests = 0
        self._failed: FhirServerError | None = None

    def __repr__(self) -> str:
        return f"BackendServices({self._client_id!r})"

    def token(self, until: float) -> str | None:
        """See TokenSource."""
        seen = self._requests
        held = self._token
        if held is not None and self._clock.monotonic() < held.renew_at:
            return held.value
        if not self._lock.acquire(timeout=max(0.0, until - self._clock.monotonic())):
            raise FhirServerError("token: no answer in time", kind=ErrorKind.UNAVAILABLE)
        try:
            held = self._token
            if held is not None and self._clock.monotonic() < held.renew_at:
                return held.value
            if self._requests != seen and self._failed is not None:
                # Who waited for a request that failed does not make the same one again, each in turn.
                raise self._failed.again()
            return self._renew(until).value
        finally:
            self._lock.release()

    def refused(self, token: str | None) -> bool:
        """See TokenSource."""
        with self._lock:
            if self._token is not None and self._token.value == token:
                self._token = None
        return True

    def _renew(self, until: float) -> _Token:
        self._token, self._failed = None, None
        try:
            self._token = self._request(until)
        except FhirServerError as error:
            self._failed = error
            raise
        finally:
            self._requests += 1
        return self._token

    def _request(self, until: float) -> _Token:
        key = self._key.current() if isinstance(self._key, KeyFile) else self._key
        url = self._configured_url or self._discover(key, until)
        form = {
            "grant_type": "client_credentials",
            "scope": self._scopes,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": key.sign(self._claims(url)),
        }
        began = self._clock.monotonic()
        reply = self._exchange("POST", url, urlencode(form).encode(), until)
        if reply.status != 200:
            self._discovered = None
            raise _refusal(reply, self._clock.now())
        return _token_of(json_of(reply, "token"), began)

    def _claims(self, token_url: str) -> dict[str, Any]:
        # No iat and no nbf: nothing asks for them, and a clock ahead of the server's would put them in its future.
        return {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": token_url,
            "exp": int(self._clock.now()) + ASSERTION_LIFETIME_S,
            "jti": str(uuid.uuid4()),
        }

    def _discover(self, key: SigningKey, until: float) -> str:
        if self._discovered is not None and self._clock.monotonic() < self._discovered[1]:
            return self._discovered[0]
        reply = self._exchange("GET", self._base.join(".well-known/smart-configuration"), None, until)
        if reply.status != 200:
            raise failure(reply, "read smart-configuration", now=self._clock.now(), write=False)
        found = json_of(reply, "read smart-configuration")
        url = found.get("token_endpoint")
        if not isinstance(url, str) or not self._good_endpoint(url):
            raise FhirServerError(
                "smart-configuration: the token endpoint is not an https URL; set the token URL",
                kind=ErrorKind.SECURITY,
            )
        offered = found.get("token_endpoint_auth_signing_alg_values_supported")
        if isinstance(offered, list) and offered and key.algorithm not in offered:
            raise FhirServerError(
                f"smart-configuration: the server does not take {key.algorithm}; give a key of the other type",
                kind=ErrorKind.UNAUTHORIZED,
            )
        self._discovered = (url, self._clock.monotonic() + _DISCOVERY_LIFETIME_S)
        return url

    def _good_endpoint(self, url: str) -> bool:
        # A signed assertion goes there: never in the clear, unless the FHIR base is so too.
        try:
            return Base.of(url).secure or not self._base.secure
        except ClientConfigError:
            return False

    def _exchange(self, method: str, url: str, body: bytes | None, until: float) -> Reply:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            return self._wire.send(method, url, headers=headers, body=body, until=until, max_bytes=_MAX_BYTES)
        except WireError as error:
            raise wire_failure(error, "token", write=False) from None


def _token_of(answer: Mapping[str, Any], began: float) -> _Token:
    value, kind, lifetime = answer.get("access_token"), answer.get("token_type"), answer.get("expires_in")
    if not isinstance(value, str) or not TOKEN.fullmatch(value) or str(kind).lower() != "bearer":
        raise FhirServerError("token: the answer holds no bearer token", kind=ErrorKind.UNAVAILABLE, status=200)
    try:
        seconds = float(lifetime) if isinstance(lifetime, str | int | float) else _UNSTATED_LIFETIME_S
    except ValueError:
        seconds = _UNSTATED_LIFETIME_S
    if not 0 < seconds < 1e9:
        seconds = _UNSTATED_LIFETIME_S
    # Early enough for a request that is on its way, and not half of the life of a short token.
    return _Token(value, began + seconds - min(30.0, seconds * 0.2))


def _refusal(reply: Reply, now: float) -> FhirServerError:
    if reply.status not in (400, 401, 403):
        return failure(reply, "token", now=now, write=False)
    try:
        error = json_of(reply, "token").get("error")
    except FhirServerError:
        error = None
    named = f" {error}" if isinstance(error, str) and error in _OAUTH_ERRORS else ""
    return FhirServerError(
        f"token: the token endpoint answered {reply.status}{named}; check the client id, its registered key and scopes",
        kind=ErrorKind.UNAUTHORIZED,
        status=reply.status,
    )
