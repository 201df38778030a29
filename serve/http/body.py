"""Request bodies with a cap that holds while they stream, and the media types that are taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.message import Message
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from serve.errors import Problem, ServiceError
from serve.http.edge import INLINE_BODY_BYTES, INLINE_BODY_KEY

JSON_TYPES = frozenset({"application/json", "text/json"})
FHIR_TYPES = JSON_TYPES | {"application/fhir+json", "application/json+fhir"}


T = TypeVar("T")


async def at_once_or_in_thread(body: bytes, parse: Callable[[], T]) -> T:
    """`parse()`, in a thread for a large body: parsing it would hold up every other request of this process."""
    return parse() if len(body) <= INLINE_BODY_BYTES else await asyncio.to_thread(parse)


def check_content_type(request: Request, taken: frozenset[str]) -> None:
    """Raise ServiceError 415 unless the body is of one of these types, in UTF-8."""
    header = Message()
    header["Content-Type"] = request.headers.get("content-type", "")
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    charset = header.get_content_charset("utf-8")
    if given not in taken or charset.lower().replace("_", "-") not in ("utf-8", "utf8", "us-ascii"):
        best = "application/fhir+json" if "application/fhir+json" in taken else "application/json"
        raise ServiceError(Problem(415, "not-supported", f"Content-Type must be {best} in UTF-8; send that"))
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ServiceError(Problem(415, "not-supported", "Content-Encoding is not supported; send the body as it is"))


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises ServiceError 413 as soon as it is known to be over `max_bytes`, read or not."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_long(max_bytes)
    inline = (request.scope.get("extensions") or {}).get(INLINE_BODY_KEY)
    if inline is not None:
        body: bytes = inline["body"]
        if len(body) > max_bytes:
            raise _too_long(max_bytes)
        return body
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > max_bytes:
                raise _too_long(max_bytes)
            pieces.append(piece)
    except ClientDisconnect:
        raise ServiceError(Problem(400, "structure", "the body ended early; send it again")) from None
    return b"".join(pieces)


def _too_long(max_bytes: int) -> ServiceError:
    return ServiceError(
        Problem(413, "too-long", f"the body is over the cap of {max_bytes} bytes; send fewer or shorter notes",
                headers={"Connection": "close"})
    )  # fmt: skip
