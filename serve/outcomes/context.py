"""What labels are made with: the tasks, the rules, the hospital's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from fhir_adapters.outcomes.mapping import load_outcome_mapping
from lang1.hospital_record import LabelPolicy
from lang1.tasks import Task
from serve.settings import Settings

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class LabelContext:
    """Plain data, so that it travels to the store's writer with the work."""

    tasks: tuple[Task, ...]
    policy: LabelPolicy
    timezone: str
    feed_lag_ms: int
    denials_final_after_days: int | None
    base_url: str | None = None
    """Of the EHR's FHIR server: left off references."""
    record_of_source: Mapping[str, str] = field(default_factory=dict)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def record_of(self, source: str) -> str:
        """The system whose ids `source` uses."""
        return self.record_of_source.get(source, source)


def label_context(settings: Settings, tasks: Mapping[str, Task]) -> LabelContext:
    """The context of these settings. Raises MappingFileError."""
    mapping = load_outcome_mapping(settings.outcome_mapping_file)
    return LabelContext(
        tasks=tuple(tasks.values()),
        policy=mapping.rules,
        timezone=settings.hospital_timezone,
        feed_lag_ms=round(settings.outcome_feed_lag_hours * HOUR_MS),
        denials_final_after_days=mapping.denials_final_after_days,
        base_url=settings.fhir_base_url,
        record_of_source=dict(settings.record_of_source),
    )
