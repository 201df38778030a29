"""Parts of the chart that are made from code are fresh."""

from __future__ import annotations

from pathlib import Path

import pytest

from helm.generate import CHART, documented_values, generated, main, values_table


@pytest.mark.parametrize("path", generated(), ids=lambda path: str(path.relative_to(CHART)))
def test_a_generated_file_is_fresh(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated()[path], "run `python -m helm.generate`"


def test_check_says_so() -> None:
    assert main(["--check"]) == 0


def test_a_value_without_a_comment_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a\.b: no comment above it"):
        list(documented_values("# A.\na:\n  b: 1\n"))


def test_a_row_has_path_default_and_meaning() -> None:
    assert values_table("# All.\na:\n  # One\n  # of two.\n  b: [1]\n").splitlines()[2:] == [
        "| `a` |  | All. |",
        "| `a.b` | `[1]` | One of two. |",
    ]


def test_the_schema_knows_every_value() -> None:
    import json

    import yaml

    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(node: dict[str, object], value: object, path: str) -> None:
        properties = node.get("properties")
        if isinstance(properties, dict) and isinstance(value, dict):
            assert node["additionalProperties"] is False, path
            assert set(value) == set(properties) - {"global"}, path
            for name, each in value.items():
                if "$ref" not in properties[name]:
                    compare(properties[name], each, f"{path}.{name}")

    compare(schema, values, "values")
