from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from training.retraining.errors import SpecError
from training.retraining.spec import load_spec

FINETUNING = {"optimization": {"steps": 5, "batch_tokens": 1000, "learning_rate": 1e-4}}
SPEC = {
    "data": {"dataset": "notes"}, "registry": "registry", "work": "/var/jobs",
    "remedies": [{"kind": "recalibrate"}, {"kind": "lora", "finetuning": FINETUNING}],
}  # fmt: skip


def write(folder: Path, **changes: object) -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(SPEC | changes))
    return path


def test_paths_are_relative_to_the_spec(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, tasks="tasks.yaml"))
    assert spec.data.dataset == tmp_path / "notes"
    assert (spec.registry, spec.work, spec.tasks) == (tmp_path / "registry", Path("/var/jobs"), tmp_path / "tasks.yaml")
    assert spec.gate.min_events == 1000 and spec.gate.auroc_margin == 0.02 and spec.gate.confidence == 0.975
    assert spec.holdout.controls_per_case == 5 and spec.holdout.patients == "report"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data": {}}, "data: give one of"),
        ({"data": {"dataset": "a", "mapping": "b"}}, "data: give one of"),
        ({"gate": {"margin": 0.1}}, "gate.margin"),
        ({"gate": {"min_events": 4000}}, "holdout.max_events is below"),
        ({"gate": {"slope_low": 1.3}}, "slope_low must be below"),
        ({"remedies": []}, "remedies"),
        ({"remedies": [{"kind": "lora"}]}, "lora and full need finetuning"),
        ({"remedies": [{"kind": "recalibrate", "finetuning": FINETUNING}]}, "recalibrate has none"),
        ({"remedies": [{"kind": "full", "finetuning": FINETUNING}, {"kind": "recalibrate"}]}, "from the smallest"),
        ({"remedies": [{"kind": "full", "finetuning": FINETUNING, "lora": {}}]}, "lora goes with kind lora"),
        ({"name": "../x"}, "name"),
        ({"holdout": {"patients": "none"}}, "holdout.patients"),
    ],
)
def test_a_wrong_spec_names_the_key(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    with pytest.raises(SpecError, match=named.replace(".", r"\.")):
        load_spec(write(tmp_path, **changes))


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("a: [")
    with pytest.raises(SpecError, match="cannot be read as YAML"):
        load_spec(path)
    with pytest.raises(SpecError, match="cannot be read as YAML"):
        load_spec(tmp_path / "none.yaml")
