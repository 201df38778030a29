"""Reading what a FHIR server answers: failures, written resources, Retry-After."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from fhir_adapters.client.errors import ErrorKind, FhirServerError
from fhir_adapters.client.urls import Reference, reference_at_end
from fhir_adapters.client.wire import OversizeError, Reply, WireError
from fhir_adapters.errors import FhirInputError
from fhir_adapters.json_body import parse_json_object
from fhir_adapters.references import objects

_ISSUE_CODES: Final = (
    "invalid structure required value invariant security login unknown expired forbidden suppressed processing "
    "not-supported duplicate multiple-matches not-found deleted too-long code-invalid extension too-costly "
    "business-rule conflict transient lock-error no-store exception timeout incomplete throttled informational"
)
ISSUE_CODES: Final = frozenset(_ISSUE_CODES.split())
"""R4 IssueType. A server's code is passed on only when it is one of these: anything else is the server's text."""

_MAX_RETRY_AFTER_S: Final = 86_400.0
_ETAG: Final = re.compile(r'(?:W/)?"([A-Za-z0-9\-.]{1,64})"')
_BY_STATUS: Final = {
    401: ErrorKind.UNAUTHORIZED,
    403: ErrorKind.FORBIDDEN,
    404: ErrorKind.NOT_FOUND,
    408: ErrorKind.UNAVAILABLE,
    409: ErrorKind.CONFLICT,
    410: ErrorKind.NOT_FOUND,
    412: ErrorKind.PRECONDITION,
    425: ErrorKind.UNAVAILABLE,
    429: ErrorKind.THROTTLED,
    501: ErrorKind.REJECTED,
}


@dataclass(frozen=True, slots=True)
class Written:
    """A resource as the server holds it: `Type/id`, its version where the server names one, and whether it is new."""

    reference: str
    version: str | None
    created: bool


def json_of(reply: Reply, what: str) -> dict[str, Any]:
    """The JSON object of a good answer. Raises `unavailable` for anything else, such as a gateway's page."""
    try:
        return parse_json_object(reply.body)
    except FhirInputError:
        raise FhirServerError(
            f"{what}: the server's answer is not a FHIR resource in JSON; check the base URL and what is before it",
            kind=ErrorKind.UNAVAILABLE,
            status=reply.status,
        ) from None


def not_fhir(what: str, status: int) -> FhirServerError:
    """The error of a 200 that holds another resource than was asked for."""
    return FhirServerError(
        f"{what}: the server answered another resource than was asked for", kind=ErrorKind.UNAVAILABLE, status=status
    )


def failure(reply: Reply, what: str, *, now: float, write: bool) -> FhirServerError:
    """The error of an answer that is not what was asked for. `what` is the method and the resource type."""
    status = reply.status
    retry_after_s = retry_after(reply.headers.get("retry-after"), now)
    if 300 <= status < 400:
        return FhirServerError(
            f"{what}: the server answers {status}, a redirect, which is not followed; set the base URL it redirects to",
            kind=ErrorKind.SECURITY,
            status=status,
        )
    if status in _BY_STATUS:
        kind = _BY_STATUS[status]
    elif status == 503 and retry_after_s is not None:
        kind = ErrorKind.THROTTLED
    elif write and status in (502, 504):
        # A gateway's words: what is behind it may have done the write.
        kind = ErrorKind.UNKNOWN_OUTCOME
    else:
        kind = ErrorKind.REJECTED if 400 <= status < 500 else ErrorKind.UNAVAILABLE
    return FhirServerError(
        f"{what}: the FHIR server answered {status}",
        kind=kind, status=status, code=issue_code(reply.body), retry_after_s=retry_after_s,
    )  # fmt: skip


def wire_failure(error: WireError, what: str, *, write: bool) -> FhirServerError:
    """The error of an exchange that broke. A write that was sent and not answered is of unknown outcome."""
    if isinstance(error, OversizeError) and not write:
        return FhirServerError(f"{what}: the answer is over the cap", kind=ErrorKind.TOO_LONG, status=error.status)
    if error.why == "certificate":
        message = "the server's TLS certificate is not trusted; give the CA that signed it"
    elif error.why == "timeout":
        message = "no whole answer in time"
    else:
        message = "the connection failed" if error.sent else "the server cannot be reached"
    unknown = write and error.sent and (error.status is None or error.status < 300)
    return FhirServerError(
        f"{what}: {message}",
        kind=ErrorKind.UNKNOWN_OUTCOME if unknown else ErrorKind.UNAVAILABLE,
        status=error.status,
    )


def issue_code(body: bytes) -> str | None:
    """The first issue's code of an OperationOutcome, where it is one of FHIR's own."""
    try:
        outcome = parse_json_object(body, max_bytes=1 << 20)
    except FhirInputError:
        return None
    issues = objects(outcome.get("issue")) if outcome.get("resourceType") == "OperationOutcome" else []
    code = issues[0].get("code") if issues else None
    return code if isinstance(code, str) and code in ISSUE_CODES else None


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds of a Retry-After header (seconds or an HTTP date), from 0 to a day; None without a usable one."""
    if not value:
        return None
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value.strip(), re.ASCII):
        seconds = float(value)
    else:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_S)


def written(reply: Reply, sent: Mapping[str, Any], what: str, *, created: bool) -> Written:
    """Where a created or updated resource is: from Location, else the body, else the id that was put.

    Raises `unknown-outcome` where the answer says none of it: the write was done, and only a search finds it.
    """
    type_ = sent["resourceType"]
    place = reference_at_end(reply.headers.get("location", "") or reply.headers.get("content-location", ""))
    body = _body(reply.body, type_)
    if place is None or place.type != type_:
        id_ = body.get("id") if body else None if created and "id" not in sent else sent.get("id")
        place = Reference(type_, id_) if isinstance(id_, str) and id_ else None
    if place is None:
        raise FhirServerError(
            f"{what}: the server answered {reply.status} and not where the resource is; search for its identifier",
            kind=ErrorKind.UNKNOWN_OUTCOME,
            status=reply.status,
        )
    etag = _ETAG.fullmatch(reply.headers.get("etag", ""))
    meta = body.get("meta") if body else None
    in_body = meta.get("versionId") if isinstance(meta, dict) else None
    version = place.version or (etag[1] if etag else None) or (in_body if isinstance(in_body, str) else None)
    return Written(place.literal, version, created)


def _body(body: bytes, type_: str) -> dict[str, Any] | None:
    # A write is judged by its status: an OperationOutcome, an empty or a broken body changes nothing.
    try:
        resource = parse_json_object(body)
    except FhirInputError:
        return None
    return resource if resource.get("resourceType") == type_ else None
