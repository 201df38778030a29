"""The error of the extractors. Free of every other import, so that the parsing process starts fast."""

from __future__ import annotations

import base64
import re
from typing import Final

# Python's validate=True takes "QUJD====": padding is checked here.
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


class ExtractionError(Exception):
    """An attachment gave no text. `code` is a FHIR IssueType; `message` holds no content of the attachment."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def too_much_text(max_chars: int) -> ExtractionError:
    """The error of a text over the cap."""
    return ExtractionError(
        "too-long", f"the attachment has more than {max_chars} characters of text; send a shorter note"
    )


def strict_base64(text: str) -> bytes:
    """The bytes of standard base64 with its padding and nothing else. Raises ValueError, without the text."""
    if not _BASE64.fullmatch(text):
        raise ValueError("not base64")
    return base64.b64decode(text)
