"""Scores joined to labels, as the monitor reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lang1.tasks import BUILT_IN
from serve.outcomes.given import GivenOutcome, record_given
from serve.outcomes.joined import LabelledPrediction, labelled, labelled_predictions
from serve.outcomes.refresh import refresh
from serve.store.core import Store
from serve.store.records import AuditEntry, NewNote, NewPrediction, note_key, prediction_id
from tests.serve.outcomes.conftest import Clock
from tests.serve.outcomes.resources import LENGTH, MORTALITY, NOW, READMISSION, Hospital, encounter, later_stay

BUNDLE = "b" * 64
STAY = ("2026-03-02T08:00:00Z", "2026-03-06T12:00:00Z")
FOREVER = (0, 10**14)


def score(
    store: Store, document: str, of: str | None, at: str, *, task: str = LENGTH, source: str = "ehr",
    match: bool = True, probabilities: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4), **more: Any,
) -> str:  # fmt: skip
    """A score given at a moment; its id."""
    key = note_key(source, document, "0" * 64)
    own_id = prediction_id(key, task, 1, BUNDLE)
    payload = {"probabilities": list(probabilities), "note_type_match": match, "note_type": "34117-2",
               "note_tokens": 300, "dropped_tokens": 0, "occurrence": at}  # fmt: skip
    note = NewNote(
        note_key=key, source=source, document=document, text_sha256="0" * 64, subject="Patient/p1", encounter=of,
        model_version="1", bundle_sha256=BUNDLE, predictions=(NewPrediction(own_id, task, 1, 0.4, payload),), **more,
    )  # fmt: skip
    store.commit([note], [AuditEntry("score", source, "r", (own_id,))])
    return own_id


def joined(hospital: Hospital, task: str = LENGTH, **changes: Any) -> dict[str, LabelledPrediction]:
    rows = labelled(hospital.store, BUILT_IN[task], *FOREVER, hospital.context)
    return {row.prediction_id: row for row in rows}


def test_a_score_meets_its_label_by_every_name_of_the_stay(store: Store) -> None:
    hospital = Hospital(store, base_url="https://ehr.example.org/fhir")
    names = ["Encounter/e1", "https://ehr.example.org/fhir/Encounter/e1", "Encounter/e1/_history/4", "urn:v|7",
             "Encounter?identifier=urn:v|7"]  # fmt: skip
    ids = [score(store, f"d{i}", name, "2026-03-02T09:00:00+00:00") for i, name in enumerate(names)]
    stranger = score(store, "d9", "Encounter/e9", "2026-03-02T09:00:00+00:00")
    bare = score(store, "d8", None, "2026-03-02T09:00:00+00:00")
    assert {row.option for row in joined(hospital).values()} == {None}
    hospital.take(encounter("e1", *STAY, identifier=[{"system": "urn:v", "value": "7"}]))
    found = joined(hospital)
    assert [(found[each].option, found[each].encounter) for each in ids] == [(2, "Encounter/e1")] * 5
    row = found[ids[0]]
    assert (row.known_ms, row.discharged_ms, row.excluded, row.shown_ms) == (1772798400000, 1772798400000, False, None)
    assert (row.probabilities, row.note_tokens, row.time_ms) == ((0.1, 0.2, 0.3, 0.4), 300, 1772442000000)
    assert (found[stranger].option, found[stranger].reason, found[stranger].excluded) == (None, None, False)
    assert bare not in found


def test_another_sources_score_meets_nothing_unless_it_uses_the_same_ids(lite: Store) -> None:
    hospital = Hospital(lite)
    own = score(lite, "d1", "Encounter/e1", "2026-03-02T09:00:00+00:00", source="notes")
    hospital.take(encounter("e1", *STAY))
    assert joined(hospital)[own].option is None
    assert joined(Hospital(lite, record_of_source={"notes": "ehr"}))[own].option == 2


def test_what_was_scored_after_the_outcome_is_no_prediction_of_it(light: Hospital) -> None:
    early, late = (score(light.store, f"d{at}", "Encounter/e1", at)
                   for at in ("2026-03-02T09:00:00+00:00", "2026-03-06T12:00:00+00:00"))  # fmt: skip
    light.take(encounter("e1", *STAY))
    found = joined(light)
    assert (found[early].option, found[late].option) == (2, None)
    assert (found[late].reason, found[late].excluded) == ("after-end", True)


def test_open_and_excluded_are_told_apart(light: Hospital) -> None:
    at = "2026-03-06T13:00:00+00:00"
    ids = {of: score(light.store, of, f"Encounter/{of}", at, task=READMISSION, probabilities=(0.5, 0.5))
           for of in ("open", "died", "visit")}  # fmt: skip
    light.take(
        encounter("open", *STAY), encounter("died", *STAY, patient="p2", disposition="exp"),
        encounter("visit", *STAY, patient="p3", kind="AMB"),
    )  # fmt: skip
    found = joined(light, READMISSION)
    assert {of: (found[each].reason, found[each].excluded) for of, each in ids.items()} == {
        "open": ("censored", False), "died": ("died", True), "visit": ("not-inpatient", True),
    }  # fmt: skip
    light.take(later_stay())
    light.store.write(refresh, "ehr", light.context)
    assert joined(light, READMISSION)[ids["open"]].option == 0


def test_a_given_label_of_an_unknown_stay_is_joined_by_its_name(light: Hospital) -> None:
    own = score(light.store, "d1", "urn:v|8", "2026-03-02T09:00:00+00:00", task=MORTALITY, probabilities=(0.5, 0.5))
    given = GivenOutcome("urn:v|8", MORTALITY, 1, None, 1_780_000_000_000)
    light.store.write(record_given, "ehr", [given], light.context)
    assert joined(light, MORTALITY)[own].option == 1


def test_scores_that_do_not_stand_or_do_not_match_are_left_out(light: Hospital) -> None:
    light.take(encounter("e1", *STAY))
    at = "2026-03-02T09:00:00+00:00"
    score(light.store, "DocumentReference/1", "Encounter/e1", at)
    other = score(light.store, "DocumentReference/2", "Encounter/e1", at, replaces=("DocumentReference/1",))
    score(light.store, "d3", "Encounter/e1", at, match=False)
    assert joined(light).keys() == {other}


def test_it_is_known_whether_the_score_was_shown(light: Hospital, clock: Clock) -> None:
    own = score(light.store, "d1", "Encounter/e1", "2026-03-02T09:00:00+00:00")
    light.store.commit((), [AuditEntry("show", "ehr", "r", (own,))])
    first = clock.ms
    light.store.commit((), [AuditEntry("show", "ehr", "r", (own,))])
    assert joined(light)[own].shown_ms == first


def test_pages_follow_the_record_and_the_window_is_that_of_the_scores(light: Hospital) -> None:
    days = [datetime(2026, 3, day, 9, tzinfo=UTC) for day in (1, 2, 3, 4, 5)]
    ids = [score(light.store, f"d{day.day}", "Encounter/e1", day.isoformat()) for day in days]
    task, window = BUILT_IN[LENGTH], (0, int(NOW.timestamp() * 1000) + 10**8)
    seen, after = [], None
    while True:
        page = light.store.read(labelled_predictions, task, *window, light.context, {}, after, 2)
        seen += [row.prediction_id for row in page.rows]
        if (after := page.after) is None:
            break
    assert sorted(seen) == sorted(ids)
    assert joined(light).keys() == set(ids)
    # They were recorded later than they say that they were given: only those in the window come.
    inside = light.store.read(
        labelled_predictions, task, int(days[1].timestamp() * 1000), window[1], light.context, {}
    ).rows  # fmt: skip
    assert {row.prediction_id for row in inside} == set(ids[1:])
