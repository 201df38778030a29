"""RiskAssessment: what the service itself answers, without what belongs to this server's own copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fhir_adapters.assessment_record import AssessmentRecord
from fhir_adapters.references import identifier_token
from fhir_adapters.risk_assessment import ProbabilityScale, record_to_risk_assessment
from fhir_adapters.sinks.sink import SinkName, WriteBack, changed_standing, resource_id, stands_again, with_withdrawal
from lang1.tasks import Task


class RiskAssessmentSink:
    """One RiskAssessment a score."""

    name: SinkName = "risk-assessment"
    resource_type = "RiskAssessment"
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
        resource = record_to_risk_assessment(record, registry, probability_scale=probability_scale)
        del resource["id"]
        tags = {"tag": resource["meta"]["tag"]} if "tag" in resource["meta"] else None
        resource = {**resource, "meta": tags, "text": with_withdrawal(resource["text"], record.status)}
        token = identifier_token(resource["identifier"][0]) or ""
        given = {name: value for name, value in resource.items() if value is not None}
        return WriteBack(given, token, resource_id(token), stands_again(records))

    def changed(self, current: Mapping[str, Any], wanted: WriteBack) -> dict[str, Any] | None:
        return changed_standing(current, wanted)
