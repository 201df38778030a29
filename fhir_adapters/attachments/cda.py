"""C-CDA to text: each section's title and narrative, in document order. No DTD, no entity, no network.

Source: HL7 CDA R2, 4.3.5 (narrative block); C-CDA R2.1 (unstructured document for nonXMLBody).
"""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

from fhir_adapters.attachments.extraction import ExtractionError, strict_base64, too_much_text
from fhir_adapters.attachments.media_types import Kind, charset_of, kind_of

_V3: Final = "{urn:hl7-org:v3}"
_DECLARES_ENTITIES: Final = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
# Elements of the narrative block that end a line; everything else runs on.
_BLOCKS: Final = frozenset({"paragraph", "list", "item", "table", "thead", "tbody", "tfoot", "tr", "caption", "br"})
_CELLS: Final = frozenset({"td", "th"})
_SECURITY: Final = "the XML has a DOCTYPE or entities, which no C-CDA needs; remove them"


def parse_cda(data: bytes, charset: str | None) -> etree._Element:
    """The ClinicalDocument element. Raises ExtractionError: security (any DTD), value (bad XML) or not-supported."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True,
        encoding=charset,
    )  # fmt: skip
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError:
        # libxml2 stops some entity bombs itself, as a syntax error: the answer must still say what they are.
        if _DECLARES_ENTITIES.search(data.replace(b"\0", b"")):
            raise ExtractionError("security", _SECURITY) from None
        raise ExtractionError("value", "the attachment is not well-formed XML; send the C-CDA as it was made") from None
    docinfo = root.getroottree().docinfo
    if docinfo.internalDTD is not None or docinfo.externalDTD is not None or docinfo.doctype:
        raise ExtractionError("security", _SECURITY)
    if root.tag != f"{_V3}ClinicalDocument":
        raise ExtractionError("not-supported", "the XML is not a C-CDA ClinicalDocument; send text, HTML, RTF or PDF")
    return root


def sections_text(document: etree._Element, max_chars: int) -> str:
    """Titles and narratives of the structured body, nested sections after their parent's text."""
    lines: list[str] = []
    characters = 0
    for section in document.iterfind(f"{_V3}component/{_V3}structuredBody/{_V3}component/{_V3}section"):
        # An explicit stack: depth is the sender's choice, and Python's is not.
        waiting = [section]
        while waiting:
            current = waiting.pop()
            for part in (current.find(f"{_V3}title"), current.find(f"{_V3}text")):
                if part is not None:
                    lines.append(_narrative(part))
                    characters += len(lines[-1])
                    if characters > max_chars:
                        raise too_much_text(max_chars)
            waiting.extend(reversed(current.findall(f"{_V3}component/{_V3}section")))
    return "\n".join(line for line in lines if line.strip())


def _narrative(element: etree._Element) -> str:
    """The text of a title or narrative block. Content revised as deleted is not part of the note."""
    parts: list[str] = []
    walk = etree.iterwalk(element, events=("start", "end"))
    for event, node in walk:
        name = etree.QName(node).localname
        if event == "start":
            if name == "renderMultiMedia" or node.get("revised") == "delete":
                walk.skip_subtree()
                continue
            if name in _BLOCKS:
                parts.append("\n")
            parts.append(node.text or "")
        else:
            if name in _BLOCKS:
                parts.append("\n")
            elif name in _CELLS:
                parts.append("\t")
            if node is not element:
                parts.append(node.tail or "")
    lines = (" ".join(line.split()) for line in "".join(parts).split("\n"))
    return "\n".join(line for line in lines if line)


def non_xml_body(document: etree._Element) -> tuple[Kind, str | None, bytes] | None:
    """Kind, charset and bytes of an unstructured document's attachment; None for a structured document."""
    text = document.find(f"{_V3}component/{_V3}nonXMLBody/{_V3}text")
    if text is None:
        return None
    content_type = text.get("mediaType", "text/plain")
    kind = kind_of(content_type)
    if kind is None or kind is Kind.CDA or text.find(f"{_V3}reference") is not None:
        raise ExtractionError("not-supported", "the C-CDA's nonXMLBody is not inline text, HTML, RTF or PDF; send one")
    content = "".join(str(part) for part in text.itertext())
    if text.get("representation") != "B64":
        return kind, "utf-8", content.encode()
    try:
        return kind, charset_of(content_type), strict_base64("".join(content.split()))
    except ValueError:
        raise ExtractionError("value", "the C-CDA's nonXMLBody is not base64; send it as it was made") from None
