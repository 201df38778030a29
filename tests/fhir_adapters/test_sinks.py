"""What scores are written back as: valid R4 in every shape, deterministic, and known again."""

from __future__ import annotations

import base64
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest

from fhir_adapters import canonical
from fhir_adapters.assessment_record import AssessmentRecord
from fhir_adapters.sinks.every_sink import SINKS
from fhir_adapters.sinks.own_reports import DOCUMENT_CATEGORY_SYSTEM, REPORT_IDENTIFIER_SYSTEM, is_own_report
from fhir_adapters.sinks.sink import Sink, WriteBack
from lang1.tasks import BUILT_IN
from tests.fhir_adapters.samples import document
from tests.fhir_adapters.test_risk_assessment import EVERY_TASK, records
from tests.node_validator import validate_r4

EVERY_SINK = pytest.mark.parametrize("sink", SINKS.values(), ids=list(SINKS))
STATUSES = ("final", "cancelled", "entered-in-error")
NOTE_KEY = "5b0a4a5e-6f0e-5d0c-9c57-1f4b7f1f5a11"
SHAPES: list[dict[str, Any]] = [
    {},
    {"demo": False},
    {"document_id": None},
    {"document_id": None, "document_identifier": None},
    {"subject": None, "subject_identifier": "urn:mrn|5"},
    {"encounter": None, "encounter_identifier": None},
    {"preliminary": True, "dropped_tokens": 9, "note_type_match": False, "note_type": None},
    {"model_name": 'A & B <model> "x"', "model_version": "1+2 <3>", "risk_level": "high"},
]


def write_back(sink: Sink, task: str | None = None, *, scale: Any = 1, **changes: Any) -> WriteBack:
    """Of one task, or for a sink of whole notes of all of them."""
    made = [replace(record, **changes) for record in records().values()]
    chosen = made if sink.per_note else [each for each in made if each.task == (task or made[0].task)]
    return sink.write_back(chosen, NOTE_KEY, BUILT_IN, probability_scale=scale)


def every_shape() -> list[dict[str, Any]]:
    made = []
    for sink in SINKS.values():
        for task in BUILT_IN:
            made += [write_back(sink, task, **shape).resource for shape in SHAPES]
            made += [write_back(sink, task, status=status).resource for status in STATUSES]
            made.append(write_back(sink, task, scale=100).resource)
            if sink.per_note:
                break
    return made


def report_text(resource: dict[str, Any]) -> str:
    return base64.b64decode(resource["content"][0]["attachment"]["data"]).decode()


def test_every_shape_is_valid_r4b() -> None:
    for resource in every_shape():
        name = resource["resourceType"]
        getattr(import_module(f"fhir.resources.R4B.{name.lower()}"), name).model_validate(resource)


def test_every_shape_is_valid_r4_to_others() -> None:
    made = every_shape()
    assert validate_r4(made) == [[]] * len(made)


def test_the_other_validators_refuse_a_broken_one() -> None:
    observation = write_back(SINKS["observation"]).resource
    report = write_back(SINKS["document-report"]).resource
    broken = [
        {**observation, "status": "cancelled-by-us"},
        {**observation, "performer": [{"display": 5}]},
        {**report, "relatesTo": [{"code": "adds"}]},
        {**report, "content": []},
    ]
    assert all(validate_r4(broken))


@EVERY_SINK
def test_a_resource_carries_nothing_that_the_server_sets(sink: Sink) -> None:
    resource = write_back(sink).resource
    assert "id" not in resource
    assert not {"versionId", "lastUpdated"} & resource["meta"].keys()
    assert "meta" not in resource or resource["meta"]["tag"][-1]["code"] == "HTEST"
    assert (resource["resourceType"], sink.resource_type) == (sink.resource_type, write_back(sink).resource_type)


@EVERY_SINK
def test_the_same_score_is_the_same_resource_and_another_is_not(sink: Sink) -> None:
    first = write_back(sink)
    assert first == write_back(sink)
    system, _, value = first.token.partition("|")
    assert first.resource["identifier"] == [{"system": system, "value": value}]
    # What happens to the score changes the resource and neither its identifier nor its id.
    withdrawn = write_back(sink, status="entered-in-error", version=2)
    assert (withdrawn.token, withdrawn.resource_id) == (first.token, first.resource_id)
    other = replace(records()["length_of_stay"], identifier="f" * 64, bundle_sha256="f" * 64)
    changed = sink.write_back([other], NOTE_KEY, BUILT_IN)
    assert changed.token != first.token
    assert changed.resource_id != first.resource_id
    assert len({write_back(each).token for each in SINKS.values()}) == len(SINKS)


@EVERY_SINK
@pytest.mark.parametrize("status", STATUSES)
def test_standing_is_shown_in_status_and_words(sink: Sink, status: str) -> None:
    resource = write_back(sink, status=status).resource
    shown = {"final": "current", "cancelled": "superseded"}.get(status, status) if sink.per_note else status
    words = {"cancelled": "WITHDRAWN", "entered-in-error": "ENTERED IN ERROR"}.get(status)
    assert resource["status"] == shown
    places = [resource["text"]["div"]] + ([report_text(resource)] if sink.per_note else [])
    for place in places:
        assert ("WITHDRAWN" in place or "ENTERED IN ERROR" in place) is (words is not None)
        assert words is None or words in place


