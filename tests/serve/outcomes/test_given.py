"""Labels that the hospital gives: over the rule, by any name of the stay, before or after its facts."""

from __future__ import annotations

from serve.outcomes.coverage import coverage, coverage_json
from serve.outcomes.given import GivenOutcome, RecordedGiven, record_given
from serve.outcomes.keys import outcome_id
from serve.outcomes.written import outcomes_by_id
from tests.serve.outcomes.resources import LENGTH, MORTALITY, READMISSION, Hospital, encounter, later_stay

STAY = encounter("e1", "2026-03-02T08:00:00Z", "2026-03-06T12:00:00Z", identifier=[{"system": "urn:v", "value": "7"}])


def give(hospital: Hospital, task: str, option: int | None, reason: str | None = None,
         encounter: str = "Encounter/e1") -> RecordedGiven:  # fmt: skip
    row = GivenOutcome(encounter, task, option, reason, occurred_ms=5)
    return hospital.store.write(record_given, "ehr", [row], hospital.context)


def test_a_given_label_stands_over_the_rule_until_it_is_withdrawn(hospital: Hospital) -> None:
    hospital.take(STAY)
    assert hospital.label(LENGTH) == 2
    assert give(hospital, LENGTH, 3).changes == ("recorded",)
    assert give(hospital, LENGTH, 3).changes == ("unchanged",)
    row = hospital.outcomes()["Encounter/e1", LENGTH]
    assert (row["option"], row["origin"], row["known_ms"], row["changes"]) == (3, "given", 5, 1)
    hospital.take(encounter("e1", "2026-03-02T08:00:00Z", "2026-03-07T12:00:00Z"))
    assert hospital.label(LENGTH) == 3
    assert give(hospital, LENGTH, None).changes == ("withdrawn",)
    assert give(hospital, LENGTH, None).changes == ("unchanged",)
    assert hospital.label(LENGTH) == 2


def test_a_label_given_before_its_stay_finds_it(hospital: Hospital) -> None:
    give(hospital, MORTALITY, 1, encounter="urn:v|7")
    give(hospital, READMISSION, None, "no-value", encounter="Encounter/e1")
    assert hospital.labels() == {("urn:v|7", MORTALITY): 1, ("Encounter/e1", READMISSION): "no-value"}
    hospital.take(STAY, later_stay())
    assert (hospital.label(MORTALITY), hospital.label(READMISSION)) == (1, "no-value")
    gone = outcome_id("ehr", "urn:v|7", MORTALITY)
    assert hospital.store.read(outcomes_by_id, [gone]) == {}


def test_of_two_given_labels_of_one_stay_the_later_stands(light: Hospital) -> None:
    give(light, MORTALITY, 1, encounter="urn:v|7")
    give(light, MORTALITY, 0, encounter="Encounter/e1")
    light.take(STAY)
    assert light.label(MORTALITY) == 0


def test_a_given_label_outlives_the_encounter_entered_in_error(light: Hospital) -> None:
    light.take(STAY)
    give(light, LENGTH, 3)
    light.take(encounter(status="entered-in-error"))
    assert light.labels() == {("Encounter/e1", LENGTH): 3}


def test_coverage_counts_labels_and_why_there_is_none(light: Hospital) -> None:
    light.take(STAY, encounter("e2", patient="p2"), later_stay())
    give(light, MORTALITY, 1)
    found = light.store.read(coverage, light.context, None, None)
    own = found.tasks[MORTALITY]
    assert (own.labelled, own.open, own.given, own.changed) == ({1: 1, 0: 1}, {"not-over": 1}, 1, 1)
    assert found.complete_until_ms == {"ehr": 1795176000000}
    tasks = {task.name: task for task in light.context.tasks}
    assert coverage_json(found, tasks)["tasks"][1]["labelled"] == {"no": 1, "yes": 1}
    assert light.store.read(coverage, light.context, 10**15, None).tasks[MORTALITY].labelled == {}
