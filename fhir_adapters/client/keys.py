"""The private key that this client proves itself with, and its public half for the EHR's registration."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from joserfc import jwk, jwt
from joserfc.errors import JoseError

from fhir_adapters.client.errors import ClientConfigError

_MAX_KEY_BYTES: Final = 64 * 1024
_MIN_RSA_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key: RSA of 2048 bits or more (RS384) or EC P-384 (ES384), as SMART Backend Services asks."""

    key_id: str
    algorithm: str
    _key: jwk.RSAKey | jwk.ECKey = field(repr=False, compare=False)

    def sign(self, claims: dict[str, Any]) -> str:
        """A compact JWT of the claims."""
        header = {"alg": self.algorithm, "kid": self.key_id, "typ": "JWT"}
        return jwt.encode(header, claims, self._key, algorithms=[self.algorithm])

    def public_jwk(self) -> dict[str, Any]:
        """The public half as a JWK; nothing private is in it."""
        public = self._key.as_dict(private=False)
        kept = {name: public[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in public}
        return kept | {"kid": self.key_id, "alg": self.algorithm, "use": "sig", "key_ops": ["verify"]}


def public_jwks(*keys: SigningKey) -> dict[str, Any]:
    """The JWK set that an EHR registers. While a key is replaced, give both: the new one first."""
    return {"keys": [key.public_jwk() for key in keys]}


def read_signing_key(path: Path, key_id: str | None = None) -> SigningKey:
    """The key in a PEM file without a passphrase, or in a JWK.

    Its id is `key_id`, else the JWK's `kid`, else the RFC 7638 thumbprint. Raises ClientConfigError, which names the
    file and none of its text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_KEY_BYTES + 1)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({type(error).__name__})") from None
    if len(data) > _MAX_KEY_BYTES:
        raise _unusable(path, "is too large to be a key")
    key = _imported(path, data)
    if not key.is_private:
        raise _unusable(path, "holds a public key; the private one is needed to sign")
    algorithm = _algorithm(path, key)
    # Of the JWK itself: joserfc's own accessors would make a kid up.
    declared = key.as_dict(private=False)
    if declared.get("alg") not in (None, algorithm):
        raise _unusable(path, f"declares another algorithm than {algorithm}; remove alg or give another key")
    kid = key_id or declared.get("kid") or key.thumbprint()
    return SigningKey(str(kid), algorithm, key)


class KeyFile:
    """A key file that may be replaced while the service runs. Thread-safe."""

    def __init__(self, path: Path, key_id: str | None = None) -> None:
        """Reads the key. Raises ClientConfigError."""
        self._path = path
        self._key_id = key_id
        self._lock = threading.Lock()
        self._stamp = self._stamp_now()
        self._key = read_signing_key(path, key_id)

    def __repr__(self) -> str:
        return f"KeyFile({str(self._path)!r})"

    def current(self) -> SigningKey:
        """The key as the file holds it now; the one before while the file is absent or half written."""
        with self._lock:
            stamp = self._stamp_now()
            if stamp is not None and stamp != self._stamp:
                try:
                    self._key = read_signing_key(self._path, self._key_id)
                    self._stamp = stamp
                except ClientConfigError:
                    return self._key
            return self._key

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116  # follows the links by which Kubernetes replaces a secret
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


def _imported(path: Path, data: bytes) -> jwk.RSAKey | jwk.ECKey:
    try:
        if data.lstrip().startswith(b"{"):
            value = json.loads(data)
            kind = value.get("kty")
            if "keys" in value:
                raise _unusable(path, "is a set of keys; give the one private JWK")
        else:
            value, kind = data, None
        if kind in (None, "RSA"):
            try:
                return jwk.RSAKey.import_key(value)
            except (JoseError, ValueError, TypeError):
                if kind is not None:
                    raise
        if kind in (None, "EC"):
            return jwk.ECKey.import_key(value)
    except ClientConfigError:
        raise
    except Exception:
        # Whatever a parser of keys throws may quote the key.
        raise _unusable(path, "is neither an RSA or EC private key in PEM without a passphrase nor a JWK") from None
    raise _unusable(path, "is a JWK of another type than RSA or EC")


def _algorithm(path: Path, key: jwk.RSAKey | jwk.ECKey) -> str:
    if isinstance(key, jwk.RSAKey):
        if key.raw_value.key_size < _MIN_RSA_BITS:
            raise _unusable(path, f"is an RSA key under {_MIN_RSA_BITS} bits; make a longer one")
        return "RS384"
    if key.curve_name != "P-384":
        raise _unusable(path, "is an EC key of another curve than P-384, which ES384 needs")
    return "ES384"


def _unusable(path: Path, why: str) -> ClientConfigError:
    return ClientConfigError(f"key file {path}: {why}")
