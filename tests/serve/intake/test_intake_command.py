"""`lang1 intake`: dead rows shown without PHI and put back, beside a service that writes."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lang1.cli import intake
from serve.intake.rows import NewRow, backlog, enqueue
from serve.store.core import Store


@pytest.fixture
def call(sqlite: Store, tmp_path: Path) -> list[str]:
    rows = [NewRow("ehr", f"DocumentReference/secret-{place}", "v:1", code)
            for place, code in enumerate(["not-found", "structure", "structure", None])]  # fmt: skip
    sqlite.write(enqueue, rows)
    (tmp_path / "settings.yaml").write_text(json.dumps({"database_url": f"sqlite:///{tmp_path / 'intake.sqlite3'}"}))
    return ["--settings", str(tmp_path / "settings.yaml")]


def test_rows_are_shown_by_number_code_and_age_and_their_references_only_when_asked(call: list[str]) -> None:
    shown = CliRunner().invoke(intake.app, ["list", *call])
    assert shown.exit_code == 0
    assert shown.stdout.count("structure") == 2
    assert "secret" not in shown.output
    assert "3 dead" in shown.stderr
    lines = CliRunner().invoke(intake.app, ["list", *call, "--json", "--code", "not-found", "--show-references"]).stdout
    found = json.loads(lines)
    assert (found["reference"], found["code"], found["type"]) == (
        "DocumentReference/secret-0", "not-found", "DocumentReference",
    )  # fmt: skip


def test_rows_are_put_back_by_number_by_code_or_all(call: list[str], sqlite: Store) -> None:
    first = json.loads(CliRunner().invoke(intake.app, ["list", *call, "--json", "--limit", "1"]).stdout)
    for chosen, count in ((["--code", "structure"], 2), ([str(first["id"])], 1), (["--all"], 0)):
        done = CliRunner().invoke(intake.app, ["replay", *call, *chosen])
        assert (done.exit_code, done.stdout) == (0 if count else 1, f"{count} put back\n")
    counted = sqlite.read(backlog)
    assert (counted.pending, counted.dead) == (4, 0)


@pytest.mark.parametrize("wrong", [["replay"], ["replay", "--all", "5"], ["list", "--status", "late"]])
def test_a_wrong_call_is_exit_code_2(call: list[str], wrong: list[str]) -> None:
    assert CliRunner().invoke(intake.app, [*wrong, *call]).exit_code == 2


def test_without_a_database_there_is_nothing_to_show_and_none_is_made(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(json.dumps({"state_dir": str(tmp_path / "none")}))
    done = CliRunner().invoke(intake.app, ["list", "--settings", str(tmp_path / "settings.yaml")])
    assert (done.exit_code, list(tmp_path.iterdir())) == (1, [tmp_path / "settings.yaml"])


def test_a_writer_that_is_at_work_is_waited_for(call: list[str], tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "intake.sqlite3", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
        timer.start()
        assert CliRunner().invoke(intake.app, ["replay", *call, "--all"]).exit_code == 0
        timer.join()
