"""One resource to a real HTTP server that fails in every way: made once, kept right."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from fhir_adapters.client.errors import ErrorKind, FhirServerError
from fhir_adapters.sinks.every_sink import SINKS
from fhir_adapters.sinks.own_reports import DUPLICATE_IDENTIFIER_SYSTEM
from fhir_adapters.sinks.sink import WriteBack
from lang1.tasks import BUILT_IN
from serve.fhir_notes import stored_to_record
from serve.outbox.capability import check_capabilities
from serve.outbox.delivery import Delivery, WriteMode
from serve.store.records import StoredPrediction
from tests.ehr.server import TestEhr
from tests.serve.outbox.rig import client_of, scored

MODES: list[WriteMode] = ["conditional-create", "update-as-create"]
EVERY_MODE = pytest.mark.parametrize("mode", MODES)
TYPE = "RiskAssessment"


def wanted(status: str = "final", sink: str = "risk-assessment", *, revision: int = 1, tasks: int = 2) -> WriteBack:
    note = scored("a", tasks=tasks)
    made = SINKS[sink]
    records = []
    for each in note.predictions if made.per_note else note.predictions[:1]:
        stored = StoredPrediction(each.id, each.task, "1", "b", each.payload, 1_700_000_000_000, False)
        shown = replace(stored, superseded=status == "cancelled", retracted=status == "entered-in-error",
                        revision=revision)  # fmt: skip
        records.append(stored_to_record(shown))
    return made.write_back(records, note.note_key, BUILT_IN)


def delivery(ehr: TestEhr, mode: WriteMode = "conditional-create", sink: str = "risk-assessment", **time: Any) -> Any:
    return Delivery(client_of(ehr.url, **time), SINKS[sink], mode)


def kind_of(failing: Any) -> ErrorKind:
    with pytest.raises(FhirServerError) as caught:
        failing()
    return caught.value.kind


def one(ehr: TestEhr, resource_type: str = TYPE) -> dict[str, Any]:
    (only,) = ehr.resources(resource_type)
    return only


@EVERY_MODE
def test_it_is_made_once_however_often_it_is_sent(ehr: TestEhr, mode: WriteMode) -> None:
    writes = [delivery(ehr, mode).write(wanted()) for _ in range(3)]
    assert [each.how for each in writes] == ["created", "found", "found"]
    assert len({each.reference for each in writes}) == 1
    assert one(ehr)["status"] == "final"
    assert len(ehr.history(writes[0].reference or "")) == 1, "nothing was written a second time"


@EVERY_MODE
@pytest.mark.parametrize("location", ["absolute", "relative", "unversioned", "none"])
def test_an_answer_may_say_where_it_is_in_any_way_or_not(ehr: TestEhr, mode: WriteMode, location: Any) -> None:
    ehr.behaviour.location = location
    for bodies in ("never", "always"):
        ehr.behaviour.bodies = bodies  # type: ignore[assignment]
        assert delivery(ehr, mode).write(wanted()).reference == f"{TYPE}/{one(ehr)['id']}"


@EVERY_MODE
def test_a_lost_answer_is_looked_for_at_once(ehr: TestEhr, mode: WriteMode) -> None:
    ehr.faults.drop_after(method="POST" if mode == "conditional-create" else "PUT")
    assert delivery(ehr, mode).write(wanted()).reference == f"{TYPE}/{one(ehr)['id']}"
    assert len(ehr.history(f"{TYPE}/{one(ehr)['id']}")) == 1


@EVERY_MODE
def test_a_write_that_never_arrived_is_of_unknown_outcome_and_is_made_by_the_next_try(
    ehr: TestEhr, mode: WriteMode
) -> None:
    ehr.faults.drop_before(method="POST" if mode == "conditional-create" else "PUT")
    assert kind_of(lambda: delivery(ehr, mode).write(wanted())) is ErrorKind.UNKNOWN_OUTCOME
    assert not ehr.resources(TYPE)
    assert delivery(ehr, mode).write(wanted(), unsure=True).how == "created"
    assert one(ehr)


@EVERY_MODE
def test_answers_lost_again_and_again_make_one_resource(ehr: TestEhr, mode: WriteMode) -> None:
    for _ in range(4):
        # The answer to the write is lost, and the search that follows fails.
        ehr.faults.drop_after(method="POST" if mode == "conditional-create" else "PUT")
        ehr.faults.status(500, method="GET", path=TYPE + "$" if mode == "conditional-create" else TYPE)
        kind_of(lambda: delivery(ehr, mode).write(wanted(), unsure=True))
        ehr.faults.clear()
    assert delivery(ehr, mode).write(wanted(), unsure=True).how in ("found", "created")
    assert one(ehr)


def test_an_unsure_create_that_made_a_second_copy_is_noticed(ehr: TestEhr) -> None:
    # A server that cannot hold two conditional creates apart: both land.
    ehr.faults.delay(0.0)
    first = wanted()
    original = ehr.store.put

    def also_the_delayed_one(resource: Any, last_updated: str | None = None) -> Any:
        ehr.store.put = original  # type: ignore[method-assign]
        original(copy.deepcopy(resource))
        return original(resource, last_updated)

    ehr.store.put = also_the_delayed_one  # type: ignore[method-assign]
    delivery(ehr).write(first, unsure=True)
    standing = [each for each in ehr.resources(TYPE) if each["status"] == "final"]
    assert (len(standing), len(ehr.resources(TYPE))) == (1, 2)


def test_of_several_copies_the_oldest_stays_and_the_others_give_the_identifier_up(ehr: TestEhr) -> None:
    resource = wanted().resource
    newest = ehr.add(resource, last_updated="2026-03-03T00:00:00Z")
    mistake = ehr.add({**resource, "status": "entered-in-error"}, last_updated="2026-01-01T00:00:00Z")
    oldest = ehr.add(resource, last_updated="2026-02-02T00:00:00Z")
    done = delivery(ehr).write(wanted())
    assert (done.reference, done.how) == (oldest, "found")
    for reference in (newest, mistake):
        kept = ehr.store.get(reference)
        assert (kept["status"], kept["identifier"][0]["system"]) == ("entered-in-error", DUPLICATE_IDENTIFIER_SYSTEM)
        assert "a second copy" in kept["text"]["div"]
    assert delivery(ehr).write(wanted()).reference == oldest, "the identifier is of one resource again"
    # Who was told of a copy that is out of use is led to the one that counts.
    assert delivery(ehr).write(wanted("cancelled"), reference=newest).reference == oldest
    assert ehr.store.get(oldest)["status"] == "cancelled"


@EVERY_MODE
@pytest.mark.parametrize("status", ["cancelled", "entered-in-error"])
def test_a_change_of_standing_changes_the_one_resource(ehr: TestEhr, mode: WriteMode, status: str) -> None:
    made = delivery(ehr, mode).write(wanted())
    changed = delivery(ehr, mode).write(wanted(status), reference=made.reference)
    assert (changed.how, changed.reference) == ("changed", made.reference)
    assert one(ehr)["status"] == status
    assert ("WITHDRAWN" if status == "cancelled" else "ENTERED IN ERROR") in one(ehr)["text"]["div"]
    assert delivery(ehr, mode).write(wanted(status), reference=made.reference).how == "found"
    puts = [each for each in ehr.requests("PUT") if each.status == 200]
    assert puts[-1].headers["if-match"] == 'W/"1"'


@EVERY_MODE
def test_what_was_withdrawn_before_it_was_written_is_written_withdrawn(ehr: TestEhr, mode: WriteMode) -> None:
    delivery(ehr, mode).write(wanted("cancelled"))
    assert one(ehr)["status"] == "cancelled"


@EVERY_MODE
def test_a_lost_first_write_is_withdrawn_where_it_is(ehr: TestEhr, mode: WriteMode) -> None:
    delivery(ehr, mode).write(wanted())
    # Nobody recorded where it went.
    assert delivery(ehr, mode).write(wanted("cancelled"), unsure=True).how == "changed"
    assert one(ehr)["status"] == "cancelled"


def test_a_score_that_stands_again_does_so_in_the_ehr(ehr: TestEhr) -> None:
    made = delivery(ehr).write(wanted())
    delivery(ehr).write(wanted("cancelled", revision=2), reference=made.reference)
    assert delivery(ehr).write(wanted(revision=3), reference=made.reference).how == "changed"
    assert one(ehr)["status"] == "final"
    assert "WITHDRAWN" not in one(ehr)["text"]["div"]


@pytest.mark.parametrize("status", ["final", "cancelled"])
def test_what_people_marked_as_an_error_stays_one(ehr: TestEhr, status: str) -> None:
    made = delivery(ehr).write(wanted())
    ehr.add({**one(ehr), "status": "entered-in-error"})
    assert delivery(ehr).write(wanted(status, revision=3), reference=made.reference).how == "found"
    assert one(ehr)["status"] == "entered-in-error"


def test_what_others_added_to_it_stays(ehr: TestEhr) -> None:
    made = delivery(ehr).write(wanted())
    ehr.add({**one(ehr), "mitigation": "Seen by the ward's team."})
    delivery(ehr).write(wanted("cancelled"), reference=made.reference)
    assert one(ehr)["mitigation"] == "Seen by the ward's team."


def test_a_change_over_another_ones_change_is_read_again(ehr: TestEhr) -> None:
    made = delivery(ehr).write(wanted())
    for status in (412, 409):
        ehr.faults.status(status, method="PUT", code="conflict")
    assert delivery(ehr).write(wanted("cancelled"), reference=made.reference).how == "changed"
    ehr.faults.status(409, times=9, method="PUT", code="conflict")
    failing = lambda: delivery(ehr).write(wanted("entered-in-error"), reference=made.reference)  # noqa: E731
    assert kind_of(failing) is ErrorKind.CONFLICT


def test_a_change_whose_answer_is_lost_is_not_made_twice(ehr: TestEhr) -> None:
    made = delivery(ehr).write(wanted())
    ehr.faults.drop_after(method="PUT")
    delivery(ehr).write(wanted("cancelled"), reference=made.reference)
    assert len(ehr.history(made.reference or "")) == 2


def test_what_the_ehr_moved_is_found_and_what_it_deleted_stays_deleted(ehr: TestEhr) -> None:
    made = delivery(ehr).write(wanted())
    ehr.store.delete(made.reference or "")
    assert delivery(ehr).write(wanted("cancelled"), reference=made.reference).how == "gone"
    assert not ehr.resources(TYPE)
    moved = ehr.add(wanted().resource)
    done = delivery(ehr).write(wanted("cancelled"), reference=made.reference)
    assert (done.reference, done.how) == (moved, "changed")


def test_a_server_that_drops_identifiers_is_still_told_of_a_withdrawal(ehr: TestEhr) -> None:
    made = delivery(ehr).write(wanted())
    ehr.add({name: value for name, value in one(ehr).items() if name != "identifier"})
    assert delivery(ehr).write(wanted("cancelled"), reference=made.reference).how == "changed"


def test_a_search_that_ignores_the_identifier_proves_nothing(ehr: TestEhr) -> None:
    ehr.add({"resourceType": TYPE, "status": "final", "subject": {"reference": "Patient/2"}})
    ehr.behaviour.ignored_params = {"identifier"}
    assert kind_of(lambda: delivery(ehr).write(wanted(), unsure=True)) is ErrorKind.REJECTED
    assert len(ehr.resources(TYPE)) == 1


def test_a_report_grows_with_the_scores_of_its_note(ehr: TestEhr) -> None:
    writer = delivery(ehr, sink="document-report")
    made = writer.write(wanted(sink="document-report", tasks=2))
    assert writer.write(wanted(sink="document-report", tasks=2), reference=made.reference).how == "found"
    assert writer.write(wanted(sink="document-report", tasks=5), reference=made.reference).how == "changed"
    kept = one(ehr, "DocumentReference")
    assert kept["content"] == wanted(sink="document-report", tasks=5).resource["content"]
    writer.write(wanted("cancelled", "document-report", tasks=5), reference=made.reference)
    assert one(ehr, "DocumentReference")["status"] == "superseded"


def statement(**resource: Any) -> dict[str, Any]:
    every = [{"code": each} for each in ("create", "read", "update", "search-type")]
    listed = {"type": TYPE, "interaction": every, "conditionalCreate": True, "updateCreate": True, **resource}
    return {"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": [listed]}]}


@pytest.mark.parametrize(
    ("mode", "says", "mend"),
    [
        ("conditional-create", {"conditionalCreate": False}, "write_mode to update-as-create"),
        ("conditional-create", {"conditionalCreate": False, "updateCreate": False}, "have one of them turned on"),
        ("update-as-create", {"updateCreate": False}, "write_mode to conditional-create"),
        ("conditional-create", {"type": "Patient"}, "set sink to another one"),
    ],
)
def test_a_server_that_cannot_be_written_to_once_is_refused_with_the_mend(
    mode: WriteMode, says: dict[str, Any], mend: str
) -> None:
    assert mend in (check_capabilities(statement(**says), TYPE, mode).refusal or "")
    assert check_capabilities(statement(), TYPE, mode).refusal is None
    assert not check_capabilities(statement(), TYPE, mode).warnings


def test_what_a_statement_does_not_say_is_a_warning() -> None:
    silent = {"rest": [{"mode": "server", "resource": [{"type": TYPE, "searchParam": [{"name": "patient"}]}]}]}
    words = " ".join(check_capabilities(silent, TYPE, "conditional-create").warnings)
    assert all(each in words for each in ("conditionalCreate", "update", "identifier"))
    assert check_capabilities({}, TYPE, "conditional-create").warnings
