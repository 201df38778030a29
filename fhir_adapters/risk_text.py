"""The words of a RiskAssessment: the rationale that stands beside a number, and the narrative that shows it."""

from __future__ import annotations

from html import escape
from typing import Any

from fhir_adapters.assessment_record import AssessmentRecord
from lang1.note_types import NOTE_TYPES
from lang1.tasks import Task

DECISION_SUPPORT = "Decision support for qualified staff; not a diagnosis and no substitute for clinical judgement."
DEMO_WARNING = "TEST OUTPUT of a demonstration model trained on synthetic data: not for care."


def rationale(record: AssessmentRecord, task: Task) -> str:
    """What the model read, what it did not, and what the number may be used for. Holds no note text."""
    words = [f"{record.model_name} {record.model_version} read {_read(record)} and no other part of the chart."]
    if not record.note_type_match:
        trained = " or ".join(NOTE_TYPES[code].prompt_name if code in NOTE_TYPES else code for code in task.note_types)
        words.append(f"This task was trained on {trained} text, not on this type of note: the number is unproven here.")
    if record.preliminary:
        words.append("The note was preliminary (unsigned) when it was scored.")
    if len(task.adverse_options) > 1 or task.kind == "multiclass":
        words.append(
            f"The qualitative level is of {task.adverse_label}, probability {record.adverse_probability:.3f} in all."
        )
    if record.demo:
        words.append(DEMO_WARNING)
    words.append(DECISION_SUPPORT)
    return " ".join(words)


def narrative(record: AssessmentRecord, task: Task) -> dict[str, Any]:
    """A generated R4 Narrative: the task, every option's probability, the level and the warnings; all of it escaped."""
    rows = "".join(
        f"<li>{escape(option.display)}: {probability:.1%}</li>"
        for option, probability in zip(task.options, record.probabilities, strict=True)
    )
    return {
        "status": "generated",
        "div": (
            '<div xmlns="http://www.w3.org/1999/xhtml">'
            f"<p><b>{escape(task.title)}</b>: {escape(record.risk_level)} risk "
            f"({escape(task.adverse_label)}: {record.adverse_probability:.1%})</p>"
            f"<ul>{rows}</ul><p>{escape(rationale(record, task))}</p></div>"
        ),
    }


def _read(record: AssessmentRecord) -> str:
    if record.truncated:
        return f"the first {record.note_tokens} tokens of the note (the last {record.dropped_tokens} were cut)"
    return f"the whole note ({record.note_tokens} tokens)"
