"""Strict base64, for attachments."""

from __future__ import annotations

import re
from typing import Final

from fhir_adapters.attachments.extraction import strict_base64
from fhir_adapters.errors import FhirInputError

_WHITE_SPACE: Final = re.compile(r"[ \t\r\n]+")


def decode_base64(text: str, max_bytes: int, what: str, expression: str | None = None) -> bytes:
    """The bytes of an R4 base64Binary. `what` names it in errors.

    White space is allowed, as R4 4.0.1's pattern allows it; any other stranger, wrong padding or a leftover is an
    error. Raises FhirInputError: 422 value, or 422 too-long (found before decoding) over `max_bytes`.
    """
    # Encoders break lines at 64 or 76 characters; a text that is mostly white space is refused before it is copied.
    if len(text) > 2 * (4 * (max_bytes // 3 + 1)):
        raise _too_long(what, max_bytes, expression)
    compact = _WHITE_SPACE.sub("", text)
    if len(compact) // 4 * 3 > max_bytes + 2:
        raise _too_long(what, max_bytes, expression)
    try:
        data = strict_base64(compact)
    except ValueError:
        raise FhirInputError(
            f"{what} is not base64; send standard base64 with padding", code="value", expression=expression
        ) from None
    if len(data) > max_bytes:
        raise _too_long(what, max_bytes, expression)
    return data


def _too_long(what: str, max_bytes: int, expression: str | None) -> FhirInputError:
    return FhirInputError(
        f"{what} decodes to more than {max_bytes} bytes; send a shorter note", code="too-long", expression=expression
    )
