"""Parts of the chart that are made from code or from its values, so that no fact has two homes.

python -m helm.generate            rewrite what is stale
python -m helm.generate --check    exit 1 and name what is stale
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from docs.generate import between
from serve.auth.settings import CdsClient, KeyPlace, TokenIssuer
from serve.ray_environment import DEFAULTS, REQUIRED
from serve.settings import Settings

CHART = Path(__file__).resolve().parent / "lang1"
CHART_SETTINGS = {
    "bundle": "bundle",
    "state_dir": "database.persistence",
    "database_url": "database.secretName",
    "host": "exposure",
    "port": "nothing: it is 8000",
    "scorer_replicas": "replicas.scorer",
    "ingress_replicas": "replicas.http",
    "store_replicas": "replicas.store",
    "scorer_cpus": "scorer.cpus",
    "scorer_gpus": "scorer.gpus",
    "num_threads": "scorer.threads",
    "metrics_dir": "nothing: it is scratch space",
}
"""Settings that other values of the chart decide, and which."""
KEPT = (
    "type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "items", "anyOf",
    "additionalProperties", "minLength", "maxLength", "minItems", "description",
)  # fmt: skip
LISTS_OF: dict[str, type[KeyPlace]] = {"auth_issuers": TokenIssuer, "cds_clients": CdsClient}
"""Settings that are lists of objects, and what is in them."""


def settings_schema() -> dict[str, Any]:
    """JSON schema of the value `settings`: the service's own settings, without those of CHART_SETTINGS."""
    fields = Settings.model_json_schema()["properties"]
    known = {
        name: {key: field[key] for key in KEPT if key in field}
        for name, field in fields.items()
        if name not in CHART_SETTINGS
    }
    for name, kind in LISTS_OF.items():
        known[name]["items"] = _place_schema(kind)
    return {"type": "object", "additionalProperties": False, "properties": known}


def _place_schema(kind: type[KeyPlace]) -> dict[str, Any]:
    schema = kind.model_json_schema()
    fields = {name: {key: field[key] for key in KEPT if key in field} for name, field in schema["properties"].items()}
    if "audience" in fields:
        fields["audience"] = {"anyOf": [{"type": "string", "minLength": 1}, fields["audience"]]}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": fields,
        "required": schema["required"],
        "oneOf": [{"required": ["jwks_url"]}, {"required": ["jwks_file"]}],
    }


def values_schema(text: str) -> str:
    """The values' schema `text` with what is made from the service's settings put in."""
    schema = json.loads(text)
    schema["definitions"]["settings"] = settings_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def ray_environment() -> str:
    """The variables that Ray must be started with, as a container's `env`."""
    rows = [{"name": name, "value": value} for name, value in (REQUIRED | DEFAULTS).items()]
    return "# Made from serve/ray_environment.py: python -m helm.generate\n" + yaml.safe_dump(rows, sort_keys=False)


def values_table(text: str) -> str:
    """A Markdown table of every value in a values file: path, default and the comment above it."""
    rows = ["| value | default | meaning |", "|---|---|---|"]
    rows += [
        f"| `{path}` | {'' if default is None else f'`{default}`'} | {meaning.replace('|', chr(92) + '|')} |"
        for path, default, meaning in documented_values(text)
    ]
    return "\n".join(rows)


def documented_values(text: str) -> Iterator[tuple[str, str | None, str]]:
    """Path, default (JSON; None for a group) and comment of each value. Raises ValueError for one without a comment."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from _walk(root, "", text.splitlines())


def _walk(mapping: yaml.MappingNode, above: str, lines: list[str]) -> Iterator[tuple[str, str | None, str]]:
    for key, value in mapping.value:
        path = f"{above}.{key.value}" if above else str(key.value)
        meaning = _comment_above(lines, key.start_mark.line)
        if isinstance(value, yaml.MappingNode) and value.value and not path.endswith("podLabels"):
            if meaning:
                yield path, None, meaning
            yield from _walk(value, path, lines)
            continue
        if not meaning and key.value not in {"enabled", "repository", "tag", "digest", "namespace", "podLabels"}:
            raise ValueError(f"{path}: no comment above it in values.yaml; write one")
        yield path, json.dumps(yaml.safe_load(yaml.serialize(value)), ensure_ascii=False), meaning


def _comment_above(lines: list[str], line: int) -> str:
    found: list[str] = []
    while line > 0 and lines[line - 1].strip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].strip().removeprefix("#").strip())
    return " ".join(found)


def generated() -> dict[Path, str]:
    """Every file that is made, and what it must hold."""
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    schema, readme = CHART / "values.schema.json", CHART / "README.md"
    decided = "\n".join(f"| `{name}` | {value} |" for name, value in CHART_SETTINGS.items())
    page = between(readme.read_text(encoding="utf-8"), "values", values_table(values))
    return {
        schema: values_schema(schema.read_text(encoding="utf-8")),
        CHART / "files" / "ray-environment.yaml": ray_environment(),
        readme: between(page, "decided", f"| setting | decided by |\n|---|---|\n{decided}"),
    }


def main(arguments: list[str]) -> int:
    stale = {
        path: content
        for path, content in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    }
    if "--check" in arguments:
        for path in stale:
            print(f"helm/lang1/{path.relative_to(CHART)} is stale; run `python -m helm.generate`", file=sys.stderr)
        return 1 if stale else 0
    for path, content in stale.items():
        path.write_text(content, encoding="utf-8")
        print(f"wrote helm/lang1/{path.relative_to(CHART)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
