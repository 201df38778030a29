"""The service needs no right to change the schema, once `lang1 store migrate` was run by a role that has it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import ProgrammingError

from serve.store import patient_merge, retention
from serve.store.core import Store
from serve.store.records import AuditEntry, SearchQuery
from tests.serve.store_notes import note

RIGHTS = """
GRANT USAGE ON SCHEMA public TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
"""
"""As docs/security.md has them."""


@pytest.fixture
def narrow(postgres_url: str) -> Iterator[str]:
    """URL of a migrated database for a role that may read and write rows and nothing else."""
    name = f"t{uuid.uuid4().hex}"
    owner = postgres_url.rpartition("/")[0] + "/" + name
    admin: Engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        connection.execute(text(f"CREATE ROLE {name} LOGIN"))
    Store(owner).migrate()
    engine = create_engine(owner, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in RIGHTS.format(role=name).strip().splitlines():
            connection.execute(text(statement))
    engine.dispose()
    admin.dispose()
    yield owner.replace("lang1@", f"{name}@")


def test_rows_are_all_that_the_service_needs(narrow: str) -> None:
    store = Store(narrow, sink="risk-assessment")
    store.migrate()  # what a store replica does at its start
    (made,) = store.commit([note()], [AuditEntry("score", "epic", "r", tuple(p.id for p in note().predictions))])
    assert Store(narrow, read_only=True).search(SearchQuery()).total == len(made.predictions)
    patient_merge.merge(store, "Patient/1", "Patient/2", "operator", "r")
    assert retention.forget(store, "Patient/2")["predictions"] == len(made.predictions)


def test_the_role_cannot_change_the_schema(narrow: str) -> None:
    engine = create_engine(narrow)
    with engine.connect() as connection, pytest.raises(ProgrammingError):
        connection.execute(text("DROP TABLE audit"))
    engine.dispose()
