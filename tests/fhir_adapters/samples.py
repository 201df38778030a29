"""Documents and attachments made for the tests; nobody's data."""

from __future__ import annotations

import base64
import zlib
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

from reportlab.pdfgen import canvas

from fhir_adapters.document_note import ScorableNote, document_to_note
from fhir_adapters.document_reference import parse_document_reference
from lang1.scores import Calibrator, ModelIdentity, OperatingThresholds, RiskScores, score_from_logits
from lang1.tasks import BUILT_IN

NOTE = "The patient was admitted with pneumonia, treated with ceftriaxone, improved steadily and went home on day four."
DEMO_MODEL = ModelIdentity("lang1-demo", "0.1.0", "ab" * 32, demo=True)
OCCURRENCE = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
IDS = {name: f"00000000-0000-4000-8000-{index:012d}" for index, name in enumerate(BUILT_IN)}


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def content(data: bytes | str = NOTE, content_type: str | None = "text/plain", **more: Any) -> dict[str, Any]:
    attachment = {"contentType": content_type, "data": b64(data), **more}
    return {"attachment": {name: value for name, value in attachment.items() if value is not None}}


def linked(url: str, content_type: str | None = "text/plain", **more: Any) -> dict[str, Any]:
    attachment = {"contentType": content_type, "url": url, **more}
    return {"attachment": {name: value for name, value in attachment.items() if value is not None}}


def document(*contents: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A valid discharge summary; a change to None removes the element."""
    resource: dict[str, Any] = {
        "resourceType": "DocumentReference",
        "id": "note-1",
        "meta": {"versionId": "3"},
        "masterIdentifier": {"system": "urn:ietf:rfc:3986", "value": "urn:oid:1.2.3"},
        "identifier": [{"system": "https://ehr.example/notes", "value": "77"}],
        "status": "current",
        "docStatus": "final",
        "type": {"coding": [{"system": "http://loinc.org", "code": "18842-5", "display": "Discharge summary"}]},
        "subject": {"reference": "Patient/1"},
        "date": "2026-03-01T12:00:00Z",
        "content": list(contents) or [content()],
        "context": {
            "encounter": [{"reference": "Encounter/9"}],
            "period": {"start": "2026-02-25T08:00:00+01:00", "end": "2026-03-01T11:00:00+01:00"},
        },
        **changes,
    }
    return {name: value for name, value in resource.items() if value is not None}


def note_of(*contents: dict[str, Any], **changes: Any) -> ScorableNote:
    return document_to_note(parse_document_reference(document(*contents, **changes)))


def scores(
    note_type: str | None = "18842-5", *, dropped_tokens: int = 0, model: ModelIdentity = DEMO_MODEL
) -> RiskScores:
    thresholds = OperatingThresholds(moderate=0.3, high=0.6)
    risks = tuple(
        score_from_logits(task, [0.4 * k for k in range(len(task.options))], note_type, Calibrator(), thresholds)
        for task in BUILT_IN.values()
    )
    return RiskScores(risks, model, note_tokens=400, dropped_tokens=dropped_tokens)


def pdf(*lines: str, pages: int = 1, encrypted: bool = False) -> bytes:
    from reportlab.lib.pdfencrypt import StandardEncryption

    buffer = BytesIO()
    drawing = canvas.Canvas(buffer, encrypt=StandardEncryption("secret") if encrypted else None)
    for _ in range(pages):
        for index, line in enumerate(lines):
            drawing.drawString(72, 760 - 14 * index, line)
        drawing.showPage()
    drawing.save()
    return buffer.getvalue()


def pdf_with_stream(stream: bytes, filters: str = "/FlateDecode") -> bytes:
    """A one-page PDF whose content stream is these bytes, as they are."""
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d /Filter [%s] >>\nstream\n%s\nendstream" % (len(stream), filters.encode(), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, part in enumerate(parts, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    xref = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return bytes(out + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % xref)


def pdf_bomb(megabytes: int = 200) -> bytes:
    """Spaces, deflated twice: a file of some kilobytes that expands to hundreds of megabytes."""
    squeeze = zlib.compressobj(9)
    inner = b"".join(squeeze.compress(b" " * 1_000_000) for _ in range(megabytes)) + squeeze.flush()
    return pdf_with_stream(zlib.compress(inner, 9), "/FlateDecode /FlateDecode")


def cda(*sections: str, body: str | None = None, prolog: str = "") -> bytes:
    structured = "".join(f"<component><section>{section}</section></component>" for section in sections)
    inner = body if body is not None else f"<structuredBody>{structured}</structuredBody>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{prolog}<ClinicalDocument xmlns="urn:hl7-org:v3">'
        f"<title>Discharge</title><component>{inner}</component></ClinicalDocument>"
    ).encode()
