"""`lang1 outbox` on a database: what it shows, what it replays, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from lang1.cli.outbox import app
from serve.errors import SettingsError
from serve.outbox import queue
from serve.outbox.work import After
from serve.settings import load_settings
from serve.store.core import Store
from tests.serve.outbox.rig import Rig, scored

RUNNER = CliRunner()


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({"database_url": sqlite_url}))
    return file


@pytest.fixture
def store(open_outbox: Callable[..., Store], sqlite_url: str) -> Store:
    store = open_outbox(sqlite_url)
    store.commit([scored("secret-document", tasks=3, subject="Patient/secret-patient")])
    (held,) = store.write(queue.lease, "t", 1, 1000, 8)
    store.write(queue.fail, held, "rejected/422/value", After.DEAD, 0, 8)
    return store


def run(settings: Path, *arguments: str) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, [*arguments, "--settings", str(settings)])
    return result.exit_code, result.stdout, result.stderr


def test_list_shows_ids_and_codes_and_nothing_of_a_patient(settings: Path, store: Store) -> None:
    code, out, err = run(settings, "list", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [each["status"] for each in rows] == ["dead", "pending", "pending"]
    assert (rows[0]["error"], rows[0]["attempts"]) == ("rejected/422/value", 1)
    assert "2 pending, 1 dead" in err
    _, table, grouped = run(settings, "list", "--dead")
    assert "1 with rejected/422/value" in grouped
    assert "rejected" in table
    assert "pending" not in table
    for shown in (out, err, table):
        assert "secret" not in shown
        assert "Encounter" not in shown
    assert len(run(settings, "list", "--pending", "--json")[1].splitlines()) == 2
    assert len(run(settings, "list", "--json", "--limit", "1")[1].splitlines()) == 1


def test_replay_takes_ids_or_all(settings: Path, store: Store) -> None:
    (dead,) = [row.id for row in Rig(store, "").rows() if row.status == "dead"]
    code, out, err = run(settings, "replay", str(dead), "4711")
    assert (code, out.strip()) == (1, "1 replayed")
    assert "4711" in err
    assert set(Rig(store, "").statuses()) == {"pending"}
    assert run(settings, "replay", "--all-dead")[:2] == (0, "0 replayed\n")


@pytest.mark.parametrize("wrong", [["replay"], ["replay", "1", "--all-dead"], ["list", "--dead", "--pending"]])
def test_a_wrong_call_is_2(settings: Path, store: Store, wrong: list[str]) -> None:
    assert run(settings, *wrong)[0] == 2


def test_without_a_database_it_says_so_and_makes_none(settings: Path, sqlite_url: str) -> None:
    for command in (["list"], ["replay", "--all-dead"]):
        code, _, err = run(settings, *command)
        assert code == 1
        assert "no database" in err
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()


def test_a_database_that_is_away_is_1(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({"database_url": "postgresql+psycopg://nobody:hidden@127.0.0.1:9/none"}))
    code, out, err = run(file, "list")
    assert code == 1
    assert "hidden" not in out + err


def test_a_sink_needs_a_server() -> None:
    with pytest.raises(SettingsError, match="fhir_base_url"):
        load_settings(sink="observation")
    assert load_settings(sink="observation", fhir_base_url="http://127.0.0.1:9/fhir").sink == "observation"
