"""Replaced and mistaken documents: whatever the order of arrival, their scores do not stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, select, text

from serve.store import standing
from serve.store.core import Store
from serve.store.records import NewNote
from serve.store.tables import Outbox
from serve.store.transaction import Transaction
from tests.serve.store_notes import note

SINK = "risk-assessment"
OLD = "DocumentReference/old"


def old() -> NewNote:
    return note(OLD)


def new() -> NewNote:
    return note("DocumentReference/new", replaces=(OLD,))


def stands(store: Store, of: NewNote) -> tuple[bool, bool]:
    """Whether the note's scores are superseded, and retracted: of all of them the same."""
    found = store.find(each.id for each in of.predictions).values()
    (state,) = {(each.superseded, each.retracted) for each in found}
    return state


def outbox_versions(transaction: Transaction) -> list[int]:
    return list(transaction.connection.execute(select(Outbox.version).order_by(Outbox.version)).scalars())


@pytest.mark.parametrize("order", [(old, new), (new, old)])
def test_an_amended_note_supersedes_its_original_in_either_order(
    store: Store, order: tuple[Callable[[], NewNote], ...]
) -> None:
    for make in order:
        store.commit([make()])
    assert stands(store, old()) == (True, False)
    assert stands(store, new()) == (False, False)


def test_both_in_one_transaction(store: Store) -> None:
    made_new, made_old = store.commit([new(), old()])
    assert all(each.superseded for each in made_old.predictions)
    assert not any(each.superseded for each in made_new.predictions)


def test_a_document_in_error_is_retracted_before_and_after_it_arrives(store: Store) -> None:
    store.commit([old()])
    assert store.write(standing.retract, "test", OLD, "Patient/1") == sorted(p.id for p in old().predictions)
    assert stands(store, old()) == (False, True)
    assert store.write(standing.retract, "test", "DocumentReference/new", "Patient/1") == []
    store.commit([new()])
    assert stands(store, new()) == (False, True)


def test_another_patient_and_another_source_are_left_alone(store: Store) -> None:
    store.commit([old()])
    assert store.write(standing.retract, "test", OLD, "Patient/2") == []
    assert store.write(standing.retract, "other", OLD, "Patient/1") == []
    assert stands(store, old()) == (False, False)


def test_each_change_of_standing_is_written_back_once(open_store: Callable[..., Store], store: Store) -> None:
    sinking = open_store(sink=SINK)
    for each in (old(), new(), new()):
        sinking.commit([each])
    for _ in range(2):
        sinking.write(standing.retract, "test", OLD, "Patient/1")
    # Two tasks of two notes, then the old note superseded, then retracted.
    assert sinking.read(outbox_versions) == [1, 1, 1, 1, 2, 2, 3, 3]


def test_what_was_never_to_be_written_back_has_no_change_to_write(
    open_store: Callable[..., Store], store: Store
) -> None:
    sinking = open_store(sink=SINK)
    kept = tuple(replace(each, written_back=False) for each in old().predictions)
    sinking.commit([replace(old(), predictions=kept)])
    sinking.commit([note("DocumentReference/nobody", subject=None)])
    sinking.commit([new()])
    assert sinking.read(outbox_versions) == [1, 1]


def test_a_database_of_an_earlier_version_keeps_its_scores(empty_url: str) -> None:
    store = Store(empty_url)
    store.migrate("0002")
    with create_engine(empty_url).begin() as connection:
        connection.execute(
            text(
                "INSERT INTO predictions (id, note_key, source, text_sha256, task, task_version, model_version, "
                "bundle_sha256, subject, last_updated_ms, superseded, payload) "
                "VALUES ('p1', 'k', 'test', 't', 'task0', 1, '1', 'b', 'Patient/1', 5, :no, '{}')"
            ),
            {"no": False},
        )
        connection.execute(
            text(
                "INSERT INTO card_feedback (id, prediction_id, service, outcome, occurred_ms, recorded_ms, source) "
                "VALUES ('f1', 'p1', 's', 'accepted', 1, 1, 'test')"
            )
        )
    store.migrate()
    kept = store.get_assessment("p1")
    assert kept is not None
    assert (kept.superseded, kept.retracted) == (False, False)
    store.close()
