from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from lang1.errors import TaskDefinitionError
from lang1.notes import ClinicalNote
from lang1.scorer import PackedScorer
from lang1.tasks import BUILT_IN, Task, TaskRegistry, load_tasks
from tests.tiny_bundle import make_tiny_bundle

SIXTH = """
tasks:
  - name: icu_transfer
    title: ICU transfer
    description: Moved to intensive care within the stay.
    question: Given the above {note} of the patient, will the patient need intensive care?
    options:
      - {text: "no", code: "no", display: No ICU transfer}
      - {text: "yes", code: "yes", display: ICU transfer}
    adverse_options: [1]
    adverse_label: to ICU
    note_types: [34117-2]
    label_rule: icu_transfer
    horizon: encounter
    label_maturity_days: 60
"""


def test_the_five_tasks_and_their_order() -> None:
    assert [(task.name, len(task.options), task.kind) for task in BUILT_IN.values()] == [
        ("readmission_30d", 2, "binary"),
        ("in_hospital_mortality", 2, "binary"),
        ("length_of_stay", 4, "multiclass"),
        ("charlson_comorbidity_index", 5, "multiclass"),
        ("insurance_denial", 2, "binary"),
    ]


def test_a_hospital_adds_a_task_with_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text(SIXTH)
    registry = load_tasks(path)
    assert list(registry) == [*BUILT_IN, "icu_transfer"]
    assert registry["icu_transfer"].suffix("34117-2").startswith("\nQuestion: Given the above admission note")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("icu_transfer\n    title", "length_of_stay\n    title"), "defined twice"),
        (("adverse_options: [1]", "adverse_options: [2]"), "must index"),
        (("horizon: encounter", "horizon: someday"), "horizon"),
        (("{note} of", "{note} {patient} of"), "braces"),
        (("    title: ICU transfer\n", "    titel: ICU transfer\n"), "title"),
        (("tasks:", "tasks: &a [*a] #"), "YAML"),
        (("tasks:", "tasks: 2020-13-45 #"), "YAML"),
        (("tasks:", "tasks: !!python/object/apply:os.system [true] #"), "YAML"),
    ],
)
def test_a_wrong_file_names_the_fault(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text(SIXTH.replace(*change))
    with pytest.raises(TaskDefinitionError, match=message) as caught:
        load_tasks(path)
    assert "tasks.yaml" in str(caught.value) or "defined twice" in str(caught.value)


def test_tasks_are_frozen() -> None:
    task = BUILT_IN["length_of_stay"]
    with pytest.raises(ValidationError):
        task.title = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_task_survives_json(name: str) -> None:
    assert Task.model_validate_json(BUILT_IN[name].model_dump_json()) == BUILT_IN[name]


def test_a_registry_refuses_twins() -> None:
    with pytest.raises(TaskDefinitionError):
        TaskRegistry([BUILT_IN["length_of_stay"], BUILT_IN["length_of_stay"]])


def test_a_bundle_with_a_sixth_task_scores_it_without_code(tmp_path: Path) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text(SIXTH)
    bundle = make_tiny_bundle(tmp_path / "six", registry=load_tasks(path))
    note = ClinicalNote("n", "the patient was admitted with chest pain and a history of heart failure", "34117-2")
    (scores,) = PackedScorer.load(bundle, device="cpu").score_notes([note])
    assert [risk.task for risk in scores.risks] == [*BUILT_IN, "icu_transfer"]
    assert scores.risks[-1].note_type_match
