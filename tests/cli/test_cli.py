from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from lang1.cli.main import app
from lang1.tasks import BUILT_IN, load_tasks
from tests.tiny_bundle import make_tiny_bundle
from training.recipe import RecipeError
from training.synth.arrow import pa, pq

TEXT = "Patient admitted with chest pain and a history of heart failure and diabetes. Denies fever."
ROOT = Path(__file__).resolve().parents[2]
runner = CliRunner()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("cli") / "tiny")


def document(name: str, text: str, **changes: object) -> dict[str, object]:
    data = base64.b64encode(text.encode()).decode()
    return {
        "resourceType": "DocumentReference", "id": name, "status": "current", "subject": {"reference": "Patient/p1"},
        "type": {"coding": [{"system": "http://loinc.org", "code": "34117-2"}]},
        "content": [{"attachment": {"contentType": "text/plain", "data": data}}],
    } | changes  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.json").write_text(json.dumps(document("a", TEXT)))
    lines = [document("b", TEXT), document("old", TEXT, status="superseded"), document("short", "too short")]
    (tmp_path / "b.ndjson").write_text("\n".join(json.dumps(line) for line in lines))
    (tmp_path / "c.txt").write_text(TEXT)
    return tmp_path


def test_help_answers_in_under_a_second_and_imports_no_torch() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "lang1.cli.main", "--help"]
    times = []
    for _ in range(3):
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times.append(time.monotonic() - started)
    assert not re.search(r"\| +(torch|ray|fastapi|sklearn|transformers)$", done.stderr, re.MULTILINE)
    for name in ("serve", "score", "demo", "data", "train", "bundle"):
        assert name in done.stdout
    assert min(times) < 1.0


def test_score_reads_every_form_and_accounts_for_every_note(folder: Path, bundle: Path) -> None:
    done = runner.invoke(
        app, ["score", str(folder), "--bundle", str(bundle), "--json", "--note-type", "34117-2"], catch_exceptions=False
    )
    assert done.exit_code == 0
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    by_id = {line["id"]: line for line in lines}
    assert len(lines) == 5
    for name in ("a", "b"):
        assert [risk["task"] for risk in by_id[name]["risks"]] == list(BUILT_IN)
        assert by_id[name]["risks"] == by_id["a"]["risks"]
    assert by_id["old"]["error"]["code"] == "business-rule"
    assert "words" in by_id["short"]["error"]["detail"]
    assert "5 notes: 3 scored, 2 refused" in done.output


def test_a_flag_scores_superseded_notes(folder: Path, bundle: Path) -> None:
    command = ["score", str(folder / "b.ndjson"), "--bundle", str(bundle), "--include-superseded", "--json"]
    done = runner.invoke(app, command)
    assert "3 notes: 2 scored, 1 refused" in done.output


def test_a_table_for_people(folder: Path, bundle: Path) -> None:
    done = runner.invoke(app, ["score", str(folder / "a.json"), "--bundle", str(bundle)], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    for word in ("30-day readmission", "Length of stay", "(m)", "never for care"):
        assert word in done.output


def test_one_task_can_be_asked(folder: Path, bundle: Path) -> None:
    command = ["score", str(folder / "a.json"), "--bundle", str(bundle), "--json", "--task", "length_of_stay"]
    line = json.loads(runner.invoke(app, command).stdout.splitlines()[0])
    assert [risk["task"] for risk in line["risks"]] == ["length_of_stay"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["score"],
        ["score", "missing.json"],
        ["score", "{file}", "--task", "unknown"],
        ["score", "{file}", "--dtype", "int"],
        ["score", "{file}", "--note-type", "discharge"],
    ],
)
def test_a_wrong_call_is_exit_code_2(arguments: list[str], folder: Path, bundle: Path) -> None:
    filled = [argument.replace("{file}", str(folder / "a.json")) for argument in arguments]
    assert runner.invoke(app, [*filled, "--bundle", str(bundle)]).exit_code == 2


