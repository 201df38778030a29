"""An AssessmentRecord to a FHIR R4 RiskAssessment. Pure: the same record gives the same resource, always."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from fhir_adapters import canonical
from fhir_adapters.assessment_record import AssessmentRecord, scores_to_records
from fhir_adapters.document_note import DocumentIdentity
from fhir_adapters.prediction_time import when
from fhir_adapters.references import identifier_from_token, reference
from fhir_adapters.risk_text import narrative, rationale
from lang1.scores import RiskScores
from lang1.tasks import Option, Task

ProbabilityScale = Literal[1, 100]
SIGNIFICANT_DIGITS: Final = 6
DEVICE_ID: Final = "model"
_CODE_BREAKERS: Final = re.compile(r"\s+")


def record_to_risk_assessment(
    record: AssessmentRecord, registry: Mapping[str, Task], *, probability_scale: ProbabilityScale = 1
) -> dict[str, Any]:
    """The RiskAssessment of a record, as JSON values.

    One `prediction` for a binary task (its positive option), one an option for the others, in task order.
    `probabilityDecimal` is 0 to `probability_scale`, to six significant digits. Raises KeyError for a task that is not
    in the registry.
    """
    task = registry[record.task]
    resource: dict[str, Any] = {
        "resourceType": "RiskAssessment",
        "id": record.assessment_id,
        "meta": _meta(record),
        "text": narrative(record, task),
        "contained": [_device(record)],
        "extension": _extensions(record),
        "identifier": [{"system": canonical.ASSESSMENT_IDENTIFIER_SYSTEM, "value": record.identifier}],
        "status": record.status,
        "method": _method(record),
        "code": task_concept(task),
        "subject": reference(record.subject, record.subject_identifier),
        "encounter": reference(record.encounter, record.encounter_identifier),
        "occurrenceDateTime": fhir_instant(record.occurrence),
        "performer": {"reference": f"#{DEVICE_ID}", "display": model_label(record)},
        "basis": [_basis(record)],
        "prediction": _predictions(record, task, probability_scale),
    }
    return {name: value for name, value in resource.items() if value is not None}


def scores_to_risk_assessments(
    scores: RiskScores,
    identity: DocumentIdentity,
    ids: Mapping[str, str],
    occurrence: datetime,
    registry: Mapping[str, Task],
    *,
    source: str = "",
    probability_scale: ProbabilityScale = 1,
) -> list[dict[str, Any]]:
    """All RiskAssessments of one note's scores, in registry order: `scores_to_records`, then each to its resource."""
    records = scores_to_records(scores, identity, ids, occurrence=occurrence, source=source)
    return [record_to_risk_assessment(record, registry, probability_scale=probability_scale) for record in records]


def task_concept(task: Task) -> dict[str, Any]:
    """The CodeableConcept of a task: its name is its code."""
    return {
        "coding": [{"system": canonical.TASK_SYSTEM, "code": task.name, "display": task.title}],
        "text": task.title,
    }


def outcome_code(task: Task, option: Option) -> str:
    """The code of an option in the outcome CodeSystem: option codes alone ("yes") repeat between tasks."""
    return f"{task.name}.{option.code}"


def model_label(record: AssessmentRecord) -> str:
    """Model name and version, for people."""
    return f"{record.model_name} {record.model_version}"


def fhir_instant(moment: datetime) -> str:
    """An aware datetime as a FHIR instant, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _meta(record: AssessmentRecord) -> dict[str, Any]:
    meta: dict[str, Any] = {"versionId": str(record.version), "lastUpdated": fhir_instant(record.recorded)}
    if record.demo:
        meta["tag"] = [
            {"system": canonical.ACT_REASON_SYSTEM, "code": "HTEST", "display": "test health data"},
        ]
    return meta


def _device(record: AssessmentRecord) -> dict[str, Any]:
    # Contained, so that the reference resolves wherever the RiskAssessment is written to.
    return {
        "resourceType": "Device",
        "id": DEVICE_ID,
        "identifier": [{"system": canonical.BUNDLE_IDENTIFIER_SYSTEM, "value": record.bundle_sha256}],
        "deviceName": [{"name": record.model_name, "type": "model-name"}],
        "version": [{"value": record.model_version}],
    }


def _extensions(record: AssessmentRecord) -> list[dict[str, Any]]:
    extensions: list[dict[str, Any]] = [
        {"url": canonical.NOTE_TYPE_MATCH_EXTENSION, "valueBoolean": record.note_type_match},
        {"url": canonical.TRUNCATED_EXTENSION, "valueBoolean": record.truncated},
        {"url": canonical.DROPPED_TOKENS_EXTENSION, "valueInteger": record.dropped_tokens},
    ]
    if record.preliminary:
        extensions.append({"url": canonical.PRELIMINARY_NOTE_EXTENSION, "valueBoolean": True})
    return extensions


def _method(record: AssessmentRecord) -> dict[str, Any]:
    coding = {
        "system": canonical.MODEL_SYSTEM,
        "version": record.model_version,
        # An R4 code has no white space but single blanks inside; a model's name is its maker's choice.
        "code": _CODE_BREAKERS.sub("-", record.model_name.strip()),
        "display": record.model_name,
    }
    return {"coding": [coding], "text": model_label(record)}


def _basis(record: AssessmentRecord) -> dict[str, Any]:
    if record.document_id is not None:
        version = f"/_history/{record.document_version}" if record.document_version is not None else ""
        return {"reference": f"DocumentReference/{record.document_id}{version}", "type": "DocumentReference"}
    if record.document_identifier is not None:
        return {"type": "DocumentReference", "identifier": identifier_from_token(record.document_identifier)}
    # A document without a name of its own is named by its text.
    identifier = {"system": canonical.NOTE_TEXT_IDENTIFIER_SYSTEM, "value": record.text_sha256}
    return {"type": "DocumentReference", "identifier": identifier}


def _predictions(record: AssessmentRecord, task: Task, scale: ProbabilityScale) -> list[dict[str, Any]]:
    indices = range(len(task.options)) if task.positive_option is None else (task.positive_option,)
    reason = rationale(record, task)
    timing = when(task, record.period_end)
    predictions = []
    for index in indices:
        option = task.options[index]
        prediction: dict[str, Any] = {
            "outcome": {
                "coding": [
                    {
                        "system": canonical.OUTCOME_SYSTEM,
                        "code": outcome_code(task, option),
                        "display": option.display,
                    }
                ],
                "text": option.display,
            },
            "probabilityDecimal": _decimal(record.probabilities[index] * scale),
        }
        if index in task.adverse_options:
            # The level is of the adverse options together, so it stands beside each of them and no other.
            prediction["qualitativeRisk"] = _qualitative(record.risk_level)
        predictions.append({**prediction, **timing, "rationale": reason})
    return predictions


def _qualitative(level: str) -> dict[str, Any]:
    display = {"low": "Low likelihood", "moderate": "Moderate likelihood", "high": "High likelihood"}[level]
    return {"coding": [{"system": canonical.RISK_PROBABILITY_SYSTEM, "code": level, "display": display}]}


def _decimal(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
