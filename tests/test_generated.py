"""Files made from code are fresh, and the README's links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate import ROOT, generated
from lang1.tasks import BUILT_IN


@pytest.mark.parametrize("path", generated(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_generated_file_is_fresh(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated()[path], "run `make generated`"


@pytest.mark.parametrize("document", ["README.md", "docs/tasks.md", "docs/decisions.md"])
def test_local_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def test_no_task_name_is_typed_outside_the_registry() -> None:
    """One home per fact: the code of every package iterates over the registry."""
    offenders = [
        f"{path.relative_to(ROOT)}: {name}"
        for package in ("lang1", "fhir_adapters", "serve", "monitoring", "training")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != ROOT / "lang1" / "tasks.py"
        for name in BUILT_IN
        # A label rule has a name of its own, which may be the same word.
        if name not in {task.label_rule for task in BUILT_IN.values()}
        and re.search(rf"\b{name}\b", path.read_text(encoding="utf-8"))
    ]
    assert not offenders
