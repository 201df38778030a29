"""Notifications and what is fetched after them: the loops over a real store and a real HTTP EHR."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from sqlalchemy import func, select

from fhir_adapters.client.keys import KeyFile, public_jwks
from serve.errors import Problem, ServiceError
from serve.intake.feeds import subscriptions
from serve.intake.rows import backlog, listed, replay
from serve.store.core import Store
from serve.store.facts_tables import EncounterRow
from serve.store.transaction import Transaction
from tests.ehr.notifications import TOPIC, Content, Notifier
from tests.ehr.server import TestEhr
from tests.fhir_adapters.client.test_keys import ec_key, pem, write
from tests.serve.intake.parts import Running, run, texts, until
from tests.serve.notes import TEXT, document, encoded

OTHER = TEXT.replace("chest pain", "abdominal pain")


def notifier(ehr: TestEhr, content: Content = "id-only") -> Notifier:
    return Notifier(ehr, "", content=content)


async def tell(running: Running, source: Notifier, *references: str) -> None:
    """The notification of new events of the subscription."""
    events = [source._new(reference) for reference in references]
    await running.notify(source.bundle("event-notification", events))


def reads(ehr: TestEhr, reference: str) -> int:
    return len(ehr.requests("GET", f"/fhir/{reference}"))


def test_what_an_event_names_is_fetched_once_and_a_repeat_does_nothing(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr) as running:
            source = notifier(ehr)
            await running.notify(source.bundle("handshake", status="requested"))
            await tell(running, source, ehr.add(document(id="1")), ehr.add(document(OTHER, id="2")))
            await running.idle()
            assert len(running.scorer.scored) == 2
            for _ in range(2):
                await running.notify(source.bundle("event-notification", source.events))
            await running.notify(source.bundle("heartbeat"))
            await running.idle()
            assert (reads(ehr, "DocumentReference/1"), len(running.scorer.scored)) == (1, 2)
            assert sorted(running.rows("done")) == [
                ("DocumentReference/1", "scored"),
                ("DocumentReference/2", "scored"),
            ]
            ((_, state),) = sqlite.read(subscriptions)
            assert (state.last, state.gaps, state.asked_ms) == (2, (), None)

    run(check)


def test_a_draft_waits_for_its_final_version(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr) as running:
            source = notifier(ehr)
            await tell(running, source, ehr.add(document(id="1", docStatus="preliminary")))
            await running.idle()
            assert (running.scorer.scored, running.rows(), running.rows("done")) == (
                [], [], [("DocumentReference/1", "business-rule")],
            )  # fmt: skip
            await tell(running, source, ehr.add(document(id="1", docStatus="final")))
            await running.idle()
            assert len(running.scorer.scored) == 1

    run(check)


def test_drafts_are_scored_where_the_hospital_opted_in_and_their_final_text_supersedes_them(
    sqlite: Store, ehr: TestEhr
) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr, include_preliminary=True) as running:
            source = notifier(ehr)
            await tell(running, source, ehr.add(document(id="1", docStatus="preliminary")))
            await running.idle()
            await tell(running, source, ehr.add(document(OTHER, id="1", docStatus="final")))
            await running.idle()
            assert running.standing("1") == {"1": "superseded", "2": "stands"}

    run(check)


def test_an_amendment_supersedes_and_a_late_old_version_does_not(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr) as running:
            source = notifier(ehr, "full-resource")
            ehr.add(document(id="1"))
            first = source.bundle("event-notification", [source._new("DocumentReference/1")])
            ehr.add(document(OTHER, id="1"))
            second = source.bundle("event-notification", [source._new("DocumentReference/1")])
            for bundle in (second, first):
                await running.notify(bundle)
            assert len(running.scorer.scored) == 2
            assert running.standing("1") == {"1": "superseded", "2": "stands"}
            replacing = document(TEXT + " Addendum.", id="2", relatesTo=[
                {"code": "replaces", "target": {"reference": "DocumentReference/1"}}])  # fmt: skip
            await tell(running, source, ehr.add(replacing))
            assert running.standing("1") == {"1": "superseded", "2": "superseded"}
            assert running.standing("2") == {"1": "stands"}

    run(check)


def test_an_amendment_that_is_undone_lets_the_first_text_stand_again(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr) as running:
            source = notifier(ehr)
            for text in (TEXT, OTHER, TEXT):
                await tell(running, source, ehr.add(document(text, id="1")))
                await running.idle()
            assert running.standing("1") == {"1": "stands", "2": "superseded"}
            assert len(running.scorer.scored) == 2

    run(check)


@pytest.mark.parametrize("content", ["id-only", "full-resource"])
def test_entered_in_error_takes_back_what_was_scored_and_what_is_scored_later(
    sqlite: Store, ehr: TestEhr, content: Content
) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr) as running:
            source = notifier(ehr, content)
            await tell(running, source, ehr.add(document(id="1")))
            await running.idle()
            mistaken = document(id="1", status="entered-in-error")
            del mistaken["content"]  # as such documents are often left
            await tell(running, source, ehr.add(mistaken))
            await running.idle()
            assert running.standing("1") == {"1": "retracted"}
            # The other way round: the mistake is known before the note is scored.
            await tell(running, source, ehr.add(document(id="2", status="entered-in-error")))
            await running.idle()
            await tell(running, source, ehr.add(document(id="2")))
            await running.idle()
            assert running.standing("2") == {"2": "retracted"}

    run(check)


@pytest.mark.parametrize("told", [True, False])
def test_a_deleted_note_is_taken_back_whether_told_or_found_gone(sqlite: Store, ehr: TestEhr, told: bool) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr) as running:
            source = notifier(ehr)
            reference = ehr.add(document(id="1"))
            await tell(running, source, reference)
            await running.idle()
            if told:
                ehr.store.delete(reference)
                await tell(running, source, reference)
                assert reads(ehr, reference) == 1
            else:
                event = source._new(reference)
                bundle = source.bundle("event-notification", [event])
                ehr.store.delete(reference)
                await running.notify(bundle)
                await running.idle()
                assert ("DocumentReference/1", "deleted") in running.rows("done")
            assert running.standing("1") == {"1": "retracted"}

    run(check)


def test_deletions_are_the_archives_matter_where_a_setting_says_so(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr, retract_deleted=False) as running:
            source = notifier(ehr)
            reference = ehr.add(document(id="1"))
            await tell(running, source, reference)
            await running.idle()
            ehr.store.delete(reference)
            await tell(running, source, reference)
            assert running.standing("1") == {"1": "stands"}

    run(check)


def test_an_ehr_that_is_down_for_long_costs_no_row(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr, ehr_timeout_s=0.1, intake_retry_s=0.001) as running:
            source = notifier(ehr)
            with ehr.down():
                await tell(running, source, ehr.add(document(id="alone")))
                await asyncio.sleep(2)
                ((row,),) = (sqlite.read(listed, ("pending",), (), 20)[1],)
                assert row.attempts <= 4  # those that showed that the server is away; it was asked more often since
                await tell(running, source, *(ehr.add(document(f"{TEXT} Number {i}.", id=str(i))) for i in range(12)))
            await running.idle()
            assert (running.rows(), texts(sqlite)) == ([], 13)

    run(check)


def test_what_is_not_there_or_cannot_be_read_ends_dead_and_holds_up_nobody(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr, intake_retry_s=0.001, ehr_timeout_s=0.3) as running:
            source = notifier(ehr)
            ehr.add({"resourceType": "DocumentReference", "id": "broken", "status": "banana"})
            ehr.add(document(id="poison"))
            ehr.faults.status(500, 1000, path="DocumentReference/poison")
            good = [ehr.add(document(f"{TEXT} Number {i}.", id=f"good-{i}")) for i in range(20)]
            await tell(running, source, "DocumentReference/poison", "DocumentReference/missing",
                       "DocumentReference/broken", *good)  # fmt: skip
            await until(lambda: texts(sqlite) == 20)
            await running.idle(40)
            assert sorted(running.rows()) == [
                ("DocumentReference/broken", "required"),
                ("DocumentReference/missing", "not-found"),
                ("DocumentReference/poison", "unavailable"),
            ]
            ehr.faults.clear()
            sqlite.write(replay, (), ("unavailable",))
            await running.idle()
            assert texts(sqlite) == 21

    run(check)


def test_a_notification_that_overtakes_its_resource_finds_it_at_the_second_try(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr) as running:
            ehr.add(document(id="1"))
            ehr.faults.status(404, path="DocumentReference/1", code="not-found")
            await tell(running, notifier(ehr), "DocumentReference/1")
            await running.idle()
            assert running.rows("done") == [("DocumentReference/1", "scored")]

    run(check)


def test_full_resources_are_scored_at_once_and_never_fetched(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr) as running:
            source = notifier(ehr, "full-resource")
            bad = document("too short", id="2")
            await tell(running, source, ehr.add(document(id="1")), ehr.add(bad), ehr.add({**bad, "id": "3", "x": 1}))
            assert texts(sqlite) == 1
            assert running.rows() == [("DocumentReference/3", "structure")]
            assert ehr.requests("GET") == []

    run(check)


def test_a_full_resource_that_cannot_be_scored_now_is_fetched_later(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr) as running:
            source = notifier(ehr, "full-resource")
            running.scorer.problem = lambda text: Problem(503, "transient", "no scorer; later")
            await tell(running, source, ehr.add(document(id="1")))
            running.scorer.problem = lambda text: None
            await running.idle()
            assert (texts(sqlite), running.rows("done")) == (1, [("DocumentReference/1", "scored")])

    run(check)


def test_without_a_server_to_fetch_from_it_must_be_sent_again(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr) as running:
            inbox = running.inbox
            inbox._base = None
            source = notifier(ehr, "full-resource")
            running.scorer.problem = lambda text: Problem(504, "timeout", "late; again")
            with pytest.raises(ServiceError) as caught:
                await tell(running, source, ehr.add(document(id="1")))
            assert (caught.value.problem.status, caught.value.problem.retry_after_s) == (503, 5)
            assert sqlite.read(subscriptions) == []
            with pytest.raises(ServiceError) as caught:
                await tell(running, notifier(ehr), "DocumentReference/1")
            assert caught.value.problem.status == 422

    run(check)


def test_a_gap_is_found_and_healed_by_a_search(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr) as running:
            source = notifier(ehr)
            await running.notify(source.bundle("handshake", status="requested"))
            source.lose(2, ehr.add(document(id="1")), ehr.add(document(OTHER, id="2")))
            await tell(running, source, ehr.add(document(TEXT + " Third.", id="3")))
            await until(lambda: texts(sqlite) == 3)
            await until(lambda: sqlite.read(subscriptions)[0][1].gaps == ())
            # A heartbeat tells of what was missed at the end.
            source.lose(1, ehr.add(document(TEXT + " Fourth.", id="4")))
            await running.notify(source.bundle("heartbeat"))
            await until(lambda: texts(sqlite) == 4)

    run(check)


def test_a_search_that_fails_leaves_the_gap_to_be_healed(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr, ehr_timeout_s=0.3) as running:
            source = notifier(ehr, "empty")
            await running.notify(source.bundle("handshake", status="requested"))
            ehr.faults.status(500, 4, method="GET", path="DocumentReference")
            await tell(running, source, ehr.add(document(id="1")))
            await until(lambda: texts(sqlite) == 1)
            await until(lambda: sqlite.read(subscriptions)[0][1].asked_ms is None)

    run(check)


def facts(store: Store) -> int:
    """Encounters that are known and not removed."""

    def count(transaction: Transaction) -> int:
        query = select(func.count()).select_from(EncounterRow).where(EncounterRow.removed.is_(False))
        return transaction.connection.execute(query).scalar_one()

    return store.read(count)


@pytest.mark.parametrize("content", ["id-only", "full-resource"])
def test_facts_come_the_same_way_and_other_types_are_passed_over(sqlite: Store, ehr: TestEhr, content: Content) -> None:
    stay = {
        "resourceType": "Encounter", "id": "9", "status": "finished", "subject": {"reference": "Patient/p1"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "period": {"start": "2026-03-01T08:00:00Z", "end": "2026-03-05T11:00:00Z"},
    }  # fmt: skip

    async def check() -> None:
        async with Running(sqlite, ehr) as running:
            source = notifier(ehr, content)
            await tell(running, source, ehr.add(stay), ehr.add({"resourceType": "Patient", "id": "p1"}))
            await running.idle()
            assert facts(sqlite) == 1
            assert running.rows() == []
            ehr.store.delete("Encounter/9")
            await tell(running, source, "Encounter/9")
            assert facts(sqlite) == 0

    run(check)


def test_only_listed_topics_are_taken(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr, subscription_topics=(TOPIC,)) as running:
            source = notifier(ehr)
            await running.notify(source.bundle("handshake", status="requested"))
            source.topic = "https://elsewhere.example.org/topic"
            with pytest.raises(ServiceError) as caught:
                await running.notify(source.bundle("heartbeat"))
            assert caught.value.problem.status == 403

    run(check)


def test_references_to_elsewhere_are_never_fetched(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr) as running:
            source = notifier(ehr)
            bundle = source.bundle("event-notification", [source._new("DocumentReference/1"), source._new("Patient/9")])
            foreign = "http://169.254.169.254/fhir/DocumentReference/1"
            await running.notify(json.loads(json.dumps(bundle).replace(f"{ehr.url}/DocumentReference/1", foreign)))
            await running.idle()
            assert running.rows() == [(foreign, "security")]
            assert ehr.requests() == []

    run(check)


def test_attachments_and_notes_are_read_with_a_token(sqlite: Store, ehr: TestEhr, tmp_path: Path) -> None:
    key = write(tmp_path / "key.pem", pem(ec_key()))
    ehr.auth.required = True
    ehr.auth.register("lang1", public_jwks(KeyFile(key).current()))

    async def check() -> None:
        options = {"ehr_client_id": "lang1", "ehr_key_file": key}
        async with Running(sqlite, ehr, **options) as running:
            ehr.add({"resourceType": "Binary", "id": "b", "contentType": "text/plain", "data": encoded(TEXT)})
            linked = document(id="1", content=[{"attachment": {"contentType": "text/plain", "url": "Binary/b"}}])
            await tell(running, notifier(ehr), ehr.add(linked))
            await running.idle()
            assert running.rows("done") == [("DocumentReference/1", "scored")]
            ehr.auth.revoke_tokens()
            await tell(running, notifier(ehr), ehr.add(document(OTHER, id="2")))
            await running.idle()
            assert texts(sqlite) == 2

    run(check)


def test_a_replica_that_dies_half_way_loses_nothing_and_scores_nothing_twice(sqlite: Store, ehr: TestEhr) -> None:
    references = [ehr.add(document(f"{TEXT} Number {i}.", id=str(i))) for i in range(30)]
    source = notifier(ehr)

    async def begin() -> None:
        running = Running(sqlite, ehr, intake_concurrency=3)
        await running.__aenter__()
        await tell(running, source, *references)
        await until(lambda: texts(sqlite) >= 5)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()  # no goodbye

    async def go_on() -> None:
        async with Running(sqlite, ehr) as running:
            await running.idle()
            assert texts(sqlite) == 30
            assert len(running.rows("done")) == 30

    run(begin)
    assert sqlite.read(backlog).pending > 0
    run(go_on)
