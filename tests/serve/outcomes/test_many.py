"""Ten thousand stays, and the schema."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, inspect

from serve.outcomes.joined import labelled_predictions
from serve.outcomes.refresh import refresh
from serve.store.core import Store
from serve.store.tables import Base
from tests.serve.outcomes.resources import LENGTH, Hospital, condition, encounter

STAYS = 10_000


def test_the_migrations_make_the_tables_of_facts(url: str, store: Store) -> None:
    engine = create_engine(url)
    found = inspect(engine)
    for name in ("encounters", "diagnoses", "claims", "fact_links", "outcomes", "predictions", "audit"):
        table = Base.metadata.tables[name]
        assert {each["name"] for each in found.get_columns(name)} == set(table.columns.keys())
        assert {each["name"] for each in found.get_indexes(name) if not each["unique"]} == {
            i.name for i in table.indexes
        }
        nullable = {each["name"]: each["nullable"] for each in found.get_columns(name)}
        assert nullable == {column.name: column.nullable for column in table.columns}
    engine.dispose()


def test_every_read_is_by_an_index(lite: Store) -> None:
    plans = []
    with create_engine(str(lite._engine.url)).connect() as connection:
        for statement in (
            "SELECT id FROM predictions WHERE task = 'x' AND last_updated_ms >= 1 AND last_updated_ms < 2",
            "SELECT id FROM predictions WHERE task = 'x' AND last_updated_ms >= 2 AND revision > 1",
            "SELECT owner FROM fact_links WHERE source = 'x' AND name IN ('a', 'b') AND role IN ('c')",
            "SELECT owner FROM fact_links WHERE owner IN ('a')",
            "SELECT id FROM encounters WHERE source = 'x' AND subject IN ('a')",
            "SELECT max(started_ms) FROM encounters WHERE source = 'x' AND started_ms <= 5",
            "SELECT id FROM outcomes WHERE source = 'x' AND due_ms <= 5 ORDER BY due_ms, id LIMIT 9",
            "SELECT recorded_ms FROM audit WHERE action = 'show' AND recorded_ms >= 5",
        ):
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").fetchall()
            plans.append(" ".join(str(row[3]) for row in rows))
    assert all("USING INDEX" in plan or "USING COVERING INDEX" in plan for plan in plans), plans


@pytest.mark.slow
def test_ten_thousand_stays_are_taken_in_and_labelled(lite: Store) -> None:
    hospital = Hospital(lite)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    began = time.process_time()
    for first in range(0, STAYS, 100):
        resources = []
        for number in range(first, first + 100):
            admitted = start + timedelta(hours=number)
            resources.append(
                encounter(f"e{number}", admitted.isoformat(), (admitted + timedelta(days=number % 9)).isoformat(),
                          patient=f"p{number % 3000}")
            )  # fmt: skip
            resources.append(condition(f"c{number}", of=f"Encounter/e{number}", patient=f"p{number % 3000}"))
        hospital.take(*resources)
    lite.write(refresh, "ehr", hospital.context)
    assert time.process_time() - began < 120
    assert len(hospital.labels()) == 5 * STAYS
    page = lite.read(labelled_predictions, hospital.context.tasks[0], 0, 1, hospital.context, {})
    assert page.rows == ()
    assert {hospital.label(LENGTH, f"Encounter/e{number}") for number in range(9)} == {0, 1, 2, 3}
