from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from fhir_adapters.attachments.fetching import FetchedBinary, NoFetcher
from fhir_adapters.attachments.limits import AttachmentLimits
from fhir_adapters.attachments.media_types import KIND_OF_MEDIA_TYPE, PREFERENCE, Kind
from fhir_adapters.attachments.reading import read_document_text
from fhir_adapters.errors import FhirInputError
from tests.fhir_adapters.samples import NOTE, b64, cda, content, linked, pdf, pdf_with_stream

RTF = rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}\f0 The \b caf\'e9\b0  visit.\par Second line.}"
HTML = (
    "<html><head><title>t</title><style>p{}</style><script>alert('no')</script></head>"
    "<body><h1>Discharge</h1><p>Caf\u00e9&nbsp;visit</p><table><tr><td>Na</td><td>140</td></tr></table></body></html>"
)
SAMPLES: dict[Kind, bytes] = {
    Kind.PLAIN: NOTE.encode(),
    Kind.HTML: HTML.encode(),
    Kind.CDA: cda("<title>HPI</title><text>Fever.</text>"),
    Kind.RTF: RTF,
    Kind.PDF: pdf("A line of a PDF."),
}
TYPE_OF = {kind: media_type for media_type, kind in reversed(KIND_OF_MEDIA_TYPE.items())}


class Server:
    """A FHIR server with one Binary; remembers what it was asked for."""

    fhir_base = "https://fhir.example/r4"

    def __init__(self, content_type: str = "text/plain", data: bytes = NOTE.encode()) -> None:
        self.answer = FetchedBinary(content_type, data)
        self.asked: list[str] = []

    def fetch(self, url: str) -> FetchedBinary:
        self.asked.append(url)
        return self.answer


def read(*contents: dict[str, Any], fetcher: Any = None, **limits: Any) -> str:
    return read_document_text(contents, fetcher or NoFetcher(), AttachmentLimits(**limits))


def refusal(*contents: dict[str, Any], fetcher: Any = None, **limits: Any) -> FhirInputError:
    with pytest.raises(FhirInputError) as caught:
        read(*contents, fetcher=fetcher, **limits)
    assert caught.value.status == 422
    return caught.value


@pytest.mark.parametrize("best", range(len(PREFERENCE)))
def test_the_preferred_type_is_read_whatever_the_order(best: int) -> None:
    kinds = PREFERENCE[best:]
    contents = [content(SAMPLES[kind], TYPE_OF[kind]) for kind in reversed(kinds)]
    contents.insert(0, content(b"\x89PNG", "image/png"))
    assert read(*contents) == read(content(SAMPLES[kinds[0]], TYPE_OF[kinds[0]]))


def test_the_first_of_two_equal_types_is_read() -> None:
    assert read(content("first"), content("second")) == "first"


def test_a_corrupt_preferred_attachment_is_an_error_and_does_not_fall_through() -> None:
    assert refusal(content(b"\xff\xfe\xfa"), content(HTML, "text/html")).code == "value"


def test_unsupported_types_are_named() -> None:
    error = refusal(content(b"x", "image/png"))
    assert error.code == "not-supported"
    assert "DocumentReference.content[0]: attachment is image/png; send text, HTML" in str(error)
    assert "image/png, application/msword" in str(
        refusal(content(b"x", "image/png"), content(b"x", "application/msword"))
    )


def test_neither_data_nor_url_and_data_without_type_are_required() -> None:
    assert refusal({"attachment": {"contentType": "text/plain"}}).code == "required"
    assert refusal({"attachment": {}}).code == "required"
    assert refusal(content(NOTE, None)).code == "required"


@pytest.mark.parametrize(
    "media_type", ["TEXT/Plain", "text/plain;charset=UTF-8", 'text/plain; format=flowed; charset="utf-8"']
)
def test_content_types_are_read_as_headers_are(media_type: str) -> None:
    assert read(content("Caf\u00e9", media_type)) == "Caf\u00e9"


@pytest.mark.parametrize("charset", ["iso-8859-1", "windows-1252", "utf-16", "utf-16le", "latin1", "utf-8", "UTF8"])
def test_the_charset_of_the_content_type_decides(charset: str) -> None:
    assert read(content("Caf\u00e9".encode(charset), f"text/plain; charset={charset}")) == "Caf\u00e9"


