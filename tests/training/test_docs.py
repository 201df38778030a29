"""The examples of docs/training.md and docs/tasks.md are read by the code that they are of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lang1.tasks import BUILT_IN, load_tasks
from training.recipe import load_recipe
from training.sources.mapping import load_mapping

DOCS = Path(__file__).parents[2] / "docs"


def example(document: str, first_key: str, folder: Path) -> Path:
    """The YAML block of a document that begins with a key, as a file."""
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / document).read_text(encoding="utf-8"), flags=re.DOTALL)
    found = [block for block in blocks if block.startswith(f"{first_key}:")]
    assert len(found) == 1
    path = folder / "example.yaml"
    path.write_text(found[0], encoding="utf-8")
    return path


def test_the_mapping_file(tmp_path: Path) -> None:
    mapping = load_mapping(example("training.md", "observed_until", tmp_path))
    assert mapping.diagnoses is not None and mapping.claims is not None
    assert mapping.splits.temporal_years == (2024,)


def test_the_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(str(example("training.md", "name", tmp_path)))
    assert recipe.base is not None and recipe.synth is None


@pytest.mark.parametrize("name", ["icu_transfer"])
def test_the_sixth_task(tmp_path: Path, name: str) -> None:
    assert set(load_tasks(example("tasks.md", "tasks", tmp_path))) == {*BUILT_IN, name}
