"""Cookies that only this service reads and writes: who is logged in, and a login that is under way.

A cookie is a JWE (direct key, A256GCM): encrypted and authenticated, so a browser learns and changes nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from starlette.requests import Request
from starlette.responses import Response

from serve.auth.settings import read_secret

Purpose = Literal["session", "login"]
_ALGORITHMS: Final = ["dir", "A256GCM"]
_MAX_CHARS: Final = 4096
_KEY_BYTES: Final = 32
SESSION: Final = "lang1-session"


class Cookies:
    """Sealed cookies. `secure` cookies go over https alone, and carry the `__Host-` prefix: no other host sets them."""

    def __init__(self, keys: Sequence[bytes], *, secure: bool, clock: Callable[[], float] = time.time) -> None:
        """`keys` are of 32 bytes; the first seals, all open."""
        # Derived, so that the operator's key itself is used for nothing else by accident.
        self._keys = [OctKey.import_key(hashlib.sha256(b"lang1 cookies\0" + key).digest()) for key in keys]
        self._secure = secure
        self._clock = clock

    def name(self, name: str) -> str:
        """The cookie's full name."""
        return f"__Host-{name}" if self._secure else name

    def set(self, response: Response, name: str, purpose: Purpose, content: Mapping[str, Any], max_age_s: int) -> None:
        """Put a sealed cookie on an answer. It opens for `max_age_s` seconds, whatever the browser does."""
        sealed = self._seal(purpose, {**content, "exp": int(self._clock()) + max_age_s})
        response.set_cookie(
            self.name(name), sealed, max_age=max_age_s, path="/", secure=self._secure, httponly=True, samesite="lax"
        )

    def clear(self, response: Response, name: str) -> None:
        """Take a cookie back."""
        response.delete_cookie(self.name(name), path="/", secure=self._secure, httponly=True, samesite="lax")

    def get(self, request: Request, name: str, purpose: Purpose) -> dict[str, Any] | None:
        """What a cookie holds; None for one that is absent, changed, over, or made for another purpose."""
        return self._open(request.cookies.get(self.name(name), ""), purpose)

    def _seal(self, purpose: Purpose, content: Mapping[str, Any]) -> str:
        header = {"alg": "dir", "enc": "A256GCM", "typ": f"lang1-{purpose}"}
        return jwe.encrypt_compact(header, orjson.dumps(content), self._keys[0], algorithms=_ALGORITHMS)

    def _open(self, sealed: str, purpose: Purpose) -> dict[str, Any] | None:
        if not sealed or len(sealed) > _MAX_CHARS:
            return None
        for key in self._keys:
            try:
                opened = jwe.decrypt_compact(sealed, key, algorithms=_ALGORITHMS)
                header = opened.headers()
                content = orjson.loads(opened.plaintext or b"")
            except (JoseError, ValueError, TypeError, KeyError):
                continue
            if header.get("typ") != f"lang1-{purpose}":
                return None
            return content if self._clock() < content["exp"] else None
        return None


def read_session_keys(path: Path) -> list[bytes]:
    """The keys in session_key_file, one a line in base64. Raises ValueError."""
    lines = read_secret(path, "session_key_file", 43).split()
    try:
        keys = [base64.b64decode(line, validate=True) for line in lines]
    except binascii.Error:
        raise ValueError(f"session_key_file: {path} is not base64; make it by `openssl rand -base64 32`") from None
    if any(len(key) != _KEY_BYTES for key in keys):
        raise ValueError(
            f"session_key_file: {path} must hold keys of {_KEY_BYTES} bytes; use `openssl rand -base64 32`"
        )
    return keys
