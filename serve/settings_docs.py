"""The reference page of all settings, generated from the model: no setting has its words in two places."""

from __future__ import annotations

from serve.settings import ENV_PREFIX, SETTINGS_FILE_VARIABLE, Settings


def settings_markdown() -> str:
    """The reference page of all settings, as Markdown, generated from the model."""
    how = f"Each can be given as `{ENV_PREFIX}<NAME>`, or as a key of the YAML file named by `{SETTINGS_FILE_VARIABLE}`"
    rows = ["# Settings", "", f"{how} or `--settings`.", "", "| setting | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "unset" if field.default is None else f"`{field.default}`"
        if name == "bundle":
            default = "the demo bundle"  # its path differs between machines
        rows.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"
