"""`GET /v1/beds/forecast`: its answer, its errors, and that no patient is in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from serve.beds.answer import BedForecastOut
from serve.beds.board import BedBoard
from serve.beds.census import HospitalCensus, Move
from serve.beds.settings import BedSettings
from serve.beds.units import load_units
from serve.errors import SettingsError
from tests.serve.beds.hospital import NOW, InventedSource, bed_app, census, shifted, stay

PHI = "Patient/margaret-oduya-1931"


class FixedSource:
    """One census, moved to the time asked for."""

    def __init__(self, found: HospitalCensus) -> None:
        self.found = found
        self.asked: list[int] = []

    async def census(self, now: datetime, history_days: int) -> HospitalCensus:
        self.asked.append(history_days)
        return shifted(self.found, now - self.found.now)


def client(found: HospitalCensus | InventedSource, **more: Any) -> TestClient:
    source = found if isinstance(found, InventedSource) else FixedSource(found)
    return TestClient(bed_app(source, **more))


def codes(answer: httpx.Response) -> set[str]:
    return {warning["code"] for warning in answer.json()["warnings"]}


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    response = client(InventedSource()).get("/v1/beds/forecast")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    return dict(response.json())


def test_the_answer_is_the_documented_one(answer: dict[str, Any]) -> None:
    parsed = BedForecastOut.model_validate(answer)
    assert parsed.model is not None
    assert parsed.model.demo
    assert len(parsed.hospital.days) == 7
    assert parsed.hospital.staffed_beds == sum(unit.staffed_beds or 0 for unit in parsed.units)
    assert parsed.hospital.counts.patients_in == sum(unit.counts.patients_in for unit in parsed.units)
    document = client(InventedSource()).get("/openapi.json").json()
    operation = document["paths"]["/v1/beds/forecast"]["get"]
    assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/BedForecastOut")
    days = next(each for each in operation["parameters"] if each["name"] == "days")
    assert days["schema"]["maximum"] == 14


def test_units_add_up_and_intervals_nest(answer: dict[str, Any]) -> None:
    for k, day in enumerate(answer["hospital"]["days"]):
        of_units = sum(unit["days"][k]["expected_occupancy"] for unit in answer["units"])
        assert day["expected_occupancy"] == pytest.approx(of_units, abs=0.06)
        for name in ("occupancy", "departures"):
            narrow, wide = day[f"{name}_80"], day[f"{name}_95"]
            assert narrow["probability"] >= 0.8 - 1e-4
            assert wide["probability"] >= 0.95 - 1e-4
            assert wide["high"] - wide["low"] >= narrow["high"] - narrow["low"]
            assert narrow["low"] <= day[f"expected_{name}"] <= narrow["high"]


def test_no_patient_is_in_the_answer() -> None:
    stays = tuple(
        stay(f"{PHI}-{number}", planned_discharge=NOW + timedelta(1), moves=(Move(NOW - timedelta(hours=3), "ED"),))
        for number in range(30)
    )
    response = client(census(*stays)).get("/v1/beds/forecast")
    assert "margaret" not in response.text
    # No moment of a stay either: an admission time can name somebody. What times there are belong to the forecast.
    times = {"generated_at", "last_update", "fitted_at", "begins", "census_at"}
    found: set[str] = set()

    def walk(value: Any, name: str = "") -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, key)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, name)
        elif isinstance(value, str) and value[:4].isdigit() and "T" in value:
            found.add(name)

    walk(response.json())
    assert found <= times


def test_a_unit_and_days_can_be_asked_for() -> None:
    source = InventedSource()
    response = client(source).get("/v1/beds/forecast?unit=Oncology&unit=Surgery&days=2")
    assert [unit["unit"] for unit in response.json()["units"]] == ["Surgery", "Oncology"]
    assert len(response.json()["hospital"]["days"]) == 2
    assert len(response.json()["unit_names"]) == 9


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("days=0", 422, "value"),
        ("days=15", 422, "value"),
        ("days=1.5", 422, "value"),
        ("days=", 422, "value"),
        ("unit=Ward%20of%20margaret", 404, "not-found"),
        ("ward=Surgery", 422, "value"),
        ("&".join(["unit=x"] * 201), 422, "too-long"),
    ],
)
def test_a_wrong_question_is_named_and_not_repeated(query: str, status: int, code: str) -> None:
    response = client(census(stay())).get(f"/v1/beds/forecast?{query}")
    assert response.status_code == status
    assert response.json()["code"] == code
    assert response.headers["content-type"] == "application/problem+json"
    assert "margaret" not in response.text


def test_the_model_is_fitted_once_and_again_when_a_unit_is_new() -> None:
    source = FixedSource(census(stay()))
    asking = TestClient(bed_app(source, beds_history_days=90))
    for _ in range(3):
        assert asking.get("/v1/beds/forecast").status_code == 200
    assert source.asked.count(90) == 1
    source.found = census(stay(), stay("e2", "New ward"))
    assert "New ward" in asking.get("/v1/beds/forecast").json()["unit_names"]
    assert source.asked.count(90) == 2


def test_without_a_scorer_the_forecast_stands() -> None:
    response = client(census(stay()), away=True).get("/v1/beds/forecast")
    assert response.status_code == 200
    assert response.json()["model"] is None


def test_what_is_doubtful_is_said() -> None:
    bad = census(
        *(stay(f"e{n}", los=(0.25,) * 4 if n < 5 else None) for n in range(10)),
        stay("old", days_ago=900.0),
        stay("homeless", None),
    )
    response = client(replace(bad, last_update=NOW - timedelta(hours=3))).get("/v1/beds/forecast")
    assert codes(response) == {
        "stale-data", "short-history", "unscored", "no-staffed-beds", "no-units", "open-encounters",
    }  # fmt: skip
    assert response.json()["hospital"]["counts"]["patients_in"] == 11
    assert response.json()["hospital"]["days"][0]["probability_over_staffed"] is None


def test_nothing_is_doubtful_about_a_well_kept_record(answer: dict[str, Any]) -> None:
    assert answer["warnings"] == []
    assert not answer["data"]["stale"]


def test_scores_of_a_model_with_other_classes_are_no_scores() -> None:
    response = client(census(stay(los=(0.5, 0.5)))).get("/v1/beds/forecast")
    assert response.json()["hospital"]["counts"] == {
        "patients_in": 1, "scored": 0, "unscored": 1, "overdue": 0, "arrived_today": 0, "departed_today": 0,
    }  # fmt: skip


def test_today_counts_by_the_hospitals_day() -> None:
    """07:30 UTC is 02:30 in New York: who came 2 hours ago came today, who came 4 hours ago yesterday."""
    found = census(
        stay("today", days_ago=2 / 24),
        stay("yesterday", days_ago=4 / 24),
        stay("overdue", planned_discharge=NOW - timedelta(hours=4)),
        history=(stay("left", days_ago=3.0, left_days_ago=1 / 24), stay("before", days_ago=3.0, left_days_ago=4 / 24)),
    )
    counts = client_at(found, NOW)["hospital"]["counts"]
    assert (counts["arrived_today"], counts["departed_today"], counts["overdue"]) == (1, 1, 1)


def client_at(found: HospitalCensus, now: datetime, **settings: Any) -> dict[str, Any]:
    """The answer at a fixed time, past the route."""
    import asyncio

    board = BedBoard(FixedSource(found), BedSettings(**settings), "America/New_York")
    return dict(json.loads(asyncio.run(board.forecast(now, 3)).model_dump_json()))


def test_the_units_file_gives_beds_order_and_holidays(tmp_path: Path) -> None:
    file = tmp_path / "units.yaml"
    file.write_text("units:\n  Surgery: {staffed_beds: 20}\n  Ward: 2\nholidays: [2026-12-25]\n")
    found = census(*(stay(f"e{n}") for n in range(4)))
    units = client_at(found, NOW, beds_units_file=file)["units"]
    assert [(unit["unit"], unit["staffed_beds"]) for unit in units] == [("Surgery", 20), ("Ward", 2)]
    assert units[1]["days"][0]["probability_over_staffed"] > 0.3
    assert units[0]["days"][0]["expected_free_beds"] == pytest.approx(20)


@pytest.mark.parametrize(
    "text",
    [
        "units: [Ward]",
        "units: {Ward: -1}",
        "units: {Ward: many}",
        "wards: {}",
        "units: {Ward: !!python/name:x }",
        "- 1",
    ],
)
def test_a_wrong_units_file_refuses_the_start(tmp_path: Path, text: str) -> None:
    file = tmp_path / "units.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match="beds_units_file"):
        load_units(file)


def test_an_unknown_time_zone_refuses_the_start() -> None:
    with pytest.raises(SettingsError, match="hospital_timezone"):
        bed_app(InventedSource(), timezone="Mars/Olympus")


def test_the_page_allows_nothing_but_itself() -> None:
    asking = client(census(stay()))
    page = asking.get("/beds")
    assert page.headers["content-security-policy"].startswith(
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:"
    )
    for wanted in ("beds.css", "beds.js", "chart.js"):
        assert asking.get(f"/beds/static/{wanted}").status_code == 200
    for refused in ("..%2Fboard.py", "board.py", "beds.html"):
        assert asking.get(f"/beds/static/{refused}").status_code == 404


@pytest.mark.parametrize("change", [lambda c: c, lambda c: replace(c, history=())], ids=["history", "no history"])
def test_both_ends_of_the_horizon(change: Callable[[HospitalCensus], HospitalCensus]) -> None:
    asking = client(InventedSource(change=change))
    for days in (1, 14):
        assert len(asking.get(f"/v1/beds/forecast?days={days}").json()["hospital"]["days"]) == days
