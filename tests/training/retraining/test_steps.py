"""A job of recalibration alone, stopped after every step, in a second or two. With training: test_job."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lang1.cli.main import app
from lang1.registry import Registry
from tests.tiny_bundle import make_tiny_bundle
from tests.training.retraining.hospital import Hospital, write_hospital
from training.retraining.errors import RetrainingError
from training.retraining.job import run_job, status
from training.retraining.report import JobReport
from training.retraining.spec import load_spec
from training.retraining.steps import Steps, is_running, only_one

AS_OF = datetime(2024, 12, 30, tzinfo=UTC)
SPEC = """
data: {dataset: notes}
registry: registry
work: jobs
precision: float32
holdout: {days: 100, max_events: 20, controls_per_case: 1}
training:
  {recent_days: 100, min_events: 1, validation_share: 0.3, test_share: 0.3, max_notes: 100, max_validation_notes: 100}
gate: {min_events: 10, min_class_rows: 2, resamples: 200}
remedies: [{kind: recalibrate}]
"""
STEPS = ["data", "split", "champion", "remedy-1-recalibrate", "evaluate-1", "gate-1", "register-1", "end"]


class StoppedError(Exception):
    """The job's process died."""


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = Hospital(date(2024, 1, 1), date(2024, 12, 29), 500, seed=8)
    return write_hospital(plan, tmp_path_factory.mktemp("hospital") / "notes")


@pytest.fixture
def spec(notes: Path, tmp_path: Path) -> Path:
    registry = Registry.create(tmp_path / "registry")
    sha256 = registry.add(make_tiny_bundle(tmp_path / "champion", seed=1), actor="t", reason="first")
    registry.set_champion(sha256, actor="t", reason="first")
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC.replace("dataset: notes", f"dataset: {notes}"))
    return path


def run(spec: Path, stop_after: str | None = None) -> JobReport:
    def after(step: str) -> None:
        if step == stop_after:
            raise StoppedError

    return run_job(load_spec(spec), AS_OF, actor="ana", reason="drift", say=lambda _: None, after_step=after)


def bundle_of(place: Path) -> str:
    return str(Steps(place / "jobs" / "20241230T000000Z").result("remedy-1-recalibrate")["bundle"])  # type: ignore[index]


def test_a_job_goes_on_after_the_step_it_was_stopped_at(spec: Path, notes: Path, tmp_path: Path) -> None:
    for step in STEPS[:-1]:
        with pytest.raises(StoppedError):
            run(spec, step)
        found = status(tmp_path / "jobs" / "20241230T000000Z")
        assert [each["step"] for each in found["steps"]] == STEPS[: STEPS.index(step) + 1]
        assert found["outcome"] is None and not found["running"]
    report = run(spec)
    # Random weights do not pass; what became of them is the same again, and told once.
    assert report.outcome == "refused" and report == run(spec)
    log = Registry.open(tmp_path / "registry").log()
    assert [entry.action for entry in log[3:]] == ["retraining", "challenger-refused", "retraining-refused"]
    assert log[4].bundle == bundle_of(tmp_path) and "gate fail" in log[4].reason
    assert Registry.open(tmp_path / "registry").channels().challenger is None

    other = tmp_path / "other"
    (other / "registry").parent.mkdir()
    registry = Registry.create(other / "registry")
    registry.set_champion(registry.add(tmp_path / "champion", actor="t", reason="f"), actor="t", reason="f")
    (other / "spec.yaml").write_text(spec.read_text())
    run(other / "spec.yaml")
    assert bundle_of(other) == bundle_of(tmp_path)


def test_the_commands(spec: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    call = ["retrain", "run", "--spec", str(spec), "--as-of", "2024-12-30", "--as", "ana", "-m", "drift"]
    done = runner.invoke(app, [*call, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["outcome"] == "refused" and report["tried"][0]["kind"] == "recalibrate"
    assert runner.invoke(app, call).stdout.count("refused") >= 1
    where = runner.invoke(app, ["retrain", "status", "--spec", str(spec), "--as-of", "2024-12-30T00:00:00Z"])
    assert where.exit_code == 0 and "refused" in where.stdout and "remedy-1-recalibrate" in where.stdout

    challenger = tmp_path / "jobs" / "20241230T000000Z" / "remedies" / "1-recalibrate" / "bundle"
    judge = ["retrain", "gate", "--registry", str(tmp_path / "registry"), "--spec", str(spec), "--challenger",
             str(challenger), "--holdout", str(tmp_path / "jobs" / "20241230T000000Z" / "holdout")]  # fmt: skip
    judged = runner.invoke(app, [*judge, "--json"])
    assert judged.exit_code == 1 and json.loads(judged.stdout)["verdict"] == "fail"
    by_hash = runner.invoke(app, [*judge[:6], "--challenger", bundle_of(tmp_path)[:12], *judge[8:]])
    assert by_hash.exit_code == 1 and "calibration" in by_hash.stdout
    drawn = runner.invoke(app, ["retrain", "holdout", "--spec", str(spec), "--as-of", "2024-12-30", "--out",
                                str(tmp_path / "drawn")])  # fmt: skip
    assert drawn.exit_code == 0 and "20 events and 20 others" in drawn.stdout


def test_too_little_data_is_exit_code_3_and_a_wrong_call_2(spec: Path, tmp_path: Path) -> None:
    text = spec.read_text().replace("min_events: 10,", "min_events: 20,")
    spec.write_text(text.replace("days: 100, max_events: 20", "days: 7, max_events: 20"))
    runner = CliRunner()
    held = runner.invoke(app, ["retrain", "run", "--spec", str(spec), "--as-of", "2024-12-30"])
    assert held.exit_code == 3 and "are needed" in held.stdout
    assert runner.invoke(app, ["retrain", "run", "--spec", str(spec), "--as-of", "yesterday"]).exit_code == 2


def test_a_record_that_changed_under_a_job_ends_it(spec: Path, notes: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        run(spec, "data")
    place = tmp_path / "jobs" / "20241230T000000Z"
    record = next(place.glob("steps/*-data.json"))
    record.write_text(record.read_text().replace('"source_sha256": "', '"source_sha256": "0'))
    with pytest.raises(RetrainingError, match="the record changed"):
        run(spec)


def test_one_process_a_job(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    with only_one(tmp_path):
        assert is_running(tmp_path)
        with pytest.raises(RetrainingError, match="another process"), only_one(tmp_path):
            pass
    assert not is_running(tmp_path)


def test_a_step_is_done_once(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    assert steps.run("a", lambda: {"x": (1, 2)}) == {"x": [1, 2]}
    assert Steps(tmp_path).run("a", lambda: pytest.fail("done before")) == {"x": [1, 2]}
    # A record that was not finished is not one.
    (tmp_path / "steps" / ".02-b.json.new").write_text('{"step": "b", "res')
    assert steps.result("b") is None
