"""Every sink, by its name in the settings."""

from __future__ import annotations

from fhir_adapters.sinks.document_report import DocumentReportSink
from fhir_adapters.sinks.observation import ObservationSink
from fhir_adapters.sinks.risk_assessment import RiskAssessmentSink
from fhir_adapters.sinks.sink import Sink

SINKS: dict[str, Sink] = {sink.name: sink for sink in (RiskAssessmentSink(), ObservationSink(), DocumentReportSink())}
