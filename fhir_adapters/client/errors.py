"""What a FHIR server's failure means to the caller: a closed set of kinds, none of the server's text."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from lang1.errors import Lang1Error


class ErrorKind(StrEnum):
    """What went wrong, as far as a caller must tell it apart."""

    NOT_FOUND = "not-found"
    """404 or 410."""
    UNAUTHORIZED = "unauthorized"
    """401 although the token was renewed, or no token to be had."""
    FORBIDDEN = "forbidden"
    """403."""
    CONFLICT = "conflict"
    """409: another write of the same resource."""
    PRECONDITION = "precondition"
    """412: If-Match failed, or a conditional create found more than one."""
    REJECTED = "rejected"
    """400, 422 and other 4xx: the same request will never be taken."""
    THROTTLED = "throttled"
    """429, or 503 with Retry-After."""
    UNAVAILABLE = "unavailable"
    """5xx, no connection, no answer in time to a read, or an answer that is not FHIR JSON."""
    UNKNOWN_OUTCOME = "unknown-outcome"
    """A write that was sent and whose answer was lost: it may have been done. Search before sending it again."""
    SECURITY = "security"
    """A redirect, or a URL outside the server's base. Never followed."""
    TOO_LONG = "too-long"
    """An answer over the cap of bytes, pages or resources."""


RETRYABLE: Final = frozenset(
    {ErrorKind.UNAUTHORIZED, ErrorKind.CONFLICT, ErrorKind.THROTTLED, ErrorKind.UNAVAILABLE, ErrorKind.UNKNOWN_OUTCOME}
)

_FHIR_CODE: Final = MappingProxyType(
    {
        ErrorKind.NOT_FOUND: "not-found",
        ErrorKind.UNAUTHORIZED: "login",
        ErrorKind.FORBIDDEN: "forbidden",
        ErrorKind.CONFLICT: "conflict",
        ErrorKind.PRECONDITION: "conflict",
        ErrorKind.REJECTED: "processing",
        ErrorKind.THROTTLED: "throttled",
        ErrorKind.UNAVAILABLE: "transient",
        ErrorKind.UNKNOWN_OUTCOME: "incomplete",
        ErrorKind.SECURITY: "security",
        ErrorKind.TOO_LONG: "too-long",
    }
)


class FhirServerError(Lang1Error):
    """A request to a FHIR server that did not do what was asked.

    `status` is the HTTP status, None where no answer came. `code` is the first issue code of the server's
    OperationOutcome where it is one of FHIR's own, else the kind's. `retry_after_s` is what the server asked for.
    The message names the method and the resource type alone: no id, no URL, nothing of the server's text.
    """

    code: str  # type: ignore[misc]  # the base has one code a class; here each error carries its own

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind,
        status: int | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.status = status
        self.code = code or _FHIR_CODE[kind]
        self.retry_after_s = retry_after_s

    @property
    def may_retry(self) -> bool:
        """Whether the same request may succeed later. After `unknown-outcome`, only when a search finds nothing."""
        return self.kind in RETRYABLE

    def again(self) -> FhirServerError:
        """A copy to raise elsewhere: one exception raised by two threads mixes their tracebacks."""
        return _rebuild(self.message, self.kind, self.status, self.code, self.retry_after_s)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only fields are lost by Exception's own pickling, and errors cross process borders.
        return _rebuild, (self.message, str(self.kind), self.status, self.code, self.retry_after_s)


def _rebuild(message: str, kind: str, status: int | None, code: str, retry_after_s: float | None) -> FhirServerError:
    return FhirServerError(message, kind=ErrorKind(kind), status=status, code=code, retry_after_s=retry_after_s)


class ClientConfigError(Lang1Error):
    """The client's own configuration cannot work: an unusable key, certificate or URL. Names files, not their text."""

    code = "exception"
