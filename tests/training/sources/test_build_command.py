from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from lang1.cli import main
from lang1.cli.data_build import build
from lang1.errors import Lang1Error
from tests.training.sources import records

runner = CliRunner()
app = typer.Typer()
app.command("build")(build)
app.command("other")(lambda: None)


def call(*arguments: str) -> Result:
    return runner.invoke(app, ["build", *arguments], env={"COLUMNS": "200"})


def test_mimic3_to_a_folder_with_tables_for_people(tmp_path: Path) -> None:
    folder = records.write_mimic3(tmp_path / "mimic")
    done = call("--mimic3", str(folder), "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    for words in ("readmission_30d", "died in hospital", "addendum to a discharge summary", "6 notes of 4 stays"):
        assert words in done.output
    assert not [secret for secret in ("pneumonia", "dyspnea") if secret in done.output]


def test_tables_as_json(tmp_path: Path) -> None:
    mapping = records.write_export(tmp_path)
    done = call("--tables", str(mapping), "--out", str(tmp_path / "out"), "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["notes_by_split"]["temporal_2024"] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--mimic3", "{folder}", "--tables", "{mapping}"],
        ["--mimic3", "{folder}/none"],
        ["--tables", "{folder}/none.yaml"],
        ["--tables", "{mapping}", "--seed", "1"],
        ["--tables", "{mapping}", "--keep-deaths"],
    ],
)
def test_a_wrong_call_is_exit_code_2(tmp_path: Path, arguments: list[str]) -> None:
    mapping = records.write_export(tmp_path)
    filled = [each.format(folder=tmp_path, mapping=mapping) for each in arguments]
    assert call(*filled, "--out", str(tmp_path / "out")).exit_code == 2


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """What the entry point makes of the command, with its own handling of errors."""
    monkeypatch.setattr(main, "app", app)
    monkeypatch.setattr(sys, "argv", ["lang1", "build", *arguments])
    with pytest.raises(SystemExit) as caught:
        main.main()
    return int(caught.value.code or 0)


def test_a_wrong_mapping_is_2_and_a_bad_record_is_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = records.write_export(tmp_path / "a", timezone="Mars/Olympus")
    assert exit_code(monkeypatch, "--tables", str(wrong), "--out", str(tmp_path / "out")) == 2
    assert "timezone" in capsys.readouterr().err
    mapping = records.write_export(tmp_path / "b")
    stays = tmp_path / "b" / "stays.csv"
    stays.write_text(stays.read_text().replace("2023-05-28T12:00", "2023-05-18"))
    assert exit_code(monkeypatch, "--tables", str(mapping), "--out", str(tmp_path / "out")) == 1
    assert "stays.csv: record 2: discharge before admission" in capsys.readouterr().err


def test_a_good_call_is_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mapping = records.write_export(tmp_path)
    assert exit_code(monkeypatch, "--tables", str(mapping), "--out", str(tmp_path / "out")) == 0


def test_errors_carry_codes_that_the_entry_point_knows() -> None:
    from training.sources.errors import MappingError, SourceError

    assert issubclass(MappingError, Lang1Error) and MappingError.code == "invalid"
    assert issubclass(SourceError, Lang1Error) and SourceError.code not in {"invalid", "not-found"}
