"""The extractors: bytes of one attachment to text. They run inside the parsing process, never in the service.

Each takes (data, charset or None, max_chars, max_pages) and raises ExtractionError. Parsers are imported by the
extractor that needs them, so that the process starts fast.
"""

from __future__ import annotations

import logging
import re
from typing import Final

from fhir_adapters.attachments.extraction import ExtractionError, too_much_text
from fhir_adapters.attachments.media_types import Kind, decode_text

_META_CHARSET: Final = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:-]{1,40})", re.IGNORECASE)
_XML_DECLARATION: Final = re.compile(r"^\s*<\?xml[^>]*\?>")


def plain_text(data: bytes, charset: str | None, max_chars: int, max_pages: int) -> str:
    """text/plain."""
    return capped(decode_text(data, charset), max_chars)


def html_text(data: bytes, charset: str | None, max_chars: int, max_pages: int) -> str:
    """HTML and XHTML with scripts, styles and the head dropped; the charset may also come from a meta element."""
    from inscriptis.html_engine import Inscriptis
    from lxml import etree, html

    if charset is None and (named := _META_CHARSET.search(data[:1024])):
        from fhir_adapters.attachments.media_types import charset_of

        charset = charset_of(f"text/html; charset={named.group(1).decode('ascii')}")
    markup = _XML_DECLARATION.sub("", decode_text(data, charset))
    parser = html.HTMLParser(huge_tree=False, no_network=True)
    try:
        tree = html.document_fromstring(markup, parser=parser)
    except etree.ParserError:
        return ""  # no element and no text: an empty note, for the caller to refuse
    if any(entry.level == etree.ErrorLevels.FATAL for entry in parser.error_log):
        # libxml2 gives up at a fatal error and hands back what it had: half a note that looks whole.
        raise ExtractionError(
            "too-costly", "the HTML is nested too deeply to read to its end; send simpler HTML or text"
        )
    return capped(str(Inscriptis(tree).get_text()), max_chars)


def rtf_text(data: bytes, charset: str | None, max_chars: int, max_pages: int) -> str:
    """Rich Text Format. Its own code page declaration rules; a charset parameter says nothing about it."""
    from striprtf.striprtf import rtf_to_text

    if not data.lstrip()[:5] == b"{\\rtf":
        raise ExtractionError("value", "the attachment is not RTF although its contentType says so; mend contentType")
    text = rtf_to_text(data.decode("latin-1"), errors="strict")  # type: ignore[no-untyped-call]
    return capped(str(text), max_chars)


def pdf_text(data: bytes, charset: str | None, max_chars: int, max_pages: int) -> str:
    """The text layer of a PDF, page by page. Encrypted files and scans without text are not supported."""
    from io import BytesIO

    from pypdf import PdfReader
    from pypdf.errors import LimitReachedError

    losses = _Losses()
    logging.getLogger("pypdf").addHandler(losses)
    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted:
            raise ExtractionError("not-supported", "the PDF is encrypted; send it without a password")
        if len(reader.pages) > max_pages:
            raise ExtractionError("too-long", f"the PDF has more than {max_pages} pages; send the note alone")
        pages: list[str] = []
        characters = 0
        for page in reader.pages:
            pages.append(page.extract_text())
            characters += len(pages[-1])
            if characters > max_chars:
                raise too_much_text(max_chars)
    except LimitReachedError:
        raise ExtractionError(
            "too-costly", "the PDF expands beyond any note's size; send a plain PDF or text"
        ) from None
    if losses.found:
        raise ExtractionError("value", "a page of the PDF is corrupt and would be lost; send the file intact")
    text = "\n".join(pages)
    if not text.strip():
        raise ExtractionError("not-supported", "the PDF has no text layer (a scan?); send text, HTML, RTF or C-CDA")
    return text


class _Losses(logging.Handler):
    """Hears pypdf log that it gave up on a stream: it then goes on as if that page were empty, even when strict."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found = False

    def emit(self, record: logging.LogRecord) -> None:
        self.found = self.found or str(record.msg).startswith(("Error -", "Impossible to decode"))


def cda_text(data: bytes, charset: str | None, max_chars: int, max_pages: int) -> str:
    """The sections of a C-CDA document, or the one attachment of its nonXMLBody. See `cda`."""
    from fhir_adapters.attachments.cda import non_xml_body, parse_cda, sections_text

    document = parse_cda(data, charset)
    inner = non_xml_body(document)
    if inner is None:
        return capped(sections_text(document, max_chars), max_chars)
    kind, inner_charset, content = inner
    return EXTRACTORS[kind](content, inner_charset, max_chars, max_pages)


def capped(text: str, max_chars: int) -> str:
    """`text`, or ExtractionError (too-long) when it is over the cap."""
    if len(text) > max_chars:
        raise too_much_text(max_chars)
    return text


EXTRACTORS: Final = {
    Kind.PLAIN: plain_text,
    Kind.HTML: html_text,
    Kind.CDA: cda_text,
    Kind.RTF: rtf_text,
    Kind.PDF: pdf_text,
}
