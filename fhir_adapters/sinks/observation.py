"""Observation (category survey): for EHRs that take no RiskAssessment but show assessment scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fhir_adapters import canonical
from fhir_adapters.assessment_record import AssessmentRecord
from fhir_adapters.risk_assessment import ProbabilityScale
from fhir_adapters.sinks.own_reports import OBSERVATION_IDENTIFIER_SYSTEM
from fhir_adapters.sinks.risk_assessment import RiskAssessmentSink
from fhir_adapters.sinks.sink import SinkName, WriteBack, changed_standing, resource_id
from lang1.tasks import Task

CATEGORY_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
INTERPRETATION_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_UNITS: Final = {1: ("probability", "1"), 100: ("%", "%")}
# Elements that mean the same in both resources.
_SHARED: Final = ("meta", "text", "contained", "status", "code", "subject", "encounter", "method")


class ObservationSink:
    """One Observation a score: a value for a binary task, a component an option for the others."""

    name: SinkName = "observation"
    resource_type = "Observation"
    per_note = False

    def write_back(
        self,
        records: Sequence[AssessmentRecord],
        note_key: str,
        registry: Mapping[str, Task],
        *,
        probability_scale: ProbabilityScale = 1,
    ) -> WriteBack:
        (record,) = records
        base = RiskAssessmentSink().write_back(records, note_key, registry, probability_scale=probability_scale)
        source = base.resource
        predictions = source["prediction"]
        # A performer must be a person or an organisation in R4: the model is the device.
        resource: dict[str, Any] = {
            "resourceType": "Observation",
            **{name: source[name] for name in _SHARED if name in source},
            "identifier": [{"system": OBSERVATION_IDENTIFIER_SYSTEM, "value": record.identifier}],
            "category": [{"coding": [{"system": CATEGORY_SYSTEM, "code": "survey", "display": "Survey"}]}],
            "effectiveDateTime": source["occurrenceDateTime"],
            "issued": source["occurrenceDateTime"],
            "device": {"reference": source["performer"]["reference"], "display": source["performer"]["display"]},
            "derivedFrom": source["basis"],
            "interpretation": [_interpretation(record.risk_level)],
            "note": [{"text": predictions[0]["rationale"]}],
        }
        if registry[record.task].kind == "binary":
            resource["valueQuantity"] = _quantity(predictions[0], probability_scale)
        else:
            resource["component"] = [
                {"code": each["outcome"], "valueQuantity": _quantity(each, probability_scale)} for each in predictions
            ]
        token = f"{OBSERVATION_IDENTIFIER_SYSTEM}|{record.identifier}"
        return WriteBack(resource, token, resource_id(token), base.reinstated)

    def changed(self, current: Mapping[str, Any], wanted: WriteBack) -> dict[str, Any] | None:
        return changed_standing(current, wanted)


def _quantity(prediction: Mapping[str, Any], scale: ProbabilityScale) -> dict[str, Any]:
    unit, code = _UNITS[scale]
    return {"value": prediction["probabilityDecimal"], "unit": unit, "system": canonical.UCUM_SYSTEM, "code": code}


def _interpretation(level: str) -> dict[str, Any]:
    codings = [{"system": canonical.RISK_PROBABILITY_SYSTEM, "code": level}]
    if level == "high":
        # HL7 has a code for high, which charts flag; its "normal" would claim more than a low risk says.
        codings.insert(0, {"system": INTERPRETATION_SYSTEM, "code": "H", "display": "High"})
    return {"coding": codings, "text": f"{level} risk"}
