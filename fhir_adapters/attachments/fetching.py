"""Getting an attachment that is a URL: which URLs may be followed, and the protocol of who follows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from fhir_adapters.attachments.base64_data import decode_base64
from fhir_adapters.errors import FhirInputError

_ID: Final = r"[A-Za-z0-9\-.]{1,64}"
_BINARY: Final = re.compile(rf"Binary/{_ID}(/_history/{_ID})?")


@dataclass(frozen=True, slots=True)
class FetchedBinary:
    """What a FHIR server answered for a Binary: its Content-Type header and the body as it came."""

    content_type: str
    data: bytes


class Fetcher(Protocol):
    """Reads a URL that `check_attachment_url` has passed. Must follow no redirect (a redirect is 422 security)."""

    @property
    def fhir_base(self) -> str | None:
        """The FHIR base that URLs must be under; None when no FHIR server is configured."""
        ...

    def fetch(self, url: str) -> FetchedBinary:
        """The Binary at `url`. Raises FhirInputError: 424 not-found, 502 transient, 422 security for a redirect."""
        ...


class NoFetcher:
    """The fetcher of a service without a FHIR server: refuses every URL."""

    fhir_base: str | None = None

    def fetch(self, url: str) -> FetchedBinary:
        """Raises FhirInputError (422 not-supported), always."""
        raise FhirInputError(
            "the attachment is a url and no FHIR server is configured to fetch it from; send attachment.data",
            code="not-supported",
            expression="DocumentReference.content.attachment.url",
        )


def check_attachment_url(url: str, fhir_base: str | None) -> str:
    """The absolute URL of a Binary on the configured FHIR server, rebuilt from `fhir_base` and the checked path.

    Takes a relative `Binary/<id>` (with or without `/_history/<v>`) or the same under `fhir_base`; a FHIR id admits no
    `%`, `/`, `?`, `#` or `@`. Anything else raises FhirInputError (422 security), and nothing of it is fetched. Without
    a base only the relative form passes, and comes back as it is: who fetches must refuse it.
    """
    base = (fhir_base or "").rstrip("/")
    path = url
    if not _BINARY.fullmatch(url):
        # Scheme and host are compared as strings against the configuration: no name is resolved, no address read.
        scheme, separator, rest = url.partition("://")
        wanted = urlsplit(base)
        authority, slash, tail = rest.partition("/")
        same = separator and scheme.lower() == wanted.scheme and slash and authority.lower() == wanted.netloc.lower()
        same = same and fhir_base is not None
        prefix = wanted.path.lstrip("/") + "/" if wanted.path.strip("/") else ""
        if not same or not tail.startswith(prefix):
            raise _refused()
        path = tail[len(prefix) :]
    # Two dots alone are a valid id to the FHIR pattern, and a parent folder to a web server.
    if not _BINARY.fullmatch(path) or any(part in {".", ".."} for part in path.split("/")):
        raise _refused()
    return f"{base}/{path}" if base else path


def binary_content(resource: dict[str, Any], max_bytes: int) -> FetchedBinary:
    """The content of a Binary resource in FHIR JSON. Raises FhirInputError for another resource or bad base64."""
    if resource.get("resourceType") != "Binary":
        raise FhirInputError(
            "the attachment's url answered a FHIR resource that is not a Binary; mend the reference",
            code="invalid",
            expression="DocumentReference.content.attachment.url",
        )
    content_type, data = resource.get("contentType"), resource.get("data")
    if not isinstance(content_type, str) or not isinstance(data, str):
        raise FhirInputError("the fetched Binary has no contentType or no data; store the note in it", code="required")
    return FetchedBinary(content_type, decode_base64(data, max_bytes, "the fetched Binary's data"))


def _refused() -> FhirInputError:
    return FhirInputError(
        "attachment.url is not a Binary on the configured FHIR server and was not fetched; "
        "send Binary/<id>, the same under the FHIR base, or attachment.data",
        code="security",
        expression="DocumentReference.content.attachment.url",
    )
