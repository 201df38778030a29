"""Choosing one attachment of a document and reading its text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fhir_adapters.attachments.base64_data import decode_base64
from fhir_adapters.attachments.extraction import ExtractionError, strict_base64
from fhir_adapters.attachments.fetching import Fetcher, binary_content, check_attachment_url
from fhir_adapters.attachments.limits import AttachmentLimits
from fhir_adapters.attachments.media_types import PREFERENCE, Kind, charset_of, decode_text, kind_of, media_type, shown
from fhir_adapters.attachments.sandbox import extract_isolated
from fhir_adapters.errors import FhirInputError
from fhir_adapters.references import text_of

_SUPPORTED: Final = "text, HTML, RTF, C-CDA or PDF with a text layer"
_FHIR_JSON: Final = frozenset({"application/fhir+json", "application/json+fhir"})


@dataclass(frozen=True, slots=True)
class _Choice:
    index: int
    attachment: dict[str, Any]

    @property
    def expression(self) -> str:
        return f"DocumentReference.content[{self.index}].attachment"


def read_document_text(contents: Sequence[dict[str, Any]], fetcher: Fetcher, limits: AttachmentLimits) -> str:
    """The text of the preferred supported `content` entry (they are one document in several formats).

    Raises FhirInputError, status 422: required, not-supported, value, security, too-long or too-costly; and what the
    fetcher raises. Only an unsupported type falls through to the next entry.
    """
    choice = _choose(contents)
    data, content_type = _bytes_of(choice, fetcher, limits)
    kind = kind_of(content_type)
    if kind is None:
        raise _unsupported(f"{choice.expression} is {shown(content_type)}", choice.expression)
    return _text_of_bytes(data, kind, content_type, choice, limits)


def is_plain_inline(contents: Sequence[dict[str, Any]], max_chars: int) -> bool:
    """Whether `read_document_text` will neither fetch nor start a process, and has at most so much base64 to decode.

    Also True for contents that it will refuse.
    """
    try:
        attachment = _choose(contents).attachment
    except FhirInputError:
        return True
    inline = text_of(attachment, "data")
    return inline is not None and kind_of(text_of(attachment, "contentType")) is Kind.PLAIN and len(inline) <= max_chars


def _choose(contents: Sequence[dict[str, Any]]) -> _Choice:
    ranked: list[tuple[int, _Choice]] = []
    got: list[str] = []
    for index, content in enumerate(contents):
        attachment = content.get("attachment")
        choice = _Choice(index, attachment if isinstance(attachment, dict) else {})
        declared = text_of(choice.attachment, "contentType")
        kind = kind_of(declared)
        if kind is not None:
            ranked.append((PREFERENCE.index(kind), choice))
        elif declared is None and text_of(choice.attachment, "data") is not None:
            raise FhirInputError(
                f"{choice.expression} has data and no contentType (R4 rule att-1); name the type, e.g. text/plain",
                code="required",
                expression=f"{choice.expression}.contentType",
            )
        elif declared is None and text_of(choice.attachment, "url") is not None:
            # The server that holds it will say what it is; anything that says so itself goes first.
            ranked.append((len(PREFERENCE), choice))
        elif declared is None:
            raise _neither(choice)
        else:
            got.append(shown(declared))
    if not ranked:
        first = (
            f"DocumentReference.content[0]: attachment is {got[0]}"
            if len(got) == 1
            else f"attachments are {_list(got)}"
        )
        raise _unsupported(first, "DocumentReference.content")
    return min(ranked, key=lambda pair: (pair[0], pair[1].index))[1]


def _bytes_of(choice: _Choice, fetcher: Fetcher, limits: AttachmentLimits) -> tuple[bytes, str]:
    attachment = choice.attachment
    inline, url = text_of(attachment, "data"), text_of(attachment, "url")
    declared = text_of(attachment, "contentType") or ""
    if inline is not None:
        data, content_type = (
            decode_base64(inline, limits.max_bytes, f"{choice.expression}.data", f"{choice.expression}.data"),
            declared,
        )
    elif url is not None:
        data, content_type = _fetched(url, declared, choice, fetcher, limits)
    else:
        raise _neither(choice)
    _check_size_and_hash(data, choice)
    return data, content_type


def _fetched(url: str, declared: str, choice: _Choice, fetcher: Fetcher, limits: AttachmentLimits) -> tuple[bytes, str]:
    fetched = fetcher.fetch(check_attachment_url(url, fetcher.fhir_base))
    if media_type(fetched.content_type) in _FHIR_JSON:
        from fhir_adapters.json_body import parse_json_object

        fetched = binary_content(parse_json_object(fetched.data), limits.max_bytes)
    if len(fetched.data) > limits.max_bytes:
        raise FhirInputError(
            f"{choice.expression}.url holds more than {limits.max_bytes} bytes; send a shorter note",
            code="too-long",
            expression=f"{choice.expression}.url",
        )
    actual = fetched.content_type
    unnamed = media_type(actual) in {None, "application/octet-stream"}
    # Servers drop charset parameters: where both agree on the kind, the one that names a charset is believed.
    if unnamed or (kind_of(actual) is kind_of(declared) and "charset" not in actual.lower()):
        actual = declared
    return fetched.data, actual


def _check_size_and_hash(data: bytes, choice: _Choice) -> None:
    size = choice.attachment.get("size")
    if size is not None and size != len(data):
        raise FhirInputError(
            f"{choice.expression}.size differs from the {len(data)} bytes of the data; send the attachment unchanged",
            code="value",
            expression=f"{choice.expression}.size",
        )
    given = text_of(choice.attachment, "hash")
    if given is None:
        return
    try:
        wanted = strict_base64(given)
    except ValueError:
        wanted = b""
    if wanted != hashlib.sha1(data, usedforsecurity=False).digest():
        raise FhirInputError(
            f"{choice.expression}.hash is not the base64 SHA-1 of the data (R4); send the attachment unchanged",
            code="value",
            expression=f"{choice.expression}.hash",
        )


def _text_of_bytes(data: bytes, kind: Kind, content_type: str, choice: _Choice, limits: AttachmentLimits) -> str:
    try:
        charset = charset_of(content_type)
        if kind is Kind.PLAIN:
            # Decoding bytes needs no parser, so plain text is not worth a process.
            text = decode_text(data, charset)
            if len(text) > limits.max_text_chars:
                raise ExtractionError(
                    "too-long", f"it has more than {limits.max_text_chars} characters; send a shorter note"
                )
            return text
        return extract_isolated(kind, data, charset, limits)
    except ExtractionError as error:
        raise FhirInputError(
            f"{choice.expression}: {error.message}", code=error.code, expression=choice.expression
        ) from None


def _neither(choice: _Choice) -> FhirInputError:
    return FhirInputError(
        f"{choice.expression} has neither data nor url; send the note's text as base64 data",
        code="required",
        expression=choice.expression,
    )


def _unsupported(what: str, expression: str) -> FhirInputError:
    return FhirInputError(f"{what}; send {_SUPPORTED}", code="not-supported", expression=expression)


def _list(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names))
