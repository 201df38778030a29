"""Searching for what changed: all of it once, over restarts, equal times, page borders and servers that cannot sort."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from fhir_adapters.client.errors import FhirServerError
from serve.ehr.connection import make_client
from serve.errors import SettingsError
from serve.intake.feeds import read_cursor
from serve.intake.polling import Feeds
from serve.intake.rows import backlog, listed
from serve.intake.worker import FreshResources
from serve.settings import load_settings
from serve.store.core import Store
from tests.ehr.server import TestEhr
from tests.serve.intake.parts import InstantScorer, Running, make_pipeline, run, texts, until
from tests.serve.notes import TEXT, document

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def feeds(store: Store, ehr: TestEhr, **options: object) -> Feeds:
    given = {"fhir_base_url": ehr.url, "poll_every_s": 1, "poll_since": at(0), "poll_overlap_s": 60, "ehr_timeout_s": 2,
             "state_dir": "/nonexistent"}  # fmt: skip
    settings = load_settings(**{**given, **options})
    client = make_client(settings)
    assert client is not None
    return Feeds(settings, make_pipeline(store, InstantScorer()), client, FreshResources())


def rows(store: Store) -> list[str]:
    return [each.reference.partition("/")[2] for each in store.read(listed, ("pending",), (), 10_000)[1]]


def since(store: Store) -> int:
    state = store.read(read_cursor, "poll:DocumentReference")
    assert state is not None
    return int(state["since_ms"])


def poll(made: Feeds, resource_type: str = "DocumentReference") -> int:
    return asyncio.run(made.poll(resource_type))


def test_everything_is_found_once_over_page_borders_and_equal_times(sqlite: Store, ehr: TestEhr) -> None:
    # Whole pages of one millisecond, before and behind the border.
    for place in range(230):
        ehr.add(document(id=f"n{place}"), last_updated=at(5 if place < 120 else 6))
    made = feeds(sqlite, ehr)
    assert poll(made) == 230
    assert sorted(rows(sqlite)) == sorted(f"n{place}" for place in range(230))
    ehr.add(document(id="same-time"), last_updated=at(6))
    assert poll(made) == 1
    assert poll(made) == 0
    assert len(rows(sqlite)) == 231


def test_a_restart_goes_on_where_the_search_ended(sqlite: Store, ehr: TestEhr) -> None:
    ehr.add(document(id="1"), last_updated=at(5))
    assert poll(feeds(sqlite, ehr)) == 1
    ehr.add(document(id="2"), last_updated=at(6))
    ehr.clear_requests()
    assert poll(feeds(sqlite, ehr)) == 1
    (asked,) = ehr.requests("GET", "/DocumentReference")
    assert dict(asked.query)["_lastUpdated"] == f"ge{at(4)}"
    assert rows(sqlite) == ["1", "2"]


def test_what_turns_up_late_within_the_overlap_is_found(sqlite: Store, ehr: TestEhr) -> None:
    made = feeds(sqlite, ehr)
    ehr.add(document(id="1"), last_updated=at(5))
    assert poll(made) == 1
    ehr.add(document(id="late"), last_updated=at(4.2))
    assert poll(made) == 1
    ehr.add(document(id="too-late"), last_updated=at(3.9))
    assert poll(made) == 0


def test_a_new_version_is_found_again_and_the_same_is_not(sqlite: Store, ehr: TestEhr) -> None:
    made = feeds(sqlite, ehr)
    ehr.add(document(id="1"), last_updated=at(5))
    poll(made)
    ehr.add(document(id="1", docStatus="final"), last_updated=at(5))
    assert poll(made) == 1
    assert rows(sqlite) == ["1", "1"]


def test_a_search_that_breaks_off_keeps_what_came_and_asks_for_the_rest(sqlite: Store, ehr: TestEhr) -> None:
    for place in range(250):
        ehr.add(document(id=f"n{place}"), last_updated=at(place))
    ehr.faults.status(400, path="/fhir$")  # the second page
    made = feeds(sqlite, ehr)
    with pytest.raises(FhirServerError):
        poll(made)
    assert len(rows(sqlite)) == 100
    ehr.clear_requests()
    poll(feeds(sqlite, ehr))
    assert len(set(rows(sqlite))) == 250
    assert dict(ehr.requests("GET", "/DocumentReference")[0].query)["_lastUpdated"] == f"ge{at(98)}"


def test_a_server_that_cannot_sort_is_read_to_the_end_before_the_cursor_moves(sqlite: Store, ehr: TestEhr) -> None:
    for place in reversed(range(150)):
        ehr.add(document(id=f"n{place}"), last_updated=at(place))
    ehr.faults.status(400, path="DocumentReference", code="not-supported")
    ehr.faults.status(400, path="/fhir$")
    made = feeds(sqlite, ehr)
    with pytest.raises(FhirServerError):
        poll(made)
    assert since(sqlite) == int(START.timestamp() * 1000)
    assert poll(made) == 50
    assert "_sort" not in dict(ehr.requests("GET", "/DocumentReference")[-1].query)
    assert since(sqlite) == int((START + timedelta(minutes=149)).timestamp() * 1000)


def test_a_resource_from_the_future_hides_nothing(sqlite: Store, ehr: TestEhr) -> None:
    made = feeds(sqlite, ehr)
    ehr.add(document(id="future"), last_updated="2099-01-01T00:00:00.000Z")
    poll(made)
    ehr.add(document(id="now"))
    poll(made)
    assert rows(sqlite) == ["future", "now"]


def test_the_hospitals_own_search_parameters_go_along(sqlite: Store, ehr: TestEhr) -> None:
    made = feeds(sqlite, ehr, poll_search="status=current&_id=1,2", poll_types=("DocumentReference", "Encounter"))
    for place in "123":
        ehr.add(document(id=place), last_updated=at(1))
    assert poll(made) == 2
    ehr.clear_requests()
    poll(made, "Encounter")
    assert {name for name, _ in ehr.requests("GET")[0].query} == {"_lastUpdated", "_count", "_sort"}


@pytest.mark.parametrize("options", [
    {"poll_search": "_lastUpdated=ge2020"}, {"poll_search": "what"}, {"poll_types": ("Patient",)}, {"poll_types": ()},
    {"poll_since": "yesterday"}, {"poll_every_s": 0},
])  # fmt: skip
def test_settings_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        load_settings(**options)


def test_what_polling_finds_is_scored_from_what_the_search_gave(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr, poll_every_s=1, poll_since=at(0), notifications=False):
            for place in range(20):
                ehr.add(document(f"{TEXT} Number {place}.", id=f"n{place}"))
            ehr.add(document(id="draft", docStatus="preliminary"))
            await until(lambda: texts(sqlite) == 20)
            await until(lambda: sqlite.read(backlog).pending == 0)
            assert not [seen for seen in ehr.requests("GET") if "/DocumentReference/" in seen.path]
            ehr.add(document(id="draft", docStatus="final"))
            await until(lambda: texts(sqlite) == 21)

    run(check)


def test_polling_goes_on_after_the_server_was_away(sqlite: Store, ehr: TestEhr) -> None:
    async def check() -> None:
        async with Running(sqlite, ehr, poll_every_s=1, poll_since=at(0), ehr_timeout_s=0.3, notifications=False):
            with ehr.down():
                await asyncio.sleep(0.5)
            ehr.add(document(id="1"))
            await until(lambda: texts(sqlite) == 1)

    run(check)
