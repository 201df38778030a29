"""`lang1 store …` as an operator calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fhir_adapters.audit_event import BALP
from lang1.cli.store import app
from serve.store.core import Store
from serve.store.records import AuditEntry
from tests.serve.security.full_tables import PATIENT, PATIENT_KEPT, fill, rows_with
from tests.serve.store_notes import note


class Operator:
    """A settings file and a database of an empty service."""

    def __init__(self, folder: Path) -> None:
        self.settings = folder / "settings.yaml"
        self.settings.write_text(yaml.safe_dump({"state_dir": str(folder / "state")}))
        self.store = Store(f"sqlite:///{folder / 'state' / 'lang1.sqlite3'}")

    def run(self, *words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*words, "--settings", str(self.settings)])
        assert result.exit_code == code, result.output
        return result.output

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code))

    def rows(self, word: str) -> dict[str, int]:
        return self.store.read(lambda transaction: rows_with(transaction.connection, word))


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    made = Operator(tmp_path)
    made.store.migrate()
    return made


def test_migrate_makes_the_schema_and_check_says_so(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    report = operator.json("check", code=1)
    assert "run lang1 store migrate" in report["problems"][0]
    revision = operator.run("migrate").split()[-1]
    assert operator.json("check") == {"schema": revision, "tables": operator.json("check")["tables"], "problems": []}
    operator.run("migrate")


def test_check_finds_rows_that_contradict_themselves_and_names_nobody(operator: Operator) -> None:
    operator.store.write(lambda transaction: fill(transaction.connection, PATIENT, 1, "x"))
    assert operator.json("check")["tables"]["predictions"] == {"rows": 1, "oldest_ms": 1}
    operator.store.write(
        lambda transaction: transaction.connection.exec_driver_sql("UPDATE predictions SET subject = 'Patient/9'")
    )
    operator.store.write(
        lambda transaction: transaction.connection.exec_driver_sql("UPDATE outbox SET status = 'dead'")
    )
    problems = operator.json("check", code=1)["problems"]
    assert [each.split()[1] for each in problems] == ["1", "1"]
    assert PATIENT not in str(problems)


def test_a_dry_run_changes_nothing_and_counts_what_would_go(operator: Operator) -> None:
    operator.store.write(lambda transaction: fill(transaction.connection, PATIENT, 1, "x"))
    for words in (["prune", "--older-than", "1d"], ["forget", "--patient", PATIENT],
                  ["merge", "--from", PATIENT, "--into", PATIENT_KEPT]):  # fmt: skip
        before = operator.rows("")
        counts = operator.json(*words, "--dry-run")
        assert counts["predictions"] == 1
        assert operator.rows("") == before


def test_forget_leaves_an_audit_row_without_the_patient(operator: Operator) -> None:
    operator.store.write(lambda transaction: fill(transaction.connection, PATIENT, 1, "x"))
    assert operator.json("forget", "--patient", PATIENT)["predictions"] == 1
    assert operator.rows(PATIENT) == {}
    assert operator.rows("forget") == {"audit": 1}
    folder = operator.settings.parent / "state"
    assert not any(PATIENT.encode() in each.read_bytes() for each in folder.iterdir() if each.is_file())


def test_prune_keeps_what_is_young(operator: Operator) -> None:
    operator.store.write(lambda transaction: fill(transaction.connection, PATIENT, 1, "old"))
    operator.store.commit([note(subject=PATIENT_KEPT)])
    counts = operator.json("prune", "--older-than", "400d")
    assert (counts["predictions"], counts["audit"]) == (1, 1)
    assert operator.rows(PATIENT) == {}
    assert operator.rows(PATIENT_KEPT)["predictions"] == 2
    assert operator.rows("prune") == {"audit": 1}


def test_merge_moves_a_patient(operator: Operator) -> None:
    operator.store.commit([note(subject=PATIENT)])
    assert operator.json("merge", "--from", PATIENT, "--into", PATIENT_KEPT)["predictions"] == 2
    assert operator.rows(PATIENT) == {}
    operator.run("merge", "--from", PATIENT, "--into", PATIENT, code=2)


def test_the_audit_is_exported_as_fhir(operator: Operator) -> None:
    made = note(subject=PATIENT)
    operator.store.commit([made], [AuditEntry("score", "epic", "r", tuple(p.id for p in made.predictions))])
    lines = [json.loads(line) for line in operator.run("audit", "--since", "2020-01-01", "--ndjson").splitlines()]
    assert [each["resourceType"] for each in lines] == ["AuditEvent"] * 3
    assert [each["action"] for each in lines] == ["E", "C", "C"]  # the export itself is the newest
    assert BALP in str(lines)
    assert operator.run("audit", "--since", "2020-01-01", "--until", "2020-01-02", "--ndjson") == ""
    assert operator.run("audit", "--since", "2020-01-01", "--patient", PATIENT).count("epic") == 2


@pytest.mark.parametrize(
    "words", [["prune", "--older-than", "400"], ["prune", "--older-than", "0d"], ["audit", "--since", "yesterday"]]
)
def test_a_wrong_call_is_told(operator: Operator, words: list[str]) -> None:
    operator.run(*words, code=2)


def test_a_database_that_is_away_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG1_DATABASE_URL", "postgresql+psycopg://nobody:secret@127.0.0.1:9/none")
    operator = Operator(tmp_path)
    said = operator.run("check", code=1)
    assert len(said.strip().splitlines()) == 1
    assert "secret" not in said
