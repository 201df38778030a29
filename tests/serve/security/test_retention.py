"""Deleting by age and by patient, over every table that there is, on both databases, while the service writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, String, Table, UniqueConstraint, create_engine, event
from sqlalchemy.engine import make_url

from serve.store import retention
from serve.store.audit import record_access
from serve.store.core import Store
from serve.store.records import AuditEntry
from serve.store.tables import Base
from tests.serve.security.full_tables import PATIENT, PATIENT_KEPT, TABLES, fill, rows_with
from tests.serve.store_notes import note

OLD_MS, NEW_MS = 1_000_000, 9_000_000
GONE, KEPT = "gone", "kept"
# What these hold is no patient's: an audit row is kept, and a feed's place, a used token and a request
# for retraining name nobody.
NOBODYS = {"audit", "cursors", "used_tokens", "intake", "retraining_requests"}


@pytest.fixture
def full(store: Store) -> Store:
    """Both patients in every table; the one's rows are old."""
    store.write(lambda transaction: fill(transaction.connection, PATIENT, OLD_MS, GONE))
    store.write(lambda transaction: fill(transaction.connection, PATIENT_KEPT, NEW_MS, KEPT))
    return store


def found(store: Store, word: str) -> dict[str, int]:
    return store.read(lambda transaction: rows_with(transaction.connection, word))


def test_every_table_has_a_rule() -> None:
    assert retention.uncovered() == []
    assert retention.AGE.keys() | retention.KEPT.keys() | retention.AUDIT.keys() <= Base.metadata.tables.keys()


def test_a_table_without_a_rule_stops_every_deletion(store: Store) -> None:
    extra = Table("visits", Base.metadata, Column("id", Integer, primary_key=True), Column("subject", String(9)))
    try:
        assert retention.uncovered() == ["visits"]
        with pytest.raises(NotImplementedError, match="visits"):
            retention.prune(store, {"predictions": 0})
        with pytest.raises(NotImplementedError, match="visits"):
            retention.forget(store, PATIENT)
    finally:
        Base.metadata.remove(extra)


def test_no_patients_row_can_stand_in_the_way_of_a_merge() -> None:
    # A unique key with the patient in it would need a rule of its own in serve.store.patient_merge.
    for table in retention.subject_tables():
        unique = [each for each in table.constraints if isinstance(each, UniqueConstraint)]
        unique_columns = {column.name for each in unique for column in each.columns}
        unique_columns |= {column.name for index in table.indexes if index.unique for column in index.columns}
        assert "subject" not in unique_columns | {column.name for column in table.primary_key.columns}, table.name


def test_a_forgotten_patient_is_in_no_table(full: Store) -> None:
    assert found(full, PATIENT).keys() >= {table.name for table in TABLES if "subject" in table.c}
    before = found(full, KEPT)
    counts = retention.forget(full, PATIENT)
    assert all(counts[table.name] == 1 for table in retention.subject_tables())
    assert found(full, PATIENT) == {}
    assert found(full, GONE).keys() <= NOBODYS
    assert found(full, KEPT) == before
    assert sum(retention.forget(full, PATIENT).values()) == 0


def test_what_names_the_patients_document_or_encounter_goes_too(full: Store) -> None:
    (scored,) = full.commit([note("DocumentReference/x", subject=PATIENT, encounter="Encounter/x")])

    def plant(transaction: object) -> None:
        connection = transaction.connection  # type: ignore[attr-defined]
        fill(connection, PATIENT_KEPT, NEW_MS, "third")
        tables = Base.metadata.tables
        third = tables["intake"].c.reference == "third-reference"
        connection.execute(tables["intake"].update().where(third).values(reference="DocumentReference/x"))
        stay = tables["outcomes"].c.encounter == "third-encounter"
        connection.execute(tables["outcomes"].update().where(stay).values(encounter="Encounter/x", subject=None))

    full.write(plant)
    retention.forget(full, PATIENT)
    assert found(full, "DocumentReference/x") == {}
    assert found(full, "Encounter/x") == {}
    assert full.find(p.id for p in scored.predictions) == {}


def test_the_audit_keeps_the_deed_and_loses_the_patient(full: Store) -> None:
    (scored,) = full.commit(
        [note(subject=PATIENT)], [AuditEntry("score", "epic", "r", tuple(p.id for p in note().predictions))]
    )
    retention.forget(full, PATIENT)
    full.write(record_access, "forget", "operator", "r2")
    assert found(full, scored.predictions[0].id) == {"audit": 1}
    assert found(full, "operator") == {"audit": 1}


def test_pruning_takes_the_old_and_what_hangs_on_it(full: Store) -> None:
    before = dict.fromkeys(retention.AGE, NEW_MS)
    counted = {name: full.read(retention.count_older, name, NEW_MS) for name in before}
    assert retention.prune(full, before) == counted
    assert set(counted.values()) == {1}
    assert found(full, GONE).keys() == {*retention.AUDIT, *retention.KEPT}
    assert found(full, KEPT).keys() == {table.name for table in TABLES}


def test_the_audit_is_pruned_by_its_own_age(full: Store) -> None:
    assert retention.prune(full, {"audit": OLD_MS}) == {"audit": 0}
    assert retention.prune(full, {"audit": OLD_MS + 1}) == {"audit": 1}


def test_deleted_bytes_leave_the_files_of_sqlite(full: Store, url: str) -> None:
    if not url.startswith("sqlite"):
        assert retention.truncate_log(url)
        return
    file = make_url(url).database
    assert file is not None

    def on_disk(word: str) -> bool:
        return any(word.encode() in each.read_bytes() for each in Path(file).parent.glob(Path(file).name + "*"))

    assert on_disk(PATIENT)
    retention.forget(full, PATIENT)
    assert retention.truncate_log(url)
    assert not on_disk(PATIENT)
    assert on_disk(PATIENT_KEPT)


def test_batches_are_small_and_the_service_goes_on(
    store: Store, open_store: Callable[..., Store], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_PER_TRANSACTION", 7)
    for place in range(40):
        store.commit([note(f"DocumentReference/{place}", subject=PATIENT)])
    stop, failures, made = threading.Event(), [], []

    def serve() -> None:
        writer = open_store()
        while not stop.is_set():
            try:
                writer.commit([note(f"DocumentReference/new-{len(made)}", subject=PATIENT_KEPT)])
                made.append(1)
            except Exception as error:
                failures.append(error)
            stop.wait(0.002)  # a busy service does this much between two commits

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        counts = retention.forget(open_store(), PATIENT)
    finally:
        stop.set()
        thread.join()
    assert counts["predictions"] == 80
    assert failures == []
    assert len(made) > 1
    assert found(store, PATIENT) == {}
    assert found(store, PATIENT_KEPT)["predictions"] == 2 * len(made)


def test_no_transaction_deletes_more_than_its_limit(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_PER_TRANSACTION", 7)
    for place in range(10):
        store.commit([note(f"DocumentReference/{place}", subject=PATIENT)])
    engine = create_engine(url)
    commits = 0

    def count(_connection: object) -> None:
        nonlocal commits
        commits += 1

    event.listen(store._engine, "commit", count)
    retention.forget(store, PATIENT)
    engine.dispose()
    assert commits > 20 / 7
