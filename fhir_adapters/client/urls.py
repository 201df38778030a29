"""Which URLs belong to the one configured FHIR server. Everything that the client follows is checked here.

URLs are compared as text against the configuration: no name is resolved, no address read. What passes is rebuilt from
the configured origin, so that two readers of a URL cannot disagree about its host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from fhir_adapters.client.errors import ClientConfigError, ErrorKind, FhirServerError

_ID: Final = r"[A-Za-z0-9\-.]{1,64}"
_TYPE: Final = r"[A-Z][A-Za-z]{1,63}"
_REFERENCE: Final = re.compile(rf"({_TYPE})/({_ID})(?:/_history/({_ID}))?")
_TAIL: Final = re.compile(rf"(?:^|/)({_TYPE})/({_ID})(?:/_history/({_ID}))?/?$")
_ABSOLUTE: Final = re.compile(r"(https?)://([^/?#]*)(/[^?#]*)?(\?[^#]*)?", re.IGNORECASE)
# Characters that RFC 3986 allows in a path and a query; no backslash, no space, no control, nothing beyond ASCII.
_PLAIN: Final = re.compile(r"[A-Za-z0-9\-._~:/?@!$&'()*+,;=%|\[\]]*")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Reference:
    """`type/id` of a resource, and its version where the reference names one."""

    type: str
    id: str
    version: str | None = None

    @property
    def path(self) -> str:
        return f"{self.type}/{self.id}" + (f"/_history/{self.version}" if self.version else "")

    @property
    def literal(self) -> str:
        """`Type/id`, without the version."""
        return f"{self.type}/{self.id}"


def parse_reference(text: str) -> Reference | None:
    """The relative reference `Type/id[/_history/version]`; None for anything else, also for the ids `.` and `..`."""
    return _as_reference(_REFERENCE.fullmatch(text))


def reference_at_end(url: str) -> Reference | None:
    """The reference that a URL ends with, whatever is before it: for `Location`, which is read and never followed."""
    return _as_reference(_TAIL.search(url))


def _as_reference(found: re.Match[str] | None) -> Reference | None:
    # Two dots alone are a valid id to the FHIR pattern, and a parent folder to a web server.
    if found is None or any(part in {".", ".."} for part in found.groups()):
        return None
    return Reference(found[1], found[2], found[3])


@dataclass(frozen=True, slots=True)
class Base:
    """A FHIR base URL: `origin` is scheme://host[:port] in lower case, `path` starts with / and ends without one."""

    origin: str
    path: str

    @classmethod
    def of(cls, url: str) -> Base:
        """Raises ClientConfigError for a base with credentials, a query, a fragment or another scheme."""
        found = _ABSOLUTE.fullmatch(url)
        origin = found and _origin(found[1], found[2])
        if found is None or origin is None or found[4] is not None or not _safe_path(found[3] or ""):
            raise ClientConfigError("the FHIR base URL must be http(s)://host[:port]/path, without user, query or dots")
        return cls(origin, (found[3] or "").rstrip("/"))

    @property
    def url(self) -> str:
        return self.origin + self.path

    @property
    def secure(self) -> bool:
        return self.origin.startswith("https:")

    def join(self, path: str) -> str:
        """The URL of a path that this program wrote itself."""
        return f"{self.url}/{path}" if path else self.url

    def reference(self, url: str) -> Reference:
        """The resource that a relative reference, or an absolute one under this base, names. Raises `security`."""
        found = parse_reference(url)
        if found is None:
            checked = self._split(url)
            if checked is not None and checked[0] == self.origin and checked[1].startswith(f"{self.path}/"):
                found = None if checked[2] else parse_reference(checked[1][len(self.path) + 1 :])
        if found is None:
            raise _refused("a reference")
        return found

    def under(self, url: str, what: str = "a link") -> str:
        """An absolute URL on this origin at or under the path, or one relative to the base. Raises `security`."""
        checked = self._split(self._absolute(url))
        if checked is None or checked[0] != self.origin:
            raise _refused(what)
        if checked[1].rstrip("/") != self.path and not checked[1].startswith(f"{self.path}/"):
            raise _refused(what)
        return "".join(checked)

    def _absolute(self, url: str) -> str:
        if re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:|//", url):
            return url
        if url.startswith("/"):
            return self.origin + url
        return self.url + url if url.startswith("?") else f"{self.url}/{url}"

    def on_origin(self, url: str, what: str, others: frozenset[str] = frozenset()) -> str:
        """An absolute URL on this origin, or on one of `others` (from `origin_of`). Raises `security`."""
        checked = self._split(url)
        if checked is None or (checked[0] != self.origin and checked[0] not in others):
            raise _refused(what)
        return "".join(checked)

    @staticmethod
    def _split(url: str) -> tuple[str, str, str] | None:
        """Origin, path and query of a plain absolute URL; None where anything about it is unusual."""
        found = _ABSOLUTE.fullmatch(url)
        if found is None or not _safe_path(found[3] or "") or not _PLAIN.fullmatch(found[4] or ""):
            return None
        origin = _origin(found[1], found[2])
        return None if origin is None else (origin, found[3] or "", found[4] or "")


def origin_of(url: str) -> str:
    """scheme://host[:port] of an origin without a path. Raises ClientConfigError."""
    found = _ABSOLUTE.fullmatch(url)
    origin = found and _origin(found[1], found[2])
    if found is None or origin is None or found[4] is not None or (found[3] or "/") != "/":
        raise ClientConfigError("an origin must be http(s)://host[:port], without a path")
    return origin


def _origin(scheme: str, authority: str) -> str | None:
    scheme = scheme.lower()
    try:
        parts = urlsplit(f"{scheme}://{authority}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or not re.fullmatch(r"[a-z0-9.\-]+|[0-9a-f:.]+", host):
        return None
    shown = f"[{host}]" if ":" in host else host
    # Nothing else may be in it: no user, no password, no leading zero of a port.
    if authority.lower() not in {shown, f"{shown}:{port}"}:
        return None
    return f"{scheme}://{shown}" if port in (None, _PORTS[scheme]) else f"{scheme}://{shown}:{port}"


def _safe_path(path: str) -> bool:
    """No dot segments, also not percent-encoded ones; no encoded slash or backslash; no control character."""
    if not _PLAIN.fullmatch(path) or "//" in path:
        return False
    decoded = path.lower().replace("%2e", ".")
    return not any(part in {".", ".."} for part in decoded.split("/")) and not re.search(
        r"%(?![0-9a-f]{2})|%2f|%5c|%[01][0-9a-f]|%7f", decoded
    )


def _refused(what: str) -> FhirServerError:
    return FhirServerError(
        f"the FHIR server names {what} outside its own base URL, which is not followed; mend the server's base URL",
        kind=ErrorKind.SECURITY,
    )
