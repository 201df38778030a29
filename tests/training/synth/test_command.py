"""`lang1 data synth`: knobs from preset, file and command line, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lang1.cli.main import app
from training.dataset import open_dataset, synthetic_dataset
from training.synth import SynthConfig, config
from training.synth.config import LATER_KNOBS
from training.synth.config_file import synth_config
from training.synth.presets import PRESETS
from training.synth.timeline import notes_by_week, stays_a_day, with_stays_a_day

SMALL = ["--patients", "30", "--workers", "1"]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["data", "synth", *arguments])


def test_knobs_come_from_preset_file_and_command_line(tmp_path: Path) -> None:
    knobs = tmp_path / "knobs.yaml"
    knobs.write_text("seed: 8\nmean_words: 400\nscenarios: [{kind: payer_policy, first_day: 2020-01-01}]\n", "utf-8")
    call = [
        "--out",
        str(tmp_path / "out"),
        "--preset",
        "full",
        "--config",
        str(knobs),
        "--hospital",
        "second",
        "--fhir",
    ]
    done = run(*call, *SMALL, "--hospital", "second", "--json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)["config"]
    assert (made["patients"], made["seed"], made["mean_words"], made["hospital"]) == (30, 8, 400, "second")
    assert made["prose"] == "long" and made["scenarios"][0]["size"] == 0.5
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"notes.parquet", "outcomes.parquet", "events.parquet", "manifest.json", "fhir"}


def test_the_knobs_of_the_documentation(tmp_path: Path) -> None:
    document = Path(__file__).parents[3] / "docs" / "synthetic-hospital.md"
    [block] = re.findall(r"```yaml\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    knobs = tmp_path / "knobs.yaml"
    knobs.write_text(block, encoding="utf-8")
    assert len(synth_config("full", knobs, {}, patients=1).scenarios) == 2


def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("mean_word: 300\n", encoding="utf-8")
    for wrong in (
        ["--stays-a-day", "3", "--patients", "5"], ["--as-of", "2020-01-01"], ["--config", str(tmp_path / "none.yaml")],
        ["--config", str(bad)], ["--preset", "fullest"],
    ):  # fmt: skip
        done = run("--out", str(tmp_path / "out"), *wrong)
        assert done.exit_code != 0
    assert not (tmp_path / "out").exists()


def test_as_many_patients_as_give_the_stays_a_day() -> None:
    config = SynthConfig(patients=1, first_year=2025, last_year=2025, warm_up_years=4, temporal_years=())
    chosen = with_stays_a_day(config, 12)
    assert abs(stays_a_day(chosen) - 12) < 0.1
    assert chosen.model_copy(update={"patients": 1}) == config
    with pytest.raises(ValueError, match="above 0"):
        with_stays_a_day(config, 0)


def test_weeks_hold_every_note_once_in_order(hospital: tuple[Path, Any]) -> None:
    weeks = list(notes_by_week(hospital[0]))
    rows = [row["authored"] for week in weeks for row in week.notes.select(["authored"]).to_pylist()]
    assert len(rows) == hospital[1].notes and rows == sorted(rows)
    assert all(week.monday.weekday() == 0 for week in weeks)
    for week in weeks:
        days = [(each.date() - week.monday).days for each in week.notes["authored"].to_pylist()]
        assert all(0 <= day < 7 for day in days)


def test_a_hospital_with_scenarios_is_a_dataset_like_any_other(tmp_path: Path) -> None:
    from lang1.tasks import BUILT_IN

    knobs = {"scenarios": [{"kind": "note_template", "first_day": "2020-01-01"}], "patients": 60, "mean_words": 280}
    chosen = SynthConfig.model_validate(knobs, strict=False)
    said: list[str] = []
    made = synthetic_dataset(chosen, tmp_path, BUILT_IN, said.append)
    again = synthetic_dataset(chosen, tmp_path, BUILT_IN, said.append)
    assert made.notes_sha256 == again.notes_sha256 and "taken from" in said[1]
    assert open_dataset(tmp_path, BUILT_IN).knows_the_truth


def test_every_later_knob_is_a_field_that_is_off() -> None:
    fields = SynthConfig.model_fields
    assert set(LATER_KNOBS) <= set(fields)
    assert SynthConfig(patients=1).is_plain
    assert not SynthConfig(patients=1, **PRESETS["full"]).is_plain
    assert config.SIMULATOR_VERSION == "0.1.3"