def test_nothing_scored_is_exit_code_1(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "short.txt").write_text("too short")
    assert runner.invoke(app, ["score", str(tmp_path / "short.txt"), "--bundle", str(bundle)]).exit_code == 1


def test_names_with_brackets_are_names(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "notes [draft].txt").write_text(TEXT)
    done = runner.invoke(app, ["score", str(tmp_path), "--bundle", str(bundle)], env={"COLUMNS": "300"})
    assert done.exit_code == 0 and "[draft].txt" in done.output


def test_a_model_that_fails_is_said_for_every_note(tmp_path: Path) -> None:
    poisoned = make_tiny_bundle(tmp_path / "poisoned", poison=True)
    (tmp_path / "a.txt").write_text(TEXT)
    done = runner.invoke(app, ["score", str(tmp_path / "a.txt"), "--bundle", str(poisoned), "--json"])
    assert done.exit_code == 1
    assert "not finite" in json.loads(done.stdout.splitlines()[0])["error"]["detail"]


def test_bundle_inspect_and_verify(bundle: Path) -> None:
    assert runner.invoke(app, ["bundle", "verify", str(bundle)]).output.startswith("ok: lang1-tiny 0.0.1")
    shown = runner.invoke(app, ["bundle", "inspect", str(bundle)], env={"COLUMNS": "200"}).output
    assert all(name in shown for name in BUILT_IN)
    assert json.loads(runner.invoke(app, ["bundle", "inspect", str(bundle), "--json"]).output)["name"] == "lang1-tiny"


