"""The scores of a document's newest version stand, in whatever order its versions arrive."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from serve.store.core import Store
from serve.store.records import NewNote, NewPrediction, VersionOrder, note_key, prediction_id
from serve.store.retraction import take_back

BUNDLE = "b" * 64
DOCUMENT = "DocumentReference/1"


def note(text: str, version: VersionOrder | None = None, *, subject: str = "Patient/1", known: bool = False,
         bundle: str = BUNDLE, document: str = DOCUMENT, replaces: tuple[str, ...] = ()) -> NewNote:  # fmt: skip
    key = note_key("ehr", f"{document}|{subject}", text)
    ids = [prediction_id(key, task, 1, bundle) for task in ("a", "b")]
    predictions = () if known else tuple(NewPrediction(each, "a", 1, 0.5, {}, None) for each in ids)
    return NewNote(
        key, "ehr", document, "0" * 64, subject, None, "1", bundle, predictions, replaces,
        version=version, known=tuple(ids) if known else (),
    )  # fmt: skip


def at(minute: int, number: int | None = None) -> VersionOrder:
    return VersionOrder(minute * 60_000, number)


def standing(store: Store, *texts: str, subject: str = "Patient/1", bundle: str = BUNDLE) -> list[str]:
    """Of `texts`, those whose scores stand; every score of a text must be of one mind."""
    found = []
    for text in texts:
        ids = [p.id for p in note(text, subject=subject, bundle=bundle).predictions]
        (superseded,) = {each.superseded for each in store.find(ids).values()}
        if not superseded:
            found.append(text)
    return found


@pytest.mark.parametrize("order", list(itertools.permutations("ABC")))
def test_the_newest_version_stands_in_any_order_of_arrival(store: Store, order: tuple[str, ...]) -> None:
    minute = {"A": 1, "B": 2, "C": 3}
    for text in order:
        store.commit([note(text, at(minute[text]))])
    assert standing(store, "A", "B", "C") == ["C"]


def test_versions_of_one_transaction_are_compared_too(store: Store) -> None:
    store.commit([note("B", at(2)), note("A", at(1)), note("C", at(3)), note("B", at(2))])
    assert standing(store, "A", "B", "C") == ["C"]


def test_numbers_decide_where_times_are_equal(store: Store) -> None:
    store.commit([note("B", at(1, 10))])
    store.commit([note("A", at(1, 9))])
    assert standing(store, "A", "B") == ["B"]


def test_without_an_order_the_text_that_is_new_stands(store: Store) -> None:
    store.commit([note("A", VersionOrder())])
    store.commit([note("B", VersionOrder())])
    store.commit([note("A", VersionOrder())])  # a resend
    assert standing(store, "A", "B") == ["B"]


def test_a_version_that_brings_back_an_earlier_text_lets_it_stand_again(store: Store) -> None:
    store.commit([note("A", at(1))])
    store.commit([note("B", at(2))])
    (again,) = store.commit([note("A", at(3), known=True)])
    assert standing(store, "A", "B") == ["A"]
    assert [(each.superseded, each.revision) for each in again.predictions] == [(False, 3), (False, 3)]
    store.commit([note("B", at(2), known=True)])  # late
    assert standing(store, "A", "B") == ["A"]


def test_a_text_that_another_document_replaced_does_not_come_back(store: Store) -> None:
    store.commit([note("A", at(1))])
    store.commit([note("new", at(2), document="DocumentReference/2", replaces=(DOCUMENT,))])
    store.commit([note("A", at(3), known=True)])
    assert standing(store, "A") == []


def test_other_patients_and_documents_without_an_id_of_their_own_are_left_alone(store: Store) -> None:
    store.commit([note("A", at(1)), note("A", at(1), subject="Patient/2"), note("X", None, document="|mrn-1")])
    store.commit([note("B", at(2)), note("Y", None, document="|mrn-1")])
    assert standing(store, "A", "B") == ["B"]
    assert standing(store, "A", subject="Patient/2") == ["A"]
    unnumbered = [p.id for name in "XY" for p in note(name, document="|mrn-1").predictions]
    assert not any(each.superseded for each in store.find(unnumbered).values())


def test_another_model_of_the_same_text_supersedes_nothing(store: Store) -> None:
    store.commit([note("A", at(1))])
    store.commit([note("A", at(1), bundle="c" * 64)])
    assert standing(store, "A") == standing(store, "A", bundle="c" * 64) == ["A"]


def test_a_change_of_standing_is_a_revision_and_is_written_back(open_store: Callable[..., Store], store: Store) -> None:
    sinking = open_store(sink="risk-assessment")
    (first,) = sinking.commit([note("A", at(1))])
    sinking.commit([note("B", at(2))])
    found = sinking.find([first.predictions[0].id])[first.predictions[0].id]
    assert (found.superseded, found.revision) == (True, 2)
    assert found.last_updated_ms > first.predictions[0].last_updated_ms
    assert sinking.write(take_back, "ehr", DOCUMENT, "Patient/1", "r") == 4
    found = sinking.find([found.id])[found.id]
    assert (found.retracted, found.revision) == (True, 3)


def test_concurrent_writers_agree_on_the_newest(
    open_store: Callable[..., Store], store: Store, turn: AbstractContextManager[object]
) -> None:
    writers = [open_store() for _ in range(6)]
    barrier = threading.Barrier(6)

    def write(place: int) -> None:
        barrier.wait()
        for document in range(10):
            with turn:
                writers[place].commit([note(f"text {place}", at(place), document=f"DocumentReference/{document}")])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    for document in range(10):
        ids = {p.id: place for place in range(6)
               for p in note(f"text {place}", document=f"DocumentReference/{document}").predictions}  # fmt: skip
        assert {ids[each.id] for each in store.find(ids).values() if not each.superseded} == {5}


def test_a_document_is_taken_back_for_whomever_it_was_scored_and_for_what_comes_later(store: Store) -> None:
    store.commit([note("A", at(1)), note("A", at(1), subject="Patient/2")])
    assert store.write(take_back, "ehr", DOCUMENT, None, "r") == 4
    assert store.write(take_back, "ehr", DOCUMENT, None, "r") == 0
    (late,) = store.commit([note("B", at(2))])
    assert all(each.retracted for each in late.predictions)