@pytest.mark.parametrize("charset", ["klingon", "zip", "rot13", "idna", "punycode", "", "unicode_escape", "a\0b"])
def test_an_unknown_charset_is_not_supported(charset: str) -> None:
    assert refusal(content("x", f"text/plain; charset={charset}")).code == "not-supported"


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        ("Caf\u00e9".encode("latin-1"), "text/plain"),
        ("Caf\u00e9".encode(), "text/plain; charset=us-ascii"),
        (b"\x81", "text/plain; charset=windows-1252"),
        ("unlabelled".encode("utf-16-le"), "text/plain"),
        ("Caf\u00e9".encode("latin-1"), "text/html"),
    ],
)
def test_wrong_bytes_are_a_value_error(data: bytes, media_type: str) -> None:
    assert refusal(content(data, media_type)).code == "value"


@pytest.mark.parametrize("data", ["!!!!", "QUJD=", "QUI", "QUJ DRA", "QUJD====", "Q-_D", "QUJD\u00e9", "=QUJ"])
def test_base64_is_strict(data: str) -> None:
    assert refusal({"attachment": {"contentType": "text/plain", "data": data}}).code == "value"


def test_base64_may_hold_line_breaks() -> None:
    lines = base64.encodebytes(NOTE.encode() * 3).decode()
    assert read({"attachment": {"contentType": "text/plain", "data": lines}}) == NOTE * 3


def test_hash_and_size_are_checked_where_given() -> None:
    data = NOTE.encode()
    sha1 = b64(hashlib.sha1(data).digest())  # noqa: S324  # R4 says SHA-1
    assert read(content(data, hash=sha1, size=len(data))) == NOTE
    assert refusal(content(data, hash=b64(b"0" * 20))).code == "value"
    assert refusal(content(data, hash="not base64")).code == "value"
    assert refusal(content(data, size=len(data) + 1)).code == "value"


def test_bytes_and_text_over_the_cap_are_too_long() -> None:
    assert refusal(content("x" * 101), max_bytes=100).code == "too-long"
    assert read(content("x" * 100), max_bytes=100)
    assert refusal(content("x" * 101), max_text_chars=100).code == "too-long"
    assert refusal(content(f"<p>{'x' * 101}</p>", "text/html"), max_text_chars=100).code == "too-long"
    assert refusal(content(pdf("x" * 60, "y" * 60), "application/pdf"), max_text_chars=100).code == "too-long"
    assert refusal(content(pdf("x", pages=3), "application/pdf"), max_pages=2).code == "too-long"
    assert (
        refusal({"attachment": {"contentType": "text/plain", "data": " " * 10_000}}, max_bytes=100).code == "too-long"
    )


@pytest.mark.parametrize("media_type", ["text/html", "application/xhtml+xml"])
def test_html_is_text_without_scripts(media_type: str) -> None:
    text = read(content(HTML, media_type))
    assert text.split() == ["Discharge", "Caf\u00e9", "visit", "Na", "140"]


def test_html_may_name_its_charset_itself() -> None:
    markup = '<?xml version="1.0" encoding="iso-8859-1"?><html><meta charset="iso-8859-1"><p>Caf\u00e9</p></html>'
    assert read(content(markup.encode("latin-1"), "text/html")).strip() == "Caf\u00e9"


def test_rtf_is_text() -> None:
    assert read(content(RTF, "text/rtf")) == "The caf\u00e9 visit.\nSecond line."
    assert refusal(content("plain", "application/rtf")).code == "value"


def test_a_pdf_is_its_text_layer() -> None:
    lines = read(content(pdf("First line.", "Second line.", pages=2), "application/pdf")).split("\n")
    assert [line for line in lines if line] == ["First line.", "Second line."] * 2


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (pdf(), "not-supported"),
        (pdf("secret", encrypted=True), "not-supported"),
        (b"%PDF-1.7 nonsense", "value"),
        (b"%", "value"),
        (pdf_with_stream(b"\x78\x9c" + b"\xff" * 40), "value"),
    ],
    ids=["no text layer", "encrypted", "broken", "one byte", "corrupt page"],
)
def test_a_pdf_without_readable_text_is_refused(data: bytes, code: str) -> None:
    assert refusal(content(data, "application/pdf")).code == code


