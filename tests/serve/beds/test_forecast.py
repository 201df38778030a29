"""What a forecast must hold whatever the hospital: balance, one total, Bayes, clocks, and small or empty hospitals."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from serve.beds.census import HospitalCensus, Move, ScheduledArrival
from serve.beds.clock import HospitalClock
from serve.beds.forecast import BedForecast, forecast_beds
from serve.beds.model import BedModel, fit_bed_model
from tests.serve.beds.hospital import MORNING, NOW, census, scheduled, small_record, stay

CLOCK = HospitalClock(ZoneInfo("UTC"))
EASTERN = HospitalClock(ZoneInfo("America/New_York"))


def forecast(found: HospitalCensus, clock: HospitalClock = CLOCK, days: int = 7) -> BedForecast:
    return forecast_beds(found, fit_bed_model(found, clock), clock, days)


@pytest.fixture(scope="module")
def invented() -> tuple[HospitalCensus, BedModel]:
    past = small_record().census(MORNING, 150)
    return past, fit_bed_model(past, EASTERN)


def test_patients_are_neither_made_nor_lost(invented: tuple[HospitalCensus, BedModel]) -> None:
    found, model = invented
    made = forecast_beds(found, model, EASTERN, 7)
    came = made.expected_scheduled + made.expected_unscheduled
    balance = len(found.stays) + np.cumsum((came - made.expected_departures).sum(axis=0))
    assert made.expected_occupancy.sum(axis=0) == pytest.approx(balance, abs=1e-9)
    assert made.net_transfers.sum(axis=0) == pytest.approx(np.zeros(7), abs=1e-9)


def test_laws_have_the_expected_means(invented: tuple[HospitalCensus, BedModel]) -> None:
    """The shock is centred, so the plain expectation is the mean of the mixed law."""
    found, model = invented
    made = forecast_beds(found, model, EASTERN, 7)
    assert made.occupancy.mean() == pytest.approx(made.expected_occupancy.sum(axis=0), rel=0.005)
    assert made.departures.mean() == pytest.approx(made.expected_departures.sum(axis=0), rel=0.01)
    assert made.unit_occupancy.mean() == pytest.approx(made.expected_occupancy, rel=0.01, abs=0.02)


def test_the_hospitals_interval_is_not_the_sum_of_the_units(invented: tuple[HospitalCensus, BedModel]) -> None:
    found, model = invented
    made = forecast_beds(found, model, EASTERN, 7)

    def variance(mass: np.ndarray, start: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        counts = start[..., None] + np.arange(mass.shape[-1])
        mean = (mass * counts).sum(axis=-1)
        return np.asarray((mass * counts**2).sum(axis=-1) - mean**2)

    whole = variance(made.occupancy.mass, made.occupancy.start)
    units = variance(made.unit_occupancy.mass, made.unit_occupancy.start)
    assert (np.sqrt(whole) < np.sqrt(units).sum(axis=0)).all()
    assert (whole > 0.5 * units.sum(axis=0)).all()


def test_scores_move_the_forecast() -> None:
    soon = forecast(census(*(stay(f"e{n}", los=(0.97, 0.01, 0.01, 0.01)) for n in range(20))))
    late = forecast(census(*(stay(f"e{n}", los=(0.01, 0.01, 0.01, 0.97)) for n in range(20))))
    assert soon.expected_occupancy[0, 1] < 8 < 17 < late.expected_occupancy[0, 1]


def test_in_the_evening_fewer_are_still_to_leave() -> None:
    """Of patients who should leave today, most of those still in at ten at night stay the night."""

    def leaving(hour: int) -> float:
        found = census(*(stay(f"e{n}", days_ago=2.0, los=(0.9, 0.05, 0.03, 0.02)) for n in range(20)))
        now = NOW.replace(hour=hour)
        return float(forecast(replace(found, now=now)).expected_departures[0, 0])

    assert leaving(7) > 14
    assert leaving(22) < 6


def test_days_already_stayed_count() -> None:
    def tomorrow(days_ago: float) -> float:
        found = census(*(stay(f"e{n}", days_ago=days_ago, los=(0.5, 0.3, 0.1, 0.1)) for n in range(10)))
        return float(forecast(found).expected_occupancy[0, 0])

    # On day 3 all who are 0-2 are gone: 3 days is the likeliest. On day 7 only the open class is left.
    assert tomorrow(3.0) < tomorrow(7.0)


def test_a_plan_for_today_is_taken_and_an_old_one_forgotten() -> None:
    def tonight(planned_in_days: float | None) -> float:
        plan = None if planned_in_days is None else NOW + timedelta(days=planned_in_days)
        found = census(*(stay(f"e{n}", days_ago=9.0, planned_discharge=plan) for n in range(10)))
        return float(forecast(found).expected_occupancy[0, 0])

    assert tonight(0.2) < tonight(None) - 2
    assert tonight(3) > tonight(None)
    assert tonight(-9) == pytest.approx(tonight(None))


def test_bookings_come_at_their_rate_on_their_day() -> None:
    made = forecast(census(*(), scheduled=tuple(scheduled(hours_ahead=26) for _ in range(10))))
    assert made.expected_scheduled[0, :3] == pytest.approx([0, 9.5, 0])
    assert 8 < made.expected_occupancy[0, 1] < 9.5


def test_a_booking_of_this_morning_that_has_not_come_is_still_expected() -> None:
    made = forecast(census(scheduled=(ScheduledArrival("Ward", NOW - timedelta(hours=2)),)))
    assert made.expected_scheduled[0, 0] == pytest.approx(0.95)


def test_transfers_fill_the_next_unit() -> None:
    past = tuple(
        stay(
            f"p{n}",
            "Ward",
            30 - n % 20,
            26 - n % 20,
            moves=(Move(NOW - timedelta(days=29 - n % 20), "Intensive care"),),
        )
        for n in range(300)
    )
    found = census(*(stay(f"e{n}", "Intensive care", 1.0) for n in range(10)), history=past)
    made = forecast(found)
    names = list(made.units.names)
    care, ward = names.index("Intensive care"), names.index("Ward")
    assert made.net_transfers[care, 0] < -3
    assert made.net_transfers[ward, 0] == pytest.approx(-made.net_transfers[care, 0])


def test_patients_without_a_unit_are_in_the_total() -> None:
    made = forecast(census(stay("a", None), stay("b", "Ward")))
    assert made.units.names == ("Ward", None)
    assert made.expected_occupancy[:, 0].sum() > 1


def test_an_empty_hospital() -> None:
    made = forecast(census())
    assert made.expected_occupancy.sum() == 0
    assert made.occupancy.mass[:, 0] == pytest.approx(np.ones(7))


def test_who_is_not_in_does_not_count() -> None:
    ghosts = (
        stay("planned", days_ago=-1.0, status="planned"),
        stay("void", status="entered-in-error"),
        stay("over", status="finished"),
    )
    assert forecast(census(*ghosts)).expected_occupancy.sum() == 0


def test_a_day_ends_at_the_census_hour() -> None:
    clock = HospitalClock(ZoneInfo("Europe/Berlin"), census_hour=7)
    now = datetime(2026, 11, 20, 5, 30, tzinfo=UTC)  # 06:30 there
    days = clock.census_days(now, 2)
    assert [(str(day.date), day.ends.isoformat()) for day in days] == [
        ("2026-11-20", "2026-11-20T07:00:00+01:00"),
        ("2026-11-21", "2026-11-21T07:00:00+01:00"),
    ]
    found = replace(census(*(stay(f"e{n}") for n in range(10))), now=now)
    made = forecast_beds(found, fit_bed_model(found, clock), clock, 2)
    # Half an hour before the count nearly everybody is still there.
    assert made.expected_occupancy[0, 0] > 9.8
    assert made.expected_occupancy.sum(axis=0) == pytest.approx(10 - np.cumsum(made.expected_departures.sum(axis=0)))


def test_after_todays_count_the_next_is_tomorrows() -> None:
    clock = HospitalClock(ZoneInfo("UTC"), census_hour=7)
    assert [day.date.day for day in clock.census_days(NOW, 2)] == [21, 22]  # NOW is 07:30 on the 20th


def test_the_night_the_clocks_change_is_one_day() -> None:
    days = EASTERN.census_days(datetime(2026, 10, 31, 16, tzinfo=UTC), 3)
    assert [day.date.day for day in days] == [31, 1, 2]
    lengths = [(day.ends.astimezone(UTC) - day.begins.astimezone(UTC)) / timedelta(hours=1) for day in days]
    assert lengths == [12, 25, 24]


def test_a_quiet_morning_lowers_the_rest_of_the_day(invented: tuple[HospitalCensus, BedModel]) -> None:
    found, model = invented
    afternoon = small_record().census(MORNING + 8 * 60, 1)
    day = afternoon.now.date()
    quiet = replace(
        afternoon,
        stays=tuple(each for each in afternoon.stays if each.admitted.date() != day),
        history=tuple(each for each in afternoon.history if each.admitted.date() != day),
    )
    usual, calm = (forecast_beds(each, model, EASTERN, 2) for each in (afternoon, quiet))
    assert calm.expected_unscheduled[:, 0].sum() < usual.expected_unscheduled[:, 0].sum()
    assert calm.expected_unscheduled[:, 1] == pytest.approx(usual.expected_unscheduled[:, 1])
    assert found.staffed_beds
