"""Facts to labels: hand-worked cases through the whole way, on both databases."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from fhir_adapters.outcomes.facts import Fact
from fhir_adapters.outcomes.reading import read_fact
from monitoring import metrics
from serve.outcomes import refresh as refreshing
from serve.outcomes.context import LabelContext
from serve.outcomes.graph import links_of
from serve.outcomes.keys import Role, fact_id
from serve.outcomes.record import record_facts
from serve.outcomes.refresh import fact_sources, refresh, relabel_some
from serve.pipeline import Pipeline
from serve.store.core import Store
from serve.store.transaction import Transaction
from tests.serve.outcomes.conftest import Clock
from tests.serve.outcomes.resources import (
    CHARLSON,
    DENIAL,
    LENGTH,
    MORTALITY,
    READMISSION,
    Hospital,
    answer,
    benefit,
    claim,
    coded,
    condition,
    encounter,
    later_stay,
)

FIRST = ("e1", "2026-03-02T08:00:00Z", "2026-03-06T12:00:00Z")


def test_a_stay_gets_every_label_that_its_facts_allow(hospital: Hospital) -> None:
    hospital.take(encounter(*FIRST), condition(code="N18.4"), claim(), answer(word="Paid"), later_stay())
    assert {task: label for (of, task), label in hospital.labels().items() if of == "Encounter/e1"} == {
        READMISSION: 0, MORTALITY: 0, LENGTH: 2, CHARLSON: 1, DENIAL: 0,
    }  # fmt: skip
    row = hospital.outcomes()["Encounter/e1", LENGTH]
    assert (row["known_ms"], row["discharged_ms"], row["origin"]) == (1772798400000, 1772798400000, "rule")
    assert (row["subject"], row["changes"], row["due_ms"]) == ("Patient/p1", 0, None)


def test_the_same_again_changes_nothing(hospital: Hospital) -> None:
    resources = [encounter(*FIRST, updated="2026-03-06T13:00:00Z"), condition(), benefit(), later_stay()]
    first = hospital.take(*resources)
    assert set(first.changes) == {"created"}
    before = hospital.outcomes()
    again = hospital.take(*resources)
    assert set(again.changes) == {"unchanged"}
    assert again.labels == ()
    assert hospital.outcomes() == before


def test_an_older_version_never_overwrites_a_newer_one(hospital: Hospital) -> None:
    hospital.take(encounter(*FIRST, updated="2026-03-06T13:00:00Z", version=3))
    late = hospital.take(encounter("e1", "2026-03-02T08:00:00Z", updated="2026-03-06T13:00:00Z", version=2))
    assert late.changes == ("older",)
    assert hospital.label(LENGTH) == 2


def test_a_return_changes_the_label_of_the_stay_before_once_thirty_days_are_over(
    hospital: Hospital, clock: Clock
) -> None:
    hospital.take(encounter(*FIRST))
    assert hospital.label(READMISSION) == "censored"
    hospital.take(encounter("e2", "2026-03-20T08:00:00Z"))
    # Known early, but the last month must not hold returns alone.
    assert hospital.label(READMISSION) == "censored"
    hospital.take(later_stay("2026-04-07"))
    written = hospital.store.write(refresh, "ehr", hospital.context)
    assert [(each.task, each.option) for each in written.labels] == [(READMISSION, 1)]
    row = hospital.outcomes()["Encounter/e1", READMISSION]
    assert (row["option"], row["known_ms"]) == (1, 1773993600000)
    assert row["first_recorded_ms"] < row["recorded_ms"] <= clock.ms
    assert hospital.store.write(refresh, "ehr", hospital.context).labels == ()


def test_time_alone_makes_no_label_while_the_feed_stands_still(hospital: Hospital, clock: Clock) -> None:
    hospital.take(encounter(*FIRST))
    clock.ms += 400 * 86_400_000
    hospital.store.write(refresh, "ehr", hospital.context)
    assert hospital.label(READMISSION) == "censored"


@pytest.mark.parametrize(("seen_until", "expected"), [("2026-04-05", "censored"), ("2026-04-06", 0)])
def test_the_thirtieth_day_must_be_seen_whole(light: Hospital, seen_until: str, expected: int | str) -> None:
    # Discharged on 6 March: day 30 is 5 April, whole at midnight of the 6th.
    light.take(encounter(*FIRST), encounter("horizon", f"{seen_until}T00:00:00Z", patient="other"))
    light.store.write(refresh, "ehr", light.context)
    assert light.label(READMISSION) == expected


def test_a_lag_keeps_the_newest_stays_out(lite: Store) -> None:
    slow = Hospital(lite, feed_lag_ms=86_400_000)
    slow.take(encounter(*FIRST), encounter("horizon", "2026-04-06T12:00:00Z", patient="other"))
    assert slow.label(READMISSION) == "censored"
    slow.take(encounter("horizon", "2026-04-07T00:00:00Z", patient="other"))
    slow.store.write(refresh, "ehr", slow.context)
    assert slow.label(READMISSION) == 0


def test_a_flip_is_recorded(hospital: Hospital) -> None:
    hospital.take(encounter(*FIRST), later_stay())
    assert hospital.label(READMISSION) == 0
    first = hospital.outcomes()["Encounter/e1", READMISSION]
    hospital.take(encounter("e2", "2026-03-20T08:00:00Z", "2026-03-22T08:00:00Z"))
    row = hospital.outcomes()["Encounter/e1", READMISSION]
    assert (row["option"], row["changes"], row["first_recorded_ms"]) == (1, 1, first["first_recorded_ms"])
    assert row["recorded_ms"] > first["recorded_ms"]


def test_what_was_entered_in_error_is_taken_back_with_its_labels(hospital: Hospital) -> None:
    back = encounter("e2", "2026-03-20T08:00:00Z", "2026-03-22T08:00:00Z", updated="2026-03-22T09:00:00Z")
    hospital.take(encounter(*FIRST), back, condition(), benefit(word="denial upheld"), later_stay())
    assert (hospital.label(READMISSION), hospital.label(CHARLSON), hospital.label(DENIAL)) == (1, 1, 1)
    wrong = {"resourceType": "Encounter", "id": "e2", "status": "entered-in-error",
             "meta": {"lastUpdated": "2026-03-23T00:00:00Z"}}  # fmt: skip
    assert hospital.take(wrong).changes == ("removed",)
    assert hospital.label(READMISSION) == 0
    assert hospital.label(LENGTH, "Encounter/e2") is None
    assert hospital.take(back).changes == ("older",)
    assert hospital.label(READMISSION) == 0
    status = coded("entered-in-error", "http://terminology.hl7.org/CodeSystem/condition-ver-status")
    hospital.take(condition(verificationStatus=status), benefit(status="entered-in-error"))
    assert (hospital.label(CHARLSON), hospital.label(DENIAL)) == ("no-codes", "no-claim")
    hospital.take(condition())
    assert hospital.label(CHARLSON) == 1


def test_death_and_the_reasons_for_no_label(light: Hospital) -> None:
    light.take(
        encounter(*FIRST, disposition="exp"),
        encounter("open", patient="p2"),
        encounter("none", *FIRST[1:], patient="p3", disposition=None),
        encounter("nursing", *FIRST[1:], patient="p4", kind="NONAC"),
        encounter("visit", *FIRST[1:], patient="p5", kind="AMB"),
        encounter("back", "2026-03-02T08:00:00Z", "2026-03-01T08:00:00Z", patient="p6"),
        encounter("gone", status="cancelled", patient="p7"),
        encounter("booked", status="planned", patient="p8"),
        later_stay(),
    )
    found = light.labels()
    assert (found["Encounter/e1", READMISSION], found["Encounter/e1", MORTALITY]) == ("died", 1)
    assert (found["Encounter/open", LENGTH], found["Encounter/open", READMISSION]) == ("not-over", "not-over")
    assert found["Encounter/none", MORTALITY] == found["Encounter/none", READMISSION] == "no-disposition"
    assert (found["Encounter/nursing", READMISSION], found["Encounter/nursing", LENGTH]) == ("left-out-service", 2)
    assert found["Encounter/back", LENGTH] == "bad-times"
    assert found["Encounter/gone", LENGTH] == "not-inpatient"
    # Of visits that nothing else is known of, and of bookings, there is no row.
    assert not [of for of, _ in found if of in ("Encounter/visit", "Encounter/booked")]


def test_a_visit_has_the_labels_that_need_no_stay(light: Hospital) -> None:
    light.take(encounter(*FIRST, kind="EMER"), condition(), benefit(word="paid"))
    assert light.labels() == {("Encounter/e1", CHARLSON): 1, ("Encounter/e1", DENIAL): 0}


def test_a_stay_that_becomes_a_booking_again_loses_its_labels(light: Hospital) -> None:
    light.take(encounter())
    assert light.label(LENGTH) == "not-over"
    light.take(encounter(status="planned"))
    assert light.label(LENGTH) is None


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        # New York: the night of 8 March 2026 has 23 hours, that of 1 November 25.
        ("2026-03-08T04:59:00Z", "2026-03-10T03:59:00Z", 0),  # 7 March 23:59 to 9 March 23:59: two midnights
        ("2026-03-08T04:59:00Z", "2026-03-10T04:00:00Z", 1),  # to 10 March 00:00: three
        ("2026-11-01T03:59:00Z", "2026-11-04T04:59:00Z", 1),  # 31 October 23:59 to 3 November 23:59: three
        ("2026-11-01T03:59:00Z", "2026-11-04T05:00:00Z", 2),  # to 4 November 00:00: four
        ("2026-11-01T05:50:00Z", "2026-11-01T06:10:00Z", 0),  # 01:50 summer time to 01:10 winter time
    ],
)
def test_midnights_are_the_hospitals_also_when_the_clocks_change(
    lite: Store, start: str, end: str, expected: int
) -> None:
    new_york = Hospital(lite, "America/New_York")
    new_york.take(encounter("e1", start, end))
    assert new_york.label(LENGTH) == expected


def test_a_changed_rule_is_applied_to_all_patients(lite: Store) -> None:
    Hospital(lite, "UTC").take(encounter("e1", "2026-03-02T23:00:00Z", "2026-03-06T01:00:00Z"))
    there = Hospital(lite, "America/New_York")
    assert there.label(LENGTH) == 2
    first = lite.write(relabel_some, "ehr", there.context, None, 1)
    assert first.after == "Patient/p1"
    assert lite.write(relabel_some, "ehr", there.context, first.after, 1).after is None
    assert there.label(LENGTH) == 1
    assert lite.read(fact_sources) == ["ehr"]


def test_sources_do_not_meet(hospital: Hospital) -> None:
    hospital.take(encounter(*FIRST), later_stay())
    hospital.take(encounter("e2", "2026-03-20T08:00:00Z", "2026-03-22T08:00:00Z"), condition(), source="other")
    assert (hospital.label(READMISSION), hospital.label(CHARLSON)) == (0, "no-codes")


def test_facts_meet_by_identifier_listing_and_conditional_reference(light: Hospital) -> None:
    visit = [{"system": "urn:visits", "value": "77"}]
    listed = [{"condition": {"reference": "Condition/problem"}}]
    light.take(
        condition("by-token", "I50.9", of=None, encounter={"identifier": visit[0]}),
        condition("by-search", "C79.51", of="Encounter?identifier=urn:visits%7C77"),
        condition("problem", "N18.4", of=None, category=[coded("problem-list-item", "urn:x")]),
        condition("unlisted", "B20", of=None),
    )
    assert light.labels() == {}
    light.take(encounter(*FIRST, identifier=visit, diagnosis=listed))
    assert light.label(CHARLSON) == 4  # 1 + 6 + 2
    light.take(encounter(*FIRST, identifier=visit))
    assert light.label(CHARLSON) == 3


def test_an_identifier_of_two_encounters_names_neither(light: Hospital) -> None:
    account = [{"system": "urn:account", "value": "9"}]
    light.take(condition(of=None, encounter={"identifier": account[0]}), encounter(*FIRST, identifier=account))
    assert light.label(CHARLSON) == 1
    light.take(encounter("e2", *FIRST[1:], patient="p2", identifier=account))
    assert (light.label(CHARLSON), light.label(CHARLSON, "Encounter/e2")) == ("no-codes", "no-codes")


def test_another_patient_or_another_encounter_moves_the_labels(light: Hospital) -> None:
    light.take(encounter(*FIRST), encounter("e2", "2026-03-20T08:00:00Z", "2026-03-21T08:00:00Z"), condition(),
               later_stay())  # fmt: skip
    assert (light.label(READMISSION), light.label(CHARLSON)) == (1, 1)
    light.take(encounter("e2", "2026-03-20T08:00:00Z", "2026-03-21T08:00:00Z", patient="p2"))
    assert light.label(READMISSION) == 0
    light.take(condition(of="Encounter/e2"))
    assert (light.label(CHARLSON), light.label(CHARLSON, "Encounter/e2")) == ("no-codes", 1)


def test_rewritten_links_leave_no_old_names(light: Hospital) -> None:
    light.take(encounter(*FIRST, identifier=[{"value": "a"}]))
    light.take(encounter(*FIRST, identifier=[{"value": "b"}]))
    links = light.store.read(links_of, [fact_id("ehr", "Encounter/e1")])
    assert {link.name for link in links if link.role == Role.ENCOUNTER} == {"Encounter/e1", "|b"}


def take_and_wait(
    transaction: Transaction, facts: list[Fact], context: LabelContext, began: threading.Event, other: threading.Event
) -> None:
    """Takes facts in and keeps the transaction open until the other writer is done, or a second has passed."""
    record_facts(transaction, "ehr", facts, context)
    began.set()
    other.wait(1)


def test_facts_that_come_at_once_to_two_writers_meet(url: str, hospital: Hospital) -> None:
    other = Hospital(Store(url, clock_ms=Clock()))
    began, done = threading.Event(), threading.Event()
    facts = [read_fact(condition(), hospital.reading)]

    def second() -> None:
        assert began.wait(20)
        other.take(encounter(*FIRST))
        done.set()

    with ThreadPoolExecutor(1) as threads:
        late = threads.submit(second)
        hospital.store.write(take_and_wait, facts, hospital.context, began, done)
        late.result(20)
    other.store.close()
    assert hospital.label(CHARLSON) == 1


def test_every_source_is_refreshed_to_the_end_and_counted(light: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    class Local:
        async def read(self, work: Any, *args: Any) -> Any:
            return light.store.read(work, *args)

        async def write(self, work: Any, *args: Any) -> Any:
            return light.store.write(work, *args)

    monkeypatch.setattr(refresh, "__defaults__", (None, 2))
    for source in ("ehr", "other"):
        light.take(
            *(encounter(f"{source}{number}", *FIRST[1:], patient=f"p{number}") for number in range(5)), source=source
        )
        light.take(later_stay(), source=source)
    before = metrics.outcomes_total.labels(READMISSION, "no")._value.get()
    written = asyncio.run(refreshing.refresh_all(cast("Pipeline", Local()), light.context))
    assert [(each.task, each.option) for each in written] == [(READMISSION, 0)] * 10
    assert metrics.outcomes_total.labels(READMISSION, "no")._value.get() == before + 10
