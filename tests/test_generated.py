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


# A label rule has a name of its own, which may be a task's: its definitions are the only other place for such words.
# What is about one of the five: their examples, the drill's denied claims, the class ratios of a simulated gate.
ABOUT_THE_FIVE = {"lang1/tasks.py", "training/synth/examples.py", "training/drill/story.py", "bench/gate.py"}
LABEL_RULES = {
    "training/retraining/source.py",
    *(f"training/synth/{name}.py" for name in ("chunk", "outcome_tables", "patients", "scenarios", "shifts", "truth")),
}


def test_no_task_name_is_typed_outside_the_registry() -> None:
    """One home per fact: the code of every package iterates over the registry."""
    offenders = [
        f"{path.relative_to(ROOT)}: {name}"
        for package in ("lang1", "fhir_adapters", "serve", "monitoring", "training", "bench")
        for path in sorted((ROOT / package).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in {*ABOUT_THE_FIVE, *LABEL_RULES}
        for name in BUILT_IN
        if re.search(rf"[\"']{name}[\"']", path.read_text(encoding="utf-8"))
    ]
    assert not offenders


def test_no_placeholder_is_left_in_the_readme() -> None:
    assert not re.findall(r"^[A-Z]+_[A-Z]+$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
