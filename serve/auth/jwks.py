"""Public keys of issuers, from a URL or a file: cached, rotated, and kept while an issuer is away.

A token names its key by `kid` alone. Where keys are is a setting: no `jku`, `x5u` or `jwk` of a token leads anywhere.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from fhir_adapters.errors import FhirInputError
from fhir_adapters.json_body import parse_json_object
from serve.auth.faults import issuer_away
from serve.auth.fetching import MAX_BYTES, Fetcher, FetchError
from serve.auth.settings import AuthSettings, KeyPlace
from serve.logs import get_logger

Key = RSAKey | ECKey

MIN_AGE_S: Final = 60.0
DEFAULT_AGE_S: Final = 600.0
MAX_AGE_S: Final = 3600.0
"""Bounds of `Cache-Control: max-age` on a JWK Set."""
UNKNOWN_KID_S: Final = 30.0
"""An unknown kid has the set fetched again, at most this often: a forged token costs the issuer nothing more."""
RETRY_S: Final = 15.0
FILE_CHECK_S: Final = 5.0
_MAX_KEYS: Final = 100
_MIN_RSA_BITS: Final = 2048
_PUBLIC: Final = {"RSA": ("kty", "n", "e", "kid"), "EC": ("kty", "crv", "x", "y", "kid")}
_MAX_AGE: Final = re.compile(r"(?:^|[,\s])max-age=([0-9]{1,9})(?:$|[,\s])", re.IGNORECASE)


class KeySource(Protocol):
    """Keys of one issuer."""

    @property
    def generation(self) -> int:
        """Counts the changes of the set: what an older one vouched for is to be checked again."""
        ...

    def refresh_if_due(self) -> None:
        """Look whether the set changed, without waiting for it."""
        ...

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """The keys that may have signed. Raises ServiceError 503 where no set was ever to be had."""
        ...


class KeySet:
    """The usable signature keys of a JWK Set: RSA of 2048 bits or more, and P-384."""

    def __init__(self, jwks: Mapping[str, Any]) -> None:
        """Raises ValueError for a set without any."""
        entries = jwks.get("keys")
        found = [_usable(entry) for entry in entries[:_MAX_KEYS]] if isinstance(entries, list) else []
        self._keys = [each for each in found if each is not None]
        if not self._keys:
            raise ValueError("no key of 2048-bit RSA or P-384 in it")
        self.thumbprints = frozenset((key.kid, algorithm, key.thumbprint()) for key, algorithm in self._keys)

    def find(self, kid: str | None, algorithm: str) -> list[Key]:
        """By kid; without one, the only key that fits the algorithm."""
        kind = ECKey if algorithm.startswith("ES") else RSAKey
        fitting = [key for key, only in self._keys if isinstance(key, kind) and only in (None, algorithm)]
        if kid is not None:
            return [key for key in fitting if key.kid == kid]
        return fitting if len(fitting) == 1 else []


def _usable(entry: object) -> tuple[Key, str | None] | None:
    """The public part of a JWK and the one algorithm that it is for; None for a key that signs nothing here."""
    if not isinstance(entry, dict) or entry.get("kty") not in _PUBLIC or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return None
    kind = RSAKey if entry["kty"] == "RSA" else ECKey
    # Public members alone: an issuer that publishes a private key by mistake gives none to this process.
    bare = {name: entry[name] for name in _PUBLIC[entry["kty"]] if name in entry}
    try:
        key = kind.import_key(bare)
        fits = key.public_key.key_size >= _MIN_RSA_BITS if isinstance(key, RSAKey) else entry.get("crv") == "P-384"
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    only = entry.get("alg")
    return (key, only if isinstance(only, str) else None) if fits else None


class JwksFile:
    """A JWK Set in a file, read again when the file changes, as a mounted Secret does."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ValueError for a file that is no JWK Set."""
        self._path = path.expanduser()
        self._clock = clock
        self.generation = 0
        self._checked = clock()
        self._mark = self._stat()
        self._keys = self._read()

    def refresh_if_due(self) -> None:
        now = self._clock()
        if now - self._checked < FILE_CHECK_S:
            return
        self._checked = now
        try:
            mark = self._stat()
            if mark == self._mark:
                return
            self._keys, self._mark = self._read(), mark
        except ValueError as error:
            get_logger().error("keys are kept as they were: %s", error)
            return
        self.generation += 1

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        self.refresh_if_due()
        return self._keys.find(kid, algorithm)

    def _stat(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise ValueError(f"jwks_file {self._path}: cannot be read ({type(error).__name__})") from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> KeySet:
        try:
            return KeySet(parse_json_object(self._path.read_bytes(), max_bytes=MAX_BYTES, max_depth=16))
        except (OSError, FhirInputError) as error:
            raise ValueError(f"jwks_file {self._path}: is no JWK Set in JSON ({type(error).__name__})") from None
        except ValueError as error:
            raise ValueError(f"jwks_file {self._path}: {error}") from None


class JwksUrl:
    """A JWK Set at a URL. Known keys go on being used while it is fetched again, and for `stale_s` while it fails."""

    def __init__(
        self, url: str, fetcher: Fetcher, *, stale_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.url = url
        self.generation = 0
        self._fetcher = fetcher
        self._stale_s = stale_s
        self._clock = clock
        self._keys: KeySet | None = None
        self._fetched = self._fresh_until = self._tried = float("-inf")
        self._asked_unknown = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    def refresh_if_due(self) -> None:
        now = self._clock()
        if now >= self._fresh_until and now - self._tried >= RETRY_S:
            self._start()

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        keys = self._current()
        if keys is None:
            keys = await self._fetch_now()
        else:
            self.refresh_if_due()
        found = keys.find(kid, algorithm)
        if found:
            return found
        now = self._clock()
        if now - self._fetched < 1.0 or now - self._asked_unknown < UNKNOWN_KID_S:
            if self._fetching is None:
                return found
        else:
            self._asked_unknown = now
            self._start()
        await self._wait()
        keys = self._current()
        return keys.find(kid, algorithm) if keys else found

    def _current(self) -> KeySet | None:
        """The known keys, while they are not too old."""
        return self._keys if self._clock() - self._fetched < max(self._stale_s, MAX_AGE_S) else None

    async def _fetch_now(self) -> KeySet:
        # After a failure nobody waits again for RETRY_S/5: a token that cannot be judged is answered at once.
        if self._fetching is not None or self._clock() - self._tried >= RETRY_S / 5:
            self._start()
            await self._wait()
        keys = self._current()
        if keys is None:
            raise issuer_away()
        return keys

    def _start(self) -> None:
        if self._fetching is None:
            self._tried = self._clock()
            self._fetching = asyncio.create_task(self._fetch())

    async def _wait(self) -> None:
        if self._fetching is not None:
            # Shielded: others wait for the same fetch.
            await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        try:
            jwks, headers = await self._fetcher.get_json(self.url)
            keys = KeySet(jwks)
        except (FetchError, ValueError) as error:
            get_logger().error("a JWK Set could not be fetched (%s); known keys are kept", error)
        else:
            now = self._clock()
            if self._keys is None or keys.thumbprints != self._keys.thumbprints:
                self.generation += 1
            self._keys, self._fetched, self._fresh_until = keys, now, now + _max_age_s(headers)
        finally:
            self._fetching = None


def _max_age_s(headers: Mapping[str, str]) -> float:
    found = _MAX_AGE.search(headers.get("cache-control", ""))
    return min(max(float(found[1]), MIN_AGE_S), MAX_AGE_S) if found else DEFAULT_AGE_S


class KeySources:
    """The key sources of one process, one for each place: an EHR that signs both tokens and CDS calls is asked once."""

    def __init__(self, settings: AuthSettings, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._stale_s = settings.jwks_stale_hours * 3600
        self._by_place: dict[str | Path, KeySource] = {}

    def of(self, place: KeyPlace) -> KeySource:
        """The keys of a setting's `jwks_url` or `jwks_file`. Raises ValueError for a file that is no JWK Set."""
        where = place.jwks_file or place.jwks_url
        assert where is not None
        if where not in self._by_place:
            self._by_place[where] = JwksFile(where) if isinstance(where, Path) else self.at(where)
        return self._by_place[where]

    def at(self, url: str) -> JwksUrl:
        """Keys at a URL that a provider named; not kept."""
        return JwksUrl(url, self._fetcher, stale_s=self._stale_s)

    def refresh(self) -> None:
        """Begin to fetch what is due. At the start, so that no first caller waits or meets an issuer that went away."""
        for source in self._by_place.values():
            source.refresh_if_due()
