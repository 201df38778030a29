"""Files and README parts that are made from code, so that no fact has two homes.

python -m docs.generate            rewrite what is stale
python -m docs.generate --check    exit 1 and name what is stale
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lang1 import DEMO_BUNDLE
from lang1.bundle import REPORT
from lang1.note_types import NOTE_TYPES
from lang1.tasks import BUILT_IN
from serve.settings_docs import settings_markdown

ROOT = Path(__file__).resolve().parent.parent


def task_table() -> str:
    rows = ["| task | read from | question's options | label |", "|---|---|---|---|"]
    for task in BUILT_IN.values():
        notes = ", ".join(NOTE_TYPES[loinc].display for loinc in task.note_types)
        options = "; ".join(
            f"{letter} {option.text}" for letter, option in zip(task.letters, task.options, strict=True)
        )
        rows.append(f"| `{task.name}` | {notes} | {options} | {task.description} |")
    return "\n".join(rows)


def demo_model_table() -> str:
    """The demo bundle's figures on test patients, from its own report."""
    report = json.loads((DEMO_BUNDLE / REPORT).read_text(encoding="utf-8"))
    minutes = report["training"]["phases"]["finetuning"]["minutes"]
    rows = [
        "| task | AUROC (95%) | against true probabilities | TF-IDF | best possible from the text read |",
        "|---|---|---|---|---|",
    ]
    for name, entry in report["test"].items():
        soft = entry["soft"]
        measured = "{value:.3f} ({low:.3f} to {high:.3f})".format(**entry["auroc"])
        rows.append(f"| `{name}` | {measured} | {soft['model']:.3f} | {soft['tfidf']:.3f} | {soft['visible']:.3f} |")
    return "\n".join(rows) + f"\n\nIt was trained for {minutes:.0f} minutes on two CPU cores."


def between(text: str, name: str, content: str) -> str:
    """`text` with what stands between the two comment lines of part `name` replaced."""
    start, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    head, rest = text.split(start)
    _, tail = rest.split(end)
    return f"{head}{start}\n{content}\n{end}{tail}"


def generated() -> dict[Path, str]:
    readme = ROOT / "README.md"
    return {
        ROOT / "docs" / "settings.md": settings_markdown(),
        readme: between(
            between(readme.read_text(encoding="utf-8"), "tasks", task_table()), "demo model", demo_model_table()
        ),
    }


def main(arguments: list[str]) -> int:
    stale = [
        path
        for path, content in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    ]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale; run `make generated`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(generated()[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
