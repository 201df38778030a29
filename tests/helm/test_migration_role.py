"""The migration's own role: with the README's grants the service needs none of its rights, for later tables as well."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from serve.store.core import Store
from tests.helm.chart import CHART, absent, of_kind, profile, rendered
from tests.serve import postgres

FIRST = "0001"


def test_the_service_uses_tables_that_the_job_made_after_the_grants(tmp_path: Path) -> None:
    reason = postgres.missing()
    if reason:
        absent(reason)
    with postgres.running_postgres() as owner:
        role = f"r{uuid.uuid4().hex}"
        Store(owner).migrate(FIRST)
        engine = create_engine(owner, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE ROLE {role} LOGIN"))
            for statement in grants(role):
                connection.execute(text(statement))
        finished = run_job(owner, tmp_path)
        assert finished.returncode == 0, finished.stderr
        assert "schema" in finished.stdout
        narrow = re.sub(r"//[^@/]+@", f"//{role}@", owner)
        Store(narrow).migrate()  # what a store does at its start
        with create_engine(narrow).connect() as connection:
            names = connection.execute(
                text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'")
            ).scalars()
            for name in list(names):
                connection.execute(text(f'DELETE FROM "{name}"'))  # noqa: S608
            with pytest.raises(ProgrammingError):
                connection.execute(text("CREATE TABLE mine (id int)"))


def grants(role: str) -> list[str]:
    """The README's statements for a role."""
    (block,) = re.findall(r"```sql\n(.*?)```", (CHART / "README.md").read_text(), re.DOTALL)
    return [re.sub(r"TO lang1;", f"TO {role}", line) for line in block.strip().splitlines()]


def run_job(owner: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The Job's command with its variables alone."""
    (job,) = of_kind(rendered(profile("values-ha")), "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    program = shutil.which(container["command"][0], path=str(Path(sys.executable).parent))
    assert program is not None
    given = {"HOME": str(home), "LANG1_DATABASE_URL": owner}
    assert {each["name"] for each in container["env"]} == set(given)
    return subprocess.run(
        [program, *container["command"][1:]],
        env=given | {"PATH": os.environ["PATH"]},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