@EVERY_SINK
def test_standing_goes_forward_and_back_only_where_it_was_withdrawn_here(sink: Sink) -> None:
    final, cancelled, error = (write_back(sink, status=each) for each in STATUSES)
    again = write_back(sink, status="final", version=3)

    def becomes(current: WriteBack, wanted: WriteBack) -> str | None:
        changed = sink.changed({**current.resource, "id": "7", "extra": 1}, wanted)
        assert changed is None or (changed["id"], changed["extra"]) == ("7", 1)
        return None if changed is None else changed["status"]

    assert becomes(final, cancelled) == cancelled.resource["status"]
    assert becomes(cancelled, error) == becomes(final, error) == "entered-in-error"
    assert becomes(cancelled, again) == final.resource["status"]
    for current, wanted in ((final, final), (cancelled, final), (error, final), (error, cancelled), (error, again)):
        assert becomes(current, wanted) is None


@EVERY_TASK
@pytest.mark.parametrize("scale", [1, 100])
def test_an_observation_has_a_value_or_a_component_an_option(task: Any, scale: Any) -> None:
    record = records()[task.name]
    resource = write_back(SINKS["observation"], task.name, scale=scale).resource
    parts = [resource] if task.kind == "binary" else resource["component"]
    shown = [part["valueQuantity"] for part in parts]
    unit = {"system": canonical.UCUM_SYSTEM, "code": "%" if scale == 100 else "1"}
    assert all(unit.items() <= each.items() for each in shown)
    expected = [record.adverse_probability] if task.kind == "binary" else record.probabilities
    assert [each["value"] for each in shown] == pytest.approx([each * scale for each in expected], rel=1e-5)
    assert resource["category"][0]["coding"][0]["code"] == "survey"
    assert resource["code"]["coding"][0]["code"] == task.name
    assert resource["derivedFrom"][0]["reference"].startswith("DocumentReference/note-1")
    assert resource["device"]["reference"] == "#model"
    assert "performer" not in resource, "R4 lets no device perform an observation"


@pytest.mark.parametrize(("level", "flag"), [("low", []), ("moderate", []), ("high", ["H"])])
def test_a_high_risk_is_flagged_and_no_other(level: str, flag: list[str]) -> None:
    (shown,) = write_back(SINKS["observation"], risk_level=level).resource["interpretation"]
    assert [each["code"] for each in shown["coding"]] == [*flag, level]


def test_a_report_holds_every_risk_of_its_note() -> None:
    resource = write_back(SINKS["document-report"]).resource
    text = report_text(resource)
    for record in records().values():
        assert f"{BUILT_IN[record.task].title}: {record.risk_level} risk" in text
    assert text.count("not a diagnosis") == text.count("not for care") == 1, "said once, not with each risk"
    assert resource["content"][0]["attachment"]["size"] == len(text.encode())
    assert resource["relatesTo"][0]["code"] == "appends"
    assert resource["context"]["encounter"] == [{"reference": "Encounter/9"}]
    assert resource["author"][0]["reference"] == "#model"


def test_a_report_of_more_risks_replaces_the_text() -> None:
    sink = SINKS["document-report"]
    every = list(records().values())
    less, more = (sink.write_back(each, NOTE_KEY, BUILT_IN) for each in (every[:2], every))
    assert less.token == more.token
    changed = sink.changed(less.resource, more)
    assert changed is not None
    assert changed["content"] == more.resource["content"]
    moved = {**more.resource, "content": [{"attachment": {**more.resource["content"][0]["attachment"], "url": "x"}}]}
    del moved["content"][0]["attachment"]["data"]
    assert sink.changed(moved, more) is None, "a server may keep the bytes elsewhere"


def test_a_report_is_known_as_our_own_by_any_one_mark() -> None:
    report = write_back(SINKS["document-report"]).resource
    unmarked = {name: value for name, value in report.items() if name not in ("identifier", "category", "meta")}
    assert is_own_report(report)
    assert not is_own_report(unmarked)
    for mark in ("identifier", "category", "meta"):
        assert is_own_report({**unmarked, mark: report[mark]}), mark
    assert is_own_report({**unmarked, "masterIdentifier": report["identifier"][0]})
    assert not is_own_report(document())


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"identifier": None, "category": 5, "meta": []},
        {"identifier": [None, "x", {"system": 5}], "meta": {"tag": "x"}, "category": [{"coding": 3}]},
        {"identifier": {"system": "elsewhere"}},
    ],
)
def test_any_json_can_be_asked_whether_it_is_ours(odd: dict[str, Any]) -> None:
    assert not is_own_report(odd)


def test_marks_are_under_the_canonical_base() -> None:
    assert REPORT_IDENTIFIER_SYSTEM.startswith(canonical.CANONICAL_BASE)
    assert DOCUMENT_CATEGORY_SYSTEM.startswith(canonical.CANONICAL_BASE)


def test_an_unknown_task_is_a_key_error() -> None:
    record: AssessmentRecord = replace(next(iter(records().values())), task="other")
    for sink in SINKS.values():
        with pytest.raises(KeyError):
            sink.write_back([record], NOTE_KEY, BUILT_IN)
