"""Why a caller is refused: constant words, so that nothing of a token gets into an answer or a log."""

from __future__ import annotations

from typing import Final

from serve.errors import Problem, ServiceError
from serve.http.request_id import HEADER, valid_or_new
from serve.logs import get_logger

_REALM: Final = 'Bearer realm="lang1"'

# Reason: FHIR issue code, what was wrong and the mend.
_TOKEN: Final = {
    "expired": ("expired", "the token has expired; get a new one"),
    "malformed": ("security", "the token is not a signed JWT in compact form; send the access token as it was issued"),
    "algorithm": ("security", "the token's algorithm is not accepted; sign with RS256, RS384 or ES384 as configured"),
    "header": ("security", "the token's header names keys or extensions that are not accepted; sign with a listed key"),
    "type": ("security", "the token is not of type JWT or at+jwt; send an access token"),
    "issuer": ("security", "the token's issuer is not configured here; get a token of a configured one"),
    "key": ("security", "the token's key is not in its issuer's JWK Set; publish the key, or sign with a listed one"),
    "signature": ("security", "the token's signature does not match; get a new token"),
    "audience": ("security", "the token is for another service; ask its issuer for one with this service's audience"),
    "time": ("security", "the token is not valid yet, or without a sane exp, nbf or iat; check the clocks"),
    "lifetime": ("security", "the token is valid for longer than is accepted; ask for a shorter-lived one"),
    "claims": ("security", "the token lacks a claim that is needed, or has it in another form; see the documentation"),
    "replayed": ("security", "the token's jti was used before; sign a new token for each call"),
    "secret": ("security", "the secret is not the configured one; correct the Subscription's header"),
    "session": ("expired", "the login has ended; log in again at /login"),
}


class TokenError(Exception):
    """A token that is not accepted, by one of the reasons above. Holds nothing of the token."""

    def __init__(self, reason: str) -> None:
        assert reason in _TOKEN
        super().__init__(reason)
        self.reason = reason

    @property
    def problem(self) -> Problem:
        """401 with the challenge of RFC 6750."""
        code, message = _TOKEN[self.reason]
        challenge = f'{_REALM}, error="invalid_token"'
        return Problem(401, code, message, headers={"WWW-Authenticate": challenge})


class NotLoggedInError(ServiceError):
    """No token and no session. A page sends a person on to the login."""

    def __init__(self) -> None:
        message = "a token is needed; send it once, as Authorization: Bearer"
        super().__init__(Problem(401, "login", message, headers={"WWW-Authenticate": _REALM}))


def forbidden_scope(wanted: tuple[str, ...]) -> Problem:
    """403: who calls is known and may not do this. `wanted` are the scopes of which one would do."""
    named = " or ".join(wanted)
    challenge = f'{_REALM}, error="insufficient_scope", scope="{" ".join(wanted)}"'
    return Problem(
        403, "forbidden", f"this needs the scope {named}; have it granted to the client",
        headers={"WWW-Authenticate": challenge},
    )  # fmt: skip


def closed_route() -> Problem:
    """403: a route without a rule of access."""
    return Problem(403, "forbidden", "this route is closed to everyone; tell the operator")


def cross_site() -> Problem:
    """403: a page of another site sent this with a person's session."""
    return Problem(403, "forbidden", "a request with a login must come from this service's own pages")


def issuer_away() -> ServiceError:
    """503: the keys of the token's issuer cannot be had, so that no token of it can be judged."""
    message = "the token's issuer does not answer, so the token cannot be checked; send it again later"
    return ServiceError(Problem(503, "transient", message, retry_after_s=5))


def log_refusal(scope_headers: list[tuple[bytes, bytes]], status: int, reason: str) -> None:
    """One line for who runs the service: the reason's name and the request id."""
    given = next((value for name, value in scope_headers if name == HEADER), None)
    get_logger().info("refused %d %s, request %s", status, reason, valid_or_new(given))
