"""Checking a signed JWT: its form, header, signature and claims. RFC 7515, 7519, 8725, 9068."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc import jws
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jwt import JWTClaimsRegistry

from fhir_adapters.errors import FhirInputError
from fhir_adapters.json_body import parse_json_object
from serve.auth.faults import TokenError
from serve.auth.jwks import KeySource
from serve.auth.settings import ALGORITHMS

MAX_TOKEN_CHARS: Final = 16 * 1024
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]{1,4096})\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]{0,2048}")
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_MAX_DEPTH: Final = 8
_REASONS: Final = {"aud": "audience", "exp": "time", "nbf": "time", "iat": "time"}


@dataclass(frozen=True, slots=True)
class UncheckedToken:
    """A token that was read and not believed: its issuer and kid say by which keys it is to be checked."""

    text: str = field(repr=False)
    header: dict[str, Any] = field(repr=False)
    claims: dict[str, Any] = field(repr=False)

    @property
    def issuer(self) -> str | None:
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else None


def read_token(text: str) -> UncheckedToken:
    """Header and claims of a JWT in compact form. Raises TokenError, also for a name twice in one of them."""
    found = _COMPACT.fullmatch(text) if len(text) <= MAX_TOKEN_CHARS else None
    if found is None:
        raise TokenError("malformed")
    return UncheckedToken(text, _json(found[1]), _json(found[2]))


def _json(part: str) -> dict[str, Any]:
    try:
        return parse_json_object(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), max_depth=_MAX_DEPTH)
    except (FhirInputError, binascii.Error, ValueError):
        raise TokenError("malformed") from None


async def check_signature(
    token: UncheckedToken,
    keys: KeySource,
    *,
    algorithms: Collection[str],
    jwks_url: str | None,
    needs_kid: bool = False,
) -> None:
    """Raise TokenError unless a key of `keys` signed the token with one of `algorithms`; ServiceError without keys.

    A `jku` may repeat `jwks_url`, and nothing else; it is never fetched.
    """
    header = token.header
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if algorithm not in ALGORITHMS or algorithm not in algorithms:
        raise TokenError("algorithm")
    if {"crit", "b64", "jwk", "x5u", "zip", "enc"} & header.keys() or ("jku" in header and header["jku"] != jwks_url):
        raise TokenError("header")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise TokenError("type")
    if (kid is None and needs_kid) or (kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= 256)):
        raise TokenError("key")
    candidates = await keys.find(kid, algorithm)
    if not candidates:
        raise TokenError("key")
    if not any(_is_signed_by(token.text, key, algorithm) for key in candidates):
        raise TokenError("signature")


def _is_signed_by(text: str, key: Any, algorithm: str) -> bool:
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    registry.max_header_length = registry.max_payload_length = registry.max_signature_length = MAX_TOKEN_CHARS
    try:
        jws.deserialize_compact(text, key, registry=registry)
    except (JoseError, ValueError, TypeError):
        return False
    return True


def check_claims(
    claims: dict[str, Any],
    *,
    audiences: Sequence[str],
    now: float,
    leeway_s: int,
    max_lifetime_s: float,
    needed: Collection[str] = (),
) -> int:
    """Raise TokenError for claims that do not hold now. Returns `exp`, in seconds since 1970.

    `now` is in the same seconds; `needed` names claims that must be there besides `exp` and `aud`.
    """
    options: dict[str, Any] = {name: {"essential": True} for name in ("exp", *needed)}
    options["aud"] = {"essential": True, "values": list(audiences)}
    registry = JWTClaimsRegistry(now=int(now), leeway=leeway_s, **options)
    try:
        registry.validate(claims)
    except ExpiredTokenError:
        raise TokenError("expired") from None
    except MissingClaimError:
        raise TokenError("claims") from None
    except InvalidClaimError as error:
        raise TokenError(_REASONS.get(error.claim, "claims")) from None
    except (JoseError, ValueError, TypeError, OverflowError):
        raise TokenError("claims") from None
    if claims["exp"] > now + leeway_s + max_lifetime_s:
        raise TokenError("lifetime")
    return int(claims["exp"])
