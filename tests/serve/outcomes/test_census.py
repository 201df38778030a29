"""The census that the bed forecast reads."""

from __future__ import annotations

from typing import Any

from lang1.tasks import BUILT_IN
from serve.store.core import Store
from serve.store.facts import Census, CensusArrival, CensusMove, census
from tests.serve.outcomes.resources import LENGTH, NOW, Hospital, encounter
from tests.serve.outcomes.test_joined import score

NOW_MS = int(NOW.timestamp() * 1000)
HOUR = 3_600_000
DAY = 24 * HOUR


def place(name: str, start: str | None = None, end: str | None = None, **more: Any) -> dict[str, Any]:
    period = {key: value for key, value in (("start", start), ("end", end)) if value}
    return {"location": {"display": name}, **({"period": period} if period else {}), **more}


def counted(hospital: Hospital, **options: Any) -> Census:
    return hospital.store.read(census, hospital.context, BUILT_IN[LENGTH], NOW_MS, 30, **options)


def test_who_is_in_who_left_and_who_is_expected(store: Store) -> None:
    hospital = Hospital(store)
    hospital.take(
        encounter("in", "2026-11-20T12:00:00Z", location=[place("Cardiology")]),
        encounter("left", "2026-10-01T12:00:00Z", "2026-11-01T12:00:00Z", location=[place("Surgery")]),
        encounter("long-ago", "2026-09-01T12:00:00Z", "2026-09-05T12:00:00Z"),
        encounter("visit", "2026-11-20T12:00:00Z", kind="EMER"),
        encounter("error", "2026-11-20T12:00:00Z", status="entered-in-error"),
        encounter("ahead", "2026-11-23", status="planned", location=[place("Surgery", status="planned")]),
        encounter("booked", "2026-11-24T09:00:00Z", status="planned", kind="PRENC"),
        encounter("stood-up", "2026-11-10T09:00:00Z", status="planned"),
        encounter("day-case", "2026-11-24T09:00:00Z", status="planned", kind="AMB"),
    )
    found = counted(hospital)
    assert [each.encounter for each in found.stays] == ["Encounter/in"]
    assert [each.encounter for each in found.history] == ["Encounter/left"]
    stay = found.stays[0]
    assert (stay.unit, stay.admitted_ms, stay.discharged_ms, stay.status) == (
        "Cardiology",
        NOW_MS - DAY,
        None,
        "in-progress",
    )
    assert (stay.probabilities, stay.moves, stay.scheduled, stay.booked_ms) == (None, (), False, None)
    assert sorted(found.scheduled, key=lambda each: each.at_ms) == [
        CensusArrival(None, NOW_MS - 11 * DAY - 3 * HOUR, False), CensusArrival("Surgery", NOW_MS + 2 * DAY, None),
        CensusArrival(None, NOW_MS + 3 * DAY - 3 * HOUR, None),
    ]  # fmt: skip
    assert found.last_update_ms is not None
    assert counted(hospital, source="nobody").stays == ()
    assert counted(hospital, source="ehr").stays == found.stays


def test_units_with_times_are_moves(light: Hospital) -> None:
    beds = {"coding": [{"code": "bd"}]}
    ward = {"coding": [{"code": "wa"}]}
    light.take(
        encounter(
            "e1", "2026-11-18T12:00:00Z",
            location=[
                place("ICU", "2026-11-19T12:00:00Z", "2026-11-20T12:00:00Z", status="completed", physicalType=ward),
                place("Bed 7", "2026-11-20T12:00:00Z", physicalType=beds),
                place("Ward 3", "2026-11-20T12:00:00Z", status="active", physicalType=ward),
                place("Emergency", status="completed", end="2026-11-19T12:00:00Z", physicalType=ward),
            ],
        )
    )  # fmt: skip
    (stay,) = counted(light).stays
    assert stay.unit == "Ward 3"
    assert stay.moves == (CensusMove(NOW_MS - 2 * DAY, "Emergency"), CensusMove(NOW_MS - DAY, "ICU"))


def test_an_encounter_that_names_its_present_unit_alone_tells_moves_by_its_versions(light: Hospital) -> None:
    versions = [
        encounter("e1", "2026-11-18T12:00:00Z", location=[place(unit)], updated=f"2026-11-{day}T12:00:00Z")
        for unit, day in (("A", 18), ("A", 19), ("B", 20), ("B", 21))
    ]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        for number in order:
            light.take(versions[number])
        (stay,) = counted(light).stays
        assert (stay.unit, stay.moves) == ("B", (CensusMove(NOW_MS - DAY, "A"),))


def test_plans_bookings_and_scores(light: Hospital) -> None:
    booked = encounter("e1", "2026-11-19T08:00:00Z", status="planned", updated="2026-11-01T00:00:00Z")
    light.take(booked)
    for day, plan in ((19, "2026-11-23T10:00:00Z"), (20, "2026-11-22T10:00:00Z"), (21, "2026-11-22T10:00:00Z")):
        light.take(
            encounter("e1", "2026-11-19T09:00:00Z", plan, status="in-progress", updated=f"2026-11-{day}T10:00:00Z")
        )
    score(light.store, "d1", "Encounter/e1", "2026-11-19T10:00:00+00:00")
    score(light.store, "d2", "Encounter/e1", "2026-11-20T10:00:00+00:00", probabilities=(1.0, 0.0, 0.0, 0.0))
    found = counted(light)
    (stay,) = found.stays
    assert (stay.planned_discharge_ms, stay.planned_recorded_ms) == (NOW_MS + 22 * HOUR, NOW_MS - 26 * HOUR)
    assert (stay.scheduled, stay.booked_ms) == (True, NOW_MS - 20 * DAY - 12 * HOUR)
    assert (stay.probabilities, stay.scored_ms) == ((1.0, 0.0, 0.0, 0.0), NOW_MS - 26 * HOUR)
    assert found.scheduled == (CensusArrival(None, NOW_MS - 51 * HOUR, True),)
    light.take(encounter("e1", "2026-11-19T09:00:00Z", "2026-11-21T11:00:00Z", updated="2026-11-21T11:00:00Z"))
    (over,) = counted(light).history
    assert (over.planned_discharge_ms, over.discharged_ms) == (NOW_MS + 22 * HOUR, NOW_MS - HOUR)