@pytest.mark.parametrize("media_type", [name for name, kind in KIND_OF_MEDIA_TYPE.items() if kind is Kind.CDA])
def test_a_ccda_is_its_sections_in_order(media_type: str) -> None:
    data = cda(
        "<title>History</title><text><paragraph>Fever <content styleCode='Bold'>three</content> days.</paragraph>"
        "<list><item>cough</item><item>chills</item></list>old<content revised='delete'>GONE</content> new</text>"
        "<component><section><title>Nested</title><text>deep</text></section></component>",
        "<title>Labs</title><text><table><thead><tr><th>Test</th><th>Value</th></tr></thead>"
        "<tbody><tr><td>Na</td><td>140</td></tr></tbody></table><renderMultiMedia>PIC</renderMultiMedia></text>",
    )
    assert read(content(data, media_type)).split("\n") == [
        "History", "Fever three days.", "cough", "chills", "old new", "Nested", "deep", "Labs", "Test Value", "Na 140",
    ]  # fmt: skip


def test_a_ccda_in_another_encoding_is_read() -> None:
    data = cda("<text>Caf\u00e9</text>").decode()
    assert read(content(data.replace("UTF-8", "ISO-8859-1").encode("latin-1"), "text/xml")) == "Caf\u00e9"
    wide = data.replace("UTF-8", "UTF-16").encode("utf-16")
    assert read(content(wide, "text/xml; charset=utf-16")) == read(content(wide, "text/xml")) == "Caf\u00e9"


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [(Kind.PLAIN, NOTE), (Kind.RTF, "The caf\u00e9 visit.\nSecond line."), (Kind.PDF, "A line of a PDF.")],
)
def test_an_unstructured_ccda_is_its_one_attachment(kind: Kind, wanted: str) -> None:
    body = (
        f'<nonXMLBody><text mediaType="{TYPE_OF[kind]}" representation="B64">{b64(SAMPLES[kind])}</text></nonXMLBody>'
    )
    assert read(content(cda(body=body), "text/xml")).strip() == wanted


def test_an_unstructured_ccda_that_cannot_be_read_is_refused() -> None:
    for media_type, inner, code in (
        ("image/png", "AAAA", "not-supported"),
        ("application/pdf", "<reference value='x.pdf'/>", "not-supported"),
        ("text/plain", "!!!", "value"),
    ):
        body = f'<nonXMLBody><text mediaType="{media_type}" representation="B64">{inner}</text></nonXMLBody>'
        assert refusal(content(cda(body=body), "text/xml")).code == code


def test_other_xml_and_broken_xml_are_refused() -> None:
    assert refusal(content("<note>hello</note>", "application/xml")).code == "not-supported"
    assert refusal(content("<ClinicalDocument>", "application/xml")).code == "value"


def test_a_url_is_fetched_from_the_configured_server() -> None:
    server = Server("text/html; charset=utf-8", HTML.encode())
    assert "Caf\u00e9" in read(linked("Binary/1", "text/html"), fetcher=server)
    assert server.asked == ["https://fhir.example/r4/Binary/1"]


def test_a_fetched_fhir_binary_is_unwrapped() -> None:
    binary = {"resourceType": "Binary", "contentType": "text/plain", "data": b64(NOTE)}
    server = Server("application/fhir+json", json.dumps(binary).encode())
    assert read(linked("Binary/1"), fetcher=server) == NOTE
    for broken in ({**binary, "resourceType": "Patient"}, {**binary, "data": None}, {**binary, "data": "!"}):
        refusal(linked("Binary/1"), fetcher=Server("application/fhir+json", json.dumps(broken).encode()))


def test_the_fetched_type_is_believed_over_the_declared_one() -> None:
    assert refusal(linked("Binary/1"), fetcher=Server("image/png")).code == "not-supported"
    assert read(linked("Binary/1", None), fetcher=Server()) == NOTE
    assert read(linked("Binary/1"), fetcher=Server("application/octet-stream")) == NOTE
    declared = linked("Binary/1", "text/plain; charset=iso-8859-1")
    assert read(declared, fetcher=Server("text/plain", "Caf\u00e9".encode("latin-1"))) == "Caf\u00e9"


def test_fetched_bytes_have_the_same_checks() -> None:
    assert refusal(linked("Binary/1", size=3), fetcher=Server()).code == "value"
    assert refusal(linked("Binary/1"), fetcher=Server(), max_bytes=10).code == "too-long"


def test_without_a_server_a_url_is_not_supported() -> None:
    assert refusal(linked("Binary/1")).code == "not-supported"
