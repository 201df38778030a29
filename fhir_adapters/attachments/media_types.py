"""Media types that a note can come in, in order of preference, and charsets that text may be in."""

from __future__ import annotations

import codecs
import re
from enum import StrEnum
from typing import Final

from fhir_adapters.attachments.extraction import ExtractionError

DEFAULT_CHARSET: Final = "utf-8"


class Kind(StrEnum):
    """How an attachment is read. The order is the order of preference among a document's `content` entries."""

    PLAIN = "plain"
    HTML = "html"
    CDA = "cda"
    RTF = "rtf"
    PDF = "pdf"


PREFERENCE: Final = tuple(Kind)

KIND_OF_MEDIA_TYPE: Final[dict[str, Kind]] = {
    "text/plain": Kind.PLAIN,
    "text/html": Kind.HTML,
    "application/xhtml+xml": Kind.HTML,
    "application/xml": Kind.CDA,
    "text/xml": Kind.CDA,
    "application/cda+xml": Kind.CDA,
    "application/hl7-cda+xml": Kind.CDA,
    "application/hl7-v3+xml": Kind.CDA,
    "text/rtf": Kind.RTF,
    "application/rtf": Kind.RTF,
    "application/x-rtf": Kind.RTF,
    "application/pdf": Kind.PDF,
}

# Python's codecs also hold zip, rot13 and idna: only text encodings that a hospital may use are let through.
_CHARSETS: Final = frozenset(
    codecs.lookup(name).name
    for name in (
        "utf-8", "ascii", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "gb18030", "gbk",
        "big5", "shift_jis", "euc-jp", "euc-kr", "koi8-r", *(f"iso8859-{part}" for part in range(1, 17) if part != 12),
        *(f"cp{page}" for page in (437, 850, *range(1250, 1259))),
    )
)  # fmt: skip
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_CHARSET: Final = re.compile(r";\s*charset\s*=\s*(\"[^\"]*\"|[^;]*)", re.IGNORECASE)
# Names that may be repeated in an error: a registered top level, and nothing that looks like free text.
_SHOWABLE: Final = re.compile(r"(?:application|audio|image|text|video|multipart|model|font)/[a-z0-9.+-]{1,40}")


def media_type(content_type: str | None) -> str | None:
    """`text/plain` of "Text/Plain; charset=utf-8"; None when absent or not shaped like a media type."""
    bare = (content_type or "").partition(";")[0].strip().lower()
    return bare if _MEDIA_TYPE.fullmatch(bare) else None


def kind_of(content_type: str | None) -> Kind | None:
    """How a content type is read; None for one that is not supported."""
    return KIND_OF_MEDIA_TYPE.get(media_type(content_type) or "")


def shown(content_type: str | None) -> str:
    """The media type for an error message; "an unnamed type" for one that could hold anything else."""
    bare = media_type(content_type)
    return bare if bare is not None and _SHOWABLE.fullmatch(bare) else "an unnamed type"


def charset_of(content_type: str | None) -> str | None:
    """The Python codec of the charset parameter, None without one. Raises ExtractionError (not-supported)."""
    match = _CHARSET.search(content_type or "")
    if match is None:
        return None
    try:
        name = codecs.lookup(match.group(1).strip().strip('"')).name
    except (LookupError, ValueError):
        name = ""
    if name not in _CHARSETS:
        raise ExtractionError("not-supported", "the charset of contentType is not one this server reads; send utf-8")
    return name


def decode_text(data: bytes, charset: str | None) -> str:
    """Text of `data` without its byte order mark; UTF-8 unless told. Raises ExtractionError (value) for wrong bytes."""
    codec = charset or DEFAULT_CHARSET
    try:
        text = data.decode(codec)
    except UnicodeError:
        raise ExtractionError("value", f"the bytes are not {codec}; send the charset they are in, or utf-8") from None
    if "\0" in text:
        # Unlabelled UTF-16 is valid UTF-8 with a NUL after every letter, and would be scored as single letters.
        raise ExtractionError("value", f"the text holds NUL characters when read as {codec}; name its charset")
    return text.removeprefix("\ufeff")
