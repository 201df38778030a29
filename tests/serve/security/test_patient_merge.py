"""Two patients made one, as the EHR did: every row, the answers that are rebuilt from them, and what is sent again."""

from __future__ import annotations

import pytest

from serve.store import patient_merge, retention
from serve.store.audit import AuditQuery, audit_page
from serve.store.core import Store
from serve.store.records import NewPrediction, SearchQuery, VersionOrder, note_key, prediction_id
from tests.serve.security.full_tables import PATIENT, PATIENT_KEPT, fill, rows_with
from tests.serve.store_notes import BUNDLE, note

REQUEST = "8e7d0f6a-93a5-4f07-9a43-0a3f7c1f6b11"


def merge(store: Store, old: str = PATIENT, new: str = PATIENT_KEPT) -> dict[str, int]:
    return patient_merge.merge(store, old, new, "operator", REQUEST)


def found(store: Store, word: str) -> dict[str, int]:
    return store.read(lambda transaction: rows_with(transaction.connection, word))


def scored(store: Store, subject: str, *, number: int | None = None, document: str = "DocumentReference/1") -> str:
    """Score a document of a patient, whose name is part of its key as it is in the service; the score's id."""
    key = note_key("test", f"{document}|{subject}", "0" * 64)
    own_id = prediction_id(key, "task0", 1, BUNDLE)
    payload = {"subject": subject, "subject_identifier": None, "assessment_id": own_id}
    made = note(
        document, note_key=key, subject=subject, version=VersionOrder(number=number),
        predictions=(NewPrediction(own_id, "task0", 1, 0.5, payload),),
    )  # fmt: skip
    (committed,) = store.commit([made])
    return committed.predictions[0].id


def standing(store: Store) -> dict[str, bool]:
    page = store.search(SearchQuery(count=100))
    return {each.id: not each.superseded for each in page.predictions}


def test_every_row_of_the_old_patient_is_the_surviving_ones(store: Store) -> None:
    store.write(lambda transaction: fill(transaction.connection, PATIENT, 1, "gone"))
    store.write(lambda transaction: fill(transaction.connection, PATIENT_KEPT, 2, "kept"))
    of_kept = found(store, PATIENT_KEPT)
    counts = merge(store)
    assert set(counts.values()) == {1}
    assert found(store, PATIENT) == {}
    assert found(store, PATIENT_KEPT) == {name: 2 * count for name, count in of_kept.items()}
    assert sum(merge(store).values()) == 0


def test_an_answer_is_rebuilt_for_the_surviving_patient_and_shows_a_new_version(store: Store) -> None:
    own_id = scored(store, PATIENT)
    before = store.find([own_id])[own_id]
    merge(store)
    after = store.find([own_id])[own_id]
    assert after.payload == before.payload | {"subject": PATIENT_KEPT}
    assert after.revision == before.revision + 1
    assert after.last_updated_ms > before.last_updated_ms
    assert store.search(SearchQuery(subjects=(PATIENT_KEPT,))).total == 1
    assert store.search(SearchQuery(subjects=(PATIENT,))).total == 0


@pytest.mark.parametrize("new", ["urn:mrn|9", PATIENT_KEPT])
def test_a_patient_may_be_named_by_an_identifier(store: Store, new: str) -> None:
    own_id = scored(store, "urn:mrn|7")
    merge(store, "urn:mrn|7", new)
    payload = store.find([own_id])[own_id].payload
    named = (payload["subject"], payload["subject_identifier"])
    assert named == ((None, new) if "|" in new else (new, None))


def test_the_same_note_under_the_old_name_finds_the_same_scores(store: Store) -> None:
    own_id = scored(store, PATIENT, number=1)
    merge(store)
    assert scored(store, PATIENT, number=1) == own_id
    assert standing(store) == {own_id: True}
    assert store.find([own_id])[own_id].payload["subject"] == PATIENT_KEPT


@pytest.mark.parametrize("number", [1, 2])
def test_the_note_under_the_new_name_is_scored_anew_and_stands_alone(store: Store, number: int) -> None:
    old = scored(store, PATIENT, number=1)
    merge(store)
    new = scored(store, PATIENT_KEPT, number=number)
    assert standing(store) == {old: False, new: True}


@pytest.mark.parametrize(("of_old", "of_new"), [(1, 2), (2, 1)])
def test_of_two_versions_of_a_document_the_newer_stands_after_the_merge(store: Store, of_old: int, of_new: int) -> None:
    scored(store, PATIENT, number=of_old)
    scored(store, PATIENT_KEPT, number=of_new)
    merge(store)
    versions = store.read(
        lambda transaction: transaction.connection.exec_driver_sql(
            "SELECT subject, number FROM document_versions"
        ).fetchall()
    )
    assert [tuple(row) for row in versions] == [(PATIENT_KEPT, 2)]


def test_the_audit_follows_the_patient(store: Store) -> None:
    own_id = scored(store, PATIENT)
    merge(store)
    events = store.read(audit_page, AuditQuery(subjects=(PATIENT_KEPT,))).events
    assert [(each.action, each.prediction, each.source) for each in events] == [("merge", own_id, "operator")]
    retention.forget(store, PATIENT_KEPT)
    assert store.read(audit_page, AuditQuery(subjects=(PATIENT_KEPT,))).events == ()
    assert [each.subject for each in store.read(audit_page, AuditQuery()).events] == [None]
