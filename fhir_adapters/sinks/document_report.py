"""DocumentReference with a text report, one a note and model: for EHRs that take no other resource for a risk."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fhir_adapters.assessment_record import AssessmentRecord
from fhir_adapters.risk_assessment import ProbabilityScale, fhir_instant, model_label
from fhir_adapters.sinks.own_reports import DOCUMENT_CATEGORY_SYSTEM, REPORT_IDENTIFIER_SYSTEM, RISK_REPORT
from fhir_adapters.sinks.report_text import report_narrative, report_text
from fhir_adapters.sinks.risk_assessment import RiskAssessmentSink
from fhir_adapters.sinks.sink import SinkName, WriteBack, may_set, resource_id, stands_again, strength, with_withdrawal
from lang1.note_types import LOINC_SYSTEM
from lang1.tasks import Task

# LOINC: a clinical interpretation of a patient's risk factors, such as a computed probability.
REPORT_LOINC: Final = "71482-4"
_CATEGORY: Final = {"system": DOCUMENT_CATEGORY_SYSTEM, "code": RISK_REPORT, "display": "Risk report of a model"}
_STATUS: Final = ("current", "superseded", "entered-in-error")
_RECORD_STATUS: Final = ("final", "cancelled", "entered-in-error")
_REWRITTEN: Final = ("status", "text", "date", "content")


class DocumentReportSink:
    """One DocumentReference a note and model, with all of that note's risks as text."""

    name: SinkName = "document-report"
    resource_type = "DocumentReference"
    per_note = True

    def write_back(
        self,
        records: Sequence[AssessmentRecord],
        note_key: str,
        registry: Mapping[str, Task],
        *,
        probability_scale: ProbabilityScale = 1,
    ) -> WriteBack:
        order = list(registry)
        shown = sorted(records, key=lambda record: order.index(registry[record.task].name))
        first = shown[0]
        source = RiskAssessmentSink().write_back([first], note_key, registry).resource
        standing = max(strength(record.status) for record in shown)
        status, withdrawn = _STATUS[standing], _RECORD_STATUS[standing]
        value = _identifier(note_key, first.bundle_sha256)
        when = fhir_instant(max(record.occurrence for record in shown))
        mark = {"coding": [_CATEGORY], "text": _CATEGORY["display"]}
        resource: dict[str, Any] = {
            "resourceType": "DocumentReference",
            "meta": {"tag": [_CATEGORY, *source.get("meta", {}).get("tag", [])]},
            "text": with_withdrawal(report_narrative(shown, registry), withdrawn),
            "contained": source["contained"],
            "identifier": [{"system": REPORT_IDENTIFIER_SYSTEM, "value": value}],
            "status": status,
            "docStatus": "final",
            "type": {
                "coding": [{"system": LOINC_SYSTEM, "code": REPORT_LOINC, "display": "Risk assessment Document"}],
                "text": "Risk report",
            },
            "category": [mark],
            "subject": source["subject"],
            "date": when,
            "author": [source["performer"]],
            # It adds to the note and changes nothing in it.
            "relatesTo": [{"code": "appends", "target": source["basis"][0]}],
            "description": f"Risk report of {model_label(first)}",
            "content": [{"attachment": _attachment(report_text(shown, registry, withdrawn), when)}],
            "context": _context(source),
        }
        token = f"{REPORT_IDENTIFIER_SYSTEM}|{value}"
        return WriteBack(resource, token, resource_id(token), stands_again(shown))

    def changed(self, current: Mapping[str, Any], wanted: WriteBack) -> dict[str, Any] | None:
        """A report also changes when more risks of the same note were scored."""
        report, status = wanted.resource, current.get("status")
        same = strength(status) == strength(report["status"]) and _fingerprint(current) == _fingerprint(report)
        if same or not may_set(status, wanted):
            return None
        return {**current, **{name: report[name] for name in _REWRITTEN}}


def _identifier(note_key: str, bundle_sha256: str) -> str:
    return hashlib.sha256(json.dumps([note_key, bundle_sha256]).encode()).hexdigest()


def _attachment(text: str, created: str) -> dict[str, Any]:
    raw = text.encode()
    return {
        "contentType": "text/plain; charset=utf-8",
        "language": "en",
        "data": base64.b64encode(raw).decode(),
        "size": len(raw),
        "hash": _sha1(raw),
        "title": "Risk report",
        "creation": created,
    }


def _context(source: Mapping[str, Any]) -> dict[str, Any]:
    encounter = {"encounter": [source["encounter"]]} if "encounter" in source else {}
    return {**encounter, "related": [source["basis"][0]]}


def _sha1(raw: bytes) -> str:
    # R4 says SHA-1; it tells versions of our own text apart and protects nothing.
    return base64.b64encode(hashlib.sha1(raw, usedforsecurity=False).digest()).decode()


def _fingerprint(resource: Mapping[str, Any]) -> str | None:
    """What tells two texts apart: a server may move the bytes of an attachment elsewhere and keep its hash."""
    try:
        attachment = resource["content"][0]["attachment"]
        if "data" in attachment:
            return _sha1(base64.b64decode(attachment["data"]))
        return str(attachment["hash"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