def test_a_changed_bundle_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    broken = make_tiny_bundle(tmp_path / "broken")
    (broken / "MODEL_CARD.md").write_text("changed")
    command = [sys.executable, "-m", "lang1.cli.main", "bundle", "verify", str(broken)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("lang1: ") and "MODEL_CARD.md was changed" in done.stderr
    assert "Traceback" not in done.stderr


def test_data_synth_writes_notes_and_manifest(tmp_path: Path) -> None:
    done = runner.invoke(app, ["data", "synth", "--out", str(tmp_path / "d"), "--patients", "50", "--seed", "3"])
    assert done.exit_code == 0, done.output
    written = {"notes.parquet", "outcomes.parquet", "events.parquet", "manifest.json"}
    assert {path.name for path in (tmp_path / "d").iterdir()} == written


@pytest.mark.slow
def test_a_recipe_trains_a_bundle_from_nothing(tmp_path: Path) -> None:
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 1}
    plan = {"steps": 2, "batch_tokens": 1500, "learning_rate": 0.001}
    recipe = {
        "name": "smoke", "version": "0.0.1", "demo": True, "tokenizer_notes": 100,
        "model": shape | {"num_key_value_heads": 1, "vocab_size": 700},
        "synth": {"patients": 1500, "mean_words": 280},
        "comprehension": {"layer": 0},
        "finetuning": {
            "answer_space": "options", "validate_every_steps": 1, "validation_notes": 5000, "optimization": plan,
        },
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    out = tmp_path / "bundle"
    done = runner.invoke(app, ["train", "finetune", "--recipe", str(path), "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    assert runner.invoke(app, ["bundle", "verify", str(out)]).exit_code == 0
    report = json.loads((out / "evaluation.json").read_text())
    assert set(report["test"]) == set(BUILT_IN)
    assert all({"model", "tfidf", "visible", "latent"} <= set(report["test"][name]["soft"]) for name in BUILT_IN)


def test_a_dataset_folder_a_checkpoint_and_a_sixth_task_train_a_bundle(tmp_path: Path) -> None:
    """The way of a hospital: own notes with a label of its own, from a checkpoint that is there."""
    data = tmp_path / "data"
    done = runner.invoke(app, ["data", "synth", "--out", str(data), "--patients", "1500", "--seed", "8"])
    assert done.exit_code == 0, done.output
    table = pq.read_table(data / "notes.parquet")
    known = [name for name in table.column_names if not name.startswith("true_") and name not in ("told", "ends")]
    label = pa.array(np.arange(table.num_rows) % 2, pa.int8())
    pq.write_table(table.select(known).append_column("label_long_note", label), data / "notes.parquet")
    manifest = json.loads((data / "manifest.json").read_text())
    kept = {"notes_by_split": manifest["notes_by_split"]}
    kept["notes_sha256"] = hashlib.sha256((data / "notes.parquet").read_bytes()).hexdigest()
    (data / "manifest.json").write_text(json.dumps(kept))
    tasks = tmp_path / "tasks.yaml"
    sixth = BUILT_IN["in_hospital_mortality"].model_dump(mode="json") | {"name": "long_note", "label_rule": "long_note"}
    tasks.write_text(yaml.safe_dump({"tasks": [sixth]}))
    recipe = {
        "name": "own", "version": "0.0.1", "base": str(make_tiny_bundle(tmp_path / "base")),
        "max_note_tokens": 128, "baseline_notes": 2000, "evaluation_notes": 1500,
        "finetuning": {
            "validation_notes": 5000, "optimization": {"steps": 2, "batch_tokens": 1500, "learning_rate": 0.001},
        },
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    command = ["train", "finetune", "--recipe", str(path), "--out", str(tmp_path / "bundle")]
    refused = runner.invoke(app, command)
    assert isinstance(refused.exception, RecipeError) and "--data" in str(refused.exception)
    done = runner.invoke(app, [*command, "--data", str(data), "--tasks", str(tasks)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "bundle" / "evaluation.json").read_text())
    assert set(report["test"]) == {*BUILT_IN, "long_note"}
    assert all("tfidf_auroc" in entry and "soft" not in entry for entry in report["test"].values())
    assert "own record" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    (data / "notes.parquet").write_bytes(b"changed")
    refused = runner.invoke(app, [*command, "--data", str(data)])
    assert isinstance(refused.exception, RecipeError) and "not a dataset folder" in str(refused.exception)


def test_an_unknown_recipe_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\nlearning_rat: 1\n")
    command = [sys.executable, "-m", "lang1.cli.main", "train", "finetune", "--recipe", str(path), "--out", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2 and "learning_rat" in done.stderr


def test_the_example_task_of_the_docs_loads(tmp_path: Path) -> None:
    found = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "tasks.md").read_text(), re.DOTALL)
    assert found
    path = tmp_path / "tasks.yaml"
    path.write_text(found.group(1))
    assert "icu_transfer" in load_tasks(path)


SYNTHEA = ROOT.parent / "shared" / "data" / "synthea" / "DocumentReference.ndjson"
HL7 = ROOT.parent / "shared" / "data" / "hl7-r4-examples"
needs_data = pytest.mark.skipif(not SYNTHEA.exists(), reason="the sample FHIR data are not beside the checkout")


@needs_data
@pytest.mark.parametrize(
    ("flags", "scored"),
    [([], 13), pytest.param(["--include-superseded"], 1215, marks=pytest.mark.slow)],
    ids=["by_default", "with_superseded"],
)
def test_every_synthea_note_is_accounted_for(bundle: Path, flags: list[str], scored: int) -> None:
    done = runner.invoke(app, ["score", str(SYNTHEA), "--bundle", str(bundle), "--json", *flags])
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == 1215
    assert sum("risks" in line for line in lines) == scored
    assert all(line["error"]["detail"] for line in lines if "risks" not in line)


@needs_data
def test_hl7_examples_are_scored_or_refused_with_a_reason(bundle: Path) -> None:
    done = runner.invoke(app, ["score", str(HL7), "--bundle", str(bundle), "--json"])
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len({line["source"].rsplit(":", 1)[0] for line in lines}) == len(list(HL7.glob("*.json")))
    assert all("risks" in line or line["error"]["detail"] for line in lines)


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        f"sys.argv = ['lang1', 'data', 'synth', '--out', {str(tmp_path / 'd')!r}]\n"
        "from lang1.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "lang1[train]" in done.stderr and "Traceback" not in done.stderr
