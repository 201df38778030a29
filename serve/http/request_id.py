"""The correlation id of a request, `X-Request-Id`."""

from __future__ import annotations

import re
import uuid

HEADER = b"x-request-id"
# Ids are logged, so only what a tracing system makes is taken: letters, digits, dashes. A name or an MRN with a space,
# a dot or an @ in it is replaced; digits alone may be an MRN and are replaced too.
_TAKEN = re.compile(r"(?=.*[a-fA-F])[0-9a-fA-F-]{16,64}")


def valid_or_new(value: bytes | None) -> str:
    """The client's id when it is 16 to 64 hexadecimal digits and dashes (UUID, trace id), else a new UUID."""
    text = (value or b"").decode("latin-1")
    return text if _TAKEN.fullmatch(text) else str(uuid.uuid4())
