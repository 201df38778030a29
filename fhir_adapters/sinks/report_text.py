"""The words of a risk report: plain text, and the same as a narrative. Holds no note text and no identifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from html import escape
from typing import Any

from fhir_adapters.assessment_record import AssessmentRecord
from fhir_adapters.risk_assessment import model_label
from fhir_adapters.risk_text import DECISION_SUPPORT, DEMO_WARNING, rationale
from fhir_adapters.sinks.sink import withdrawal
from lang1.note_types import NOTE_TYPES
from lang1.tasks import Task


def report_text(records: Sequence[AssessmentRecord], registry: Mapping[str, Task], status: str) -> str:
    """All risks of one note, in the order given. `status` is that of the records that withdraws most."""
    lines = ["RISK REPORT", *_warnings(records[0], status), "", *_head(records[0]), ""]
    for record in records:
        task = registry[record.task]
        lines.append(_summary(record, task))
        lines += [f"  {option.display}: {p:.1%}" for option, p in zip(task.options, record.probabilities, strict=True)]
        lines += [f"  {_limits(record, task)}", ""]
    return "\n".join([*lines, DECISION_SUPPORT, ""])


def report_narrative(records: Sequence[AssessmentRecord], registry: Mapping[str, Task]) -> dict[str, Any]:
    """The risks as an R4 Narrative, a line each; all of it escaped."""
    rows = "".join(f"<li>{escape(_summary(record, registry[record.task]))}</li>" for record in records)
    words = [f"<p>{escape(line)}</p>" for line in (*_warnings(records[0], "final"), *_head(records[0]))]
    return {
        "status": "generated",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{"".join(words)}<ul>{rows}</ul>'
        f"<p>{escape(DECISION_SUPPORT)}</p></div>",
    }


def _warnings(record: AssessmentRecord, status: str) -> list[str]:
    words = withdrawal(status)
    return [*([] if words is None else [words]), *([DEMO_WARNING] if record.demo else [])]


def _head(record: AssessmentRecord) -> list[str]:
    known = NOTE_TYPES.get(record.note_type or "")
    kind = f"{known.display} (LOINC {known.loinc})" if known else "Clinical note"
    scored = record.occurrence.astimezone(UTC)
    return [f"Model: {model_label(record)}", f"Note: {kind}", f"Scored: {scored:%Y-%m-%d %H:%M} UTC"]


def _summary(record: AssessmentRecord, task: Task) -> str:
    return f"{task.title}: {record.risk_level} risk ({task.adverse_label}: {record.adverse_probability:.1%})"


def _limits(record: AssessmentRecord, task: Task) -> str:
    """What the number of one task is of; what is said of all of them stands once in the report."""
    return rationale(record, task).replace(f" {DEMO_WARNING}", "").replace(f" {DECISION_SUPPORT}", "")
