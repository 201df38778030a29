"""The reference page of all settings, generated from the model: no setting has its words in two places."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic_core import PydanticUndefined

from serve.auth.settings import AuthSettings
from serve.beds.settings import BedSettings
from serve.ehr.settings import EhrSettings
from serve.intake.settings import IntakeSettings
from serve.monitor.settings import MonitorSettings
from serve.outbox.settings import OutboxSettings
from serve.outcomes.settings import OutcomeSettings
from serve.settings import ENV_PREFIX, SETTINGS_FILE_VARIABLE, Settings

GROUPS = (
    ("Who may call", AuthSettings),
    ("The hospital's FHIR server", EhrSettings),
    ("Notes that the service fetches", IntakeSettings),
    ("Scores that are written back", OutboxSettings),
    ("Outcomes", OutcomeSettings),
    ("Beds", BedSettings),
    ("Monitor", MonitorSettings),
)


def settings_markdown() -> str:
    """The reference page of all settings, as Markdown, generated from the model."""
    how = f"Each can be given as `{ENV_PREFIX}<NAME>`, or as a key of the YAML file named by `{SETTINGS_FILE_VARIABLE}`"
    rows = ["# Settings", "", f"{how} or `--settings`."]
    grouped = {name for _, group in GROUPS for name in group.model_fields}
    rows += _table("The service", [name for name in Settings.model_fields if name not in grouped])
    for title, group in GROUPS:
        rows += _table(title, group.model_fields)
    return "\n".join(rows) + "\n"


def _table(title: str, names: Iterable[str]) -> list[str]:
    rows = ["", f"## {title}", "", "| setting | default | meaning |", "|---|---|---|"]
    for name in names:
        field = Settings.model_fields[name]
        default = "unset" if field.default is None else f"`{field.default}`"
        if field.default is PydanticUndefined or field.default == ():
            default = "none"
        if name == "bundle":
            default = "the demo bundle"  # its path differs between machines
        rows.append(f"| `{name}` | {default} | {field.description} |")
    return rows
