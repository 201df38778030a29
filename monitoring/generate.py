"""Rules and dashboards as files, for Prometheus and Grafana without the chart and for the chart.

python -m monitoring.generate            rewrite what is stale
python -m monitoring.generate --check    exit 1 and name what is stale
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

from lang1.tasks import BUILT_IN
from monitoring.alertmanager import HEAD, alertmanager_config
from monitoring.boards import boards
from monitoring.grafana import grafana_json
from monitoring.rules import rule_groups

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ROOT / "monitoring" / "generated"
CHART_FILES = ROOT / "helm" / "lang1" / "files"
_HEAD = "# Made from monitoring/rules.py: python -m monitoring.generate\n"


def chart_rules() -> str:
    """The rules as a Helm template: in the release's namespace, Prometheus's own templates kept from Helm."""
    text = yaml.safe_dump(rule_groups({"namespace": "RELEASE-NAMESPACE"}), sort_keys=False, width=1000)
    kept = re.sub(r"\{\{|\}\}", lambda braces: f'{{{{ "{braces[0]}" }}}}', text)
    return _HEAD + kept.replace("RELEASE-NAMESPACE", "{{ .Release.Namespace }}")


def generated() -> dict[Path, str]:
    """Every file that is made, and what it must hold."""
    files = {
        GENERATED / "rules.yaml": _HEAD + yaml.safe_dump(rule_groups(), sort_keys=False, width=1000),
        GENERATED / "alertmanager.yaml": HEAD + yaml.safe_dump(alertmanager_config(), sort_keys=False, width=1000),
        CHART_FILES / "rules.yaml": chart_rules(),
    }
    for board in boards(BUILT_IN):
        text = grafana_json(board)
        for folder in (GENERATED, CHART_FILES):
            files[folder / "boards" / f"{board.uid}.json"] = text
    return files


def main(arguments: list[str]) -> int:
    stale = {
        path: content
        for path, content in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    }
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale; run `python -m monitoring.generate`", file=sys.stderr)
        return 1 if stale else 0
    for path, content in stale.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
