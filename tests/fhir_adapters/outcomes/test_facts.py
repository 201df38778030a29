"""Resources to facts: what is taken, what is refused, and what no error repeats."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fhir_adapters.errors import FhirInputError
from fhir_adapters.outcomes.codes import code_list
from fhir_adapters.outcomes.elements import canonical_name, literal_variants
from fhir_adapters.outcomes.facts import ClaimFact, DiagnosisFact, EncounterFact, Reading, Removal
from fhir_adapters.outcomes.mapping import MappingFileError, OutcomeMapping, load_outcome_mapping
from fhir_adapters.outcomes.reading import read_deletion, read_fact
from lang1.hospital_record import ClaimStatus
from tests.serve.outcomes.resources import NOW, answer, benefit, claim, coded, condition, encounter

NEW_YORK = ZoneInfo("America/New_York")
SYNTHEA = Path(__file__).resolve().parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not SYNTHEA.is_dir(), reason="../shared/data is absent")
STAY = ("2026-03-02T08:00:00Z", "2026-03-06T12:00:00Z")
HL7 = "http://terminology.hl7.org/CodeSystem"


def reading(**mapping: Any) -> Reading:
    return Reading(OutcomeMapping(**mapping), NEW_YORK, NOW, "https://ehr.example.org/fhir")


def stay(resource: dict[str, Any], **mapping: Any) -> EncounterFact:
    fact = read_fact(resource, reading(**mapping))
    assert isinstance(fact, EncounterFact)
    return fact


def hospitalization(**elements: Any) -> dict[str, Any]:
    return encounter("e1", *STAY, disposition=None, hospitalization=elements)


def test_an_encounter_is_read_whole() -> None:
    fact = stay(
        encounter(
            "e1", *STAY, updated="2026-03-06T13:00:00.250Z", version=7,
            identifier=[{"system": "urn:v", "value": "77"}, {"value": "x"}, {"system": "urn:nothing"}],
            subject={"reference": "https://ehr.example.org/fhir/Patient/p1/_history/3"},
            diagnosis=[
                {"condition": {"reference": "Condition/c1"}},
                {"condition": {"reference": "Condition/c2"}, "use": coded("differential", f"{HL7}/ex-diagnosistype")},
            ],
            location=[{"location": {"display": " 3  West "}}],
        )
    )  # fmt: skip
    assert fact.identity.names == ("Encounter/e1", "urn:v|77", "|x")
    assert (fact.identity.updated_ms, fact.identity.version) == (1772802000250, 7)
    assert (fact.subject, fact.conditions, fact.unit) == ("Patient/p1", ("Condition/c1",), "3 West")
    assert (fact.started_ms, fact.ended_ms, fact.died) == (1772438400000, 1772798400000, 0)
    assert (fact.inpatient, fact.left_out, fact.planned, fact.transferred_in, fact.newborn) == (True, *[False] * 4)


@pytest.mark.parametrize(
    ("kind", "inpatient", "left_out"),
    [("IMP", True, False), ("ACUTE", True, False), ("NONAC", True, True), ("OBSENC", False, False),
     ("SS", False, False), ("EMER", False, False), ("AMB", False, False), ("PRENC", False, False)],
)  # fmt: skip
def test_what_an_inpatient_stay_is(kind: str, inpatient: bool, left_out: bool) -> None:
    fact = stay(encounter("e1", *STAY, kind=kind))
    assert (fact.inpatient, fact.left_out) == (inpatient, left_out)


def test_a_code_of_another_system_is_not_taken_for_hl7s() -> None:
    other = {"system": "urn:local", "code": "IMP"}
    assert not stay(encounter("e1", *STAY) | {"class": other}).inpatient
    assert stay(encounter("e1", *STAY) | {"class": other}, inpatient_classes=("urn:local|IMP",)).inpatient


@pytest.mark.parametrize(
    ("disposition", "died"),
    [
        (coded("exp", f"{HL7}/discharge-disposition"), 1),
        (coded("snf", f"{HL7}/discharge-disposition"), 0),
        (coded("20", "http://www.nubc.org/patient-discharge"), 1),
        (coded("01", "https://www.nubc.org/CodeSystem/PatDischargeStatus"), 0),
        (coded("371828006", "http://snomed.info/sct"), 1),
        ({"text": " Expired "}, 1),
        ({"text": "To the mountains"}, -1),
        (coded("20", "urn:local"), -1),  # not UB-04's 20, so it is not understood
        (None, -1),
    ],
)
def test_who_died(disposition: dict[str, Any] | None, died: int) -> None:
    fact = stay(hospitalization(**({"dischargeDisposition": disposition} if disposition else {})))
    assert fact.died == died
    assert bool(fact.notes) == (died < 0 and disposition is not None)


def test_where_somebody_is_expected_to_go_is_no_survival_yet() -> None:
    home = {"hospitalization": {"dischargeDisposition": coded("home", f"{HL7}/discharge-disposition")}}
    assert stay(encounter("e1", STAY[0], **home)).died == -1
    gone = {"hospitalization": {"dischargeDisposition": coded("exp", f"{HL7}/discharge-disposition")}}
    assert stay(encounter("e1", STAY[0], **gone)).died == 1


def test_flags_by_code() -> None:
    assert stay(hospitalization(admitSource=coded("hosp-trans", f"{HL7}/admit-source"))).transferred_in
    assert stay(hospitalization(admitSource=coded("born", f"{HL7}/admit-source"))).newborn
    assert stay(encounter("e1", *STAY, priority=coded("EL", f"{HL7}/v3-ActPriority"))).planned
    assert stay(encounter("e1", *STAY, type=[{"text": "Elective"}])).planned
    assert stay(encounter("e1", *STAY, serviceType={"text": "Dialysis"})).left_out
    assert stay(encounter("e1", *STAY, serviceType=coded("179", f"{HL7}/service-type"))).left_out


@pytest.mark.parametrize("status", ["arrived", "triaged", "in-progress", "onleave"])
def test_the_end_of_a_stay_that_goes_on_is_a_plan(status: str) -> None:
    fact = stay(encounter("e1", *STAY, status=status))
    assert (fact.ended_ms, fact.planned_end_ms) == (None, 1772798400000)


def test_a_plan_of_its_own_extension_goes_first() -> None:
    url = "urn:planned"
    planned = {"extension": [{"url": url, "valueDateTime": "2026-03-05"}]}
    fact = stay(encounter("e1", *STAY, status="in-progress", **planned), planned_discharge_extension=url)
    assert fact.planned_end_ms == 1772730000000  # noon in New York


def test_a_booking_may_be_for_a_day_and_an_unknown_status_ends_with_its_period() -> None:
    assert stay(encounter("e1", "2026-12-01", status="planned")).started_ms == 1796144400000
    assert stay(encounter("e1", None, status="planned")).started_ms is None
    assert stay(encounter("e1", *STAY, status="unknown")).ended_ms == 1772798400000
    assert stay(encounter("e1", STAY[0], status="unknown")).ended_ms is None


@pytest.mark.parametrize(
    ("resource", "code", "words"),
    [
        (encounter("e1", None), "required", "period.start is missing"),
        (encounter("e1", "2026-03-02"), "value", "a date alone"),
        (encounter("e1", *STAY[:1], "2026-03-06"), "value", "a date alone"),
        (encounter("e1", STAY[0], status="finished"), "required", "period.end is missing"),
        (encounter("e1", "2027-03-02T08:00:00Z"), "value", "future"),
        (encounter("e1", *STAY, updated="2027-03-02T08:00:00Z"), "value", "future"),
        (encounter("e1", *STAY, updated="2026-03-02"), "value", "instant"),
        (encounter("e1", *STAY) | {"status": "banana"}, "code-invalid", "Encounter.status"),
        (encounter("e1", *STAY) | {"subject": {"display": "SECRET"}}, "required", "Encounter.subject"),
        (encounter("e1", *STAY) | {"subject": {"reference": "#p"}}, "required", "Encounter.subject"),
        (encounter("e1", *STAY) | {"subject": {"reference": "Patient/SECRET\x00"}}, "value", "cannot be kept"),
        (encounter("e1", *STAY) | {"subject": {"reference": "x" * 2000}}, "value", "cannot be kept"),
        ({**encounter("e1", *STAY), "id": "SECRET/1"}, "value", "R4 id"),
        ({key: value for key, value in encounter("e1", *STAY).items() if key != "id"}, "required", "neither an id"),
        ({**encounter("e1", *STAY), "SECRET": 1}, "structure", "does not define"),
        ({**encounter("e1", *STAY), "period": ["SECRET"]}, "value", "Encounter"),
        ({**condition(), "code": "SECRET"}, "value", "Condition"),
        (benefit() | {"outcome": "SECRET"}, "code-invalid", "outcome"),
        (claim(created="SECRET"), "value", "Claim.created"),
        ({"resourceType": "Patient", "id": "SECRET"}, "invalid", "resourceType"),
    ],
)
def test_what_cannot_be_taken_is_refused_without_its_content(resource: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(FhirInputError, match=words) as caught:
        read_fact(resource, reading())
    assert (caught.value.code, caught.value.status) == (code, 422)
    assert "SECRET" not in f"{caught.value}{caught.value.expression}"


def test_what_was_entered_in_error_needs_its_name_alone() -> None:
    bare = {"resourceType": "ClaimResponse", "id": "r1", "status": "entered-in-error"}
    assert isinstance(read_fact(bare, reading()), Removal)
    refuted = condition(verificationStatus=coded("refuted", f"{HL7}/condition-ver-status"))
    assert isinstance(read_fact(refuted, reading()), Removal)
    assert read_deletion("Encounter", "e1").deleted
    with pytest.raises(FhirInputError, match="not kept"):
        read_deletion("Patient", "p1")


def test_codes_of_a_condition() -> None:
    fact = read_fact(
        condition(
            code="x", of="Encounter/e1",
        ) | {"code": {"coding": [
            {"system": "http://hl7.org/fhir/sid/icd-9-cm", "code": "428.0"},
            {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "I50.9"},
            {"system": "http://snomed.info/sct", "code": "84114007"},
        ]}},
        reading(),
    )  # fmt: skip
    assert isinstance(fact, DiagnosisFact)
    assert (fact.codes, fact.encounters, fact.notes) == ((("428.0", 9), ("I50.9", 10)), ("Encounter/e1",), ())
    german = condition() | {"code": coded("I50.1", "http://fhir.de/CodeSystem/bfarm/icd-10-gm")}
    fact = read_fact(german, reading())
    assert isinstance(fact, DiagnosisFact)
    assert fact.codes == ()
    assert "icd_systems" in fact.notes[0]
    fact = read_fact(german, reading(icd_systems={"http://fhir.de/CodeSystem/bfarm/icd-10-gm": 10}))
    assert isinstance(fact, DiagnosisFact)
    assert fact.codes == (("I50.1", 10),)


def test_a_problem_of_the_list_counts_only_where_an_encounter_lists_it() -> None:
    fact = read_fact(condition(category=[coded("problem-list-item", f"{HL7}/condition-category")]), reading())
    assert isinstance(fact, DiagnosisFact)
    assert fact.encounters == ()
    assert "lists it" in fact.notes[0]


def money(value: object) -> dict[str, Any]:
    return {"value": value, "currency": "USD"}


DENIED_LINE = [{"category": coded("denialreason", "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication")}]
COPAY_LINE = [{"category": {"text": "copay"}, "amount": money(9)}]
PAID_LINE = [{"category": coded("benefit", f"{HL7}/adjudication"), "amount": money(10)}]


def lines(*adjudications: list[dict[str, Any]]) -> dict[str, Any]:
    return {"item": [{"itemSequence": i, "adjudication": each} for i, each in enumerate(adjudications, 1)]}


@pytest.mark.parametrize(
    ("elements", "status"),
    [
        ({"word": "DENIED "}, ClaimStatus.DENIED),
        ({"word": None}, ClaimStatus.UNKNOWN),
        ({"word": None, **lines(DENIED_LINE, DENIED_LINE)}, ClaimStatus.DENIED),
        ({"word": None, **lines(DENIED_LINE, PAID_LINE)}, ClaimStatus.PAID),
        ({"word": None, **lines(DENIED_LINE, COPAY_LINE)}, ClaimStatus.UNKNOWN),
        ({"word": None, "adjudication": DENIED_LINE}, ClaimStatus.DENIED),
        ({"word": None, "payment": {"type": {"text": "x"}, "amount": money(0)}}, ClaimStatus.UNKNOWN),
        ({"word": None, "payment": {"type": {"text": "x"}, "amount": money(1.5)}}, ClaimStatus.PAID),
        ({"word": None, "total": PAID_LINE}, ClaimStatus.PAID),
        ({"word": None, "outcome": "partial"}, ClaimStatus.PENDING),
        ({"word": "paid", "status": "draft"}, ClaimStatus.PENDING),
        ({"word": "paid", "status": "cancelled"}, None),
        ({"word": "paid", "use": "predetermination"}, None),
        ({"word": "paid", "extension": [{"url": "urn:s", "valueCode": "D"}]}, ClaimStatus.FINAL_ADVERSE),
        ({"extension": [{"url": "urn:s", "valueCodeableConcept": {"text": "d"}}]}, ClaimStatus.FINAL_ADVERSE),
    ],
)  # fmt: skip
def test_what_a_payer_answered(elements: dict[str, Any], status: ClaimStatus | None) -> None:
    words = {"paid": ClaimStatus.PAID, "denied": ClaimStatus.DENIED, "D": ClaimStatus.FINAL_ADVERSE}
    fact = read_fact(answer(**elements), reading(claim_words=words, claim_status_extension="urn:s"))
    assert isinstance(fact, ClaimFact)
    assert fact.status == status
    assert fact.claims == ("Claim/k1",)


def test_a_claim_names_its_encounter_by_item_or_extension() -> None:
    linked = {"extension": [{"url": "urn:e", "valueReference": {"reference": "Encounter/e7"}}]}
    fact = read_fact(answer(**linked), reading(claim_encounter_extension="urn:e"))
    assert isinstance(fact, ClaimFact)
    assert fact.encounters == ("Encounter/e7",)
    fact = read_fact(claim(), reading())
    assert isinstance(fact, ClaimFact)
    assert (fact.encounters, fact.status) == (("Encounter/e1",), ClaimStatus.PENDING)
    assert fact.decided_ms == int(datetime(2026, 3, 10, 4, tzinfo=UTC).timestamp() * 1000)  # midnight in New York


@pytest.mark.parametrize(
    ("literal", "name"),
    [
        ("Encounter/1", "Encounter/1"),
        ("Encounter/1/_history/2", "Encounter/1"),
        ("https://ehr.example.org/fhir/Encounter/1", "Encounter/1"),
        ("https://other.example.org/fhir/Encounter/1", "https://other.example.org/fhir/Encounter/1"),
        ("Encounter?identifier=urn:v|1", "urn:v|1"),
        ("Encounter?identifier=urn%3Av%7C1", "urn:v|1"),
        ("Encounter?identifier=1", "|1"),
        ("#e", None),
    ],
)
def test_one_name_for_one_thing(literal: str, name: str | None) -> None:
    base = "https://ehr.example.org/fhir"
    assert canonical_name(literal, base) == name
    if name is not None and literal != "Encounter?identifier=1" and "_history" not in literal:
        assert literal in literal_variants(name, base)


def test_lists_of_codes() -> None:
    codes = code_list(("urn:a|1", "urn:b|*", "|2", "Word of mouth"))
    assert [codes.holds(each) for each in (
        coded("1", "urn:a"), coded("1", "urn:c"), coded("9", "urn:b"), {"coding": [{"code": "2"}]}, coded("2", "urn:a"),
        {"text": " word of MOUTH "}, {"coding": [{"system": "urn:z", "code": "word of mouth"}]}, {"text": "word"}, {},
        None, {"system": "urn:a", "code": "1"},
    )] == [True, False, True, True, False, True, True, False, False, False, True]  # fmt: skip


def test_a_mapping_file_replaces_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text(
        "inpatient_classes: ['urn:x|I']\nrules: {count_planned: false}\nclaim_words: {' Rejected': denied}\n"
    )
    mapping = load_outcome_mapping(file)
    assert mapping.inpatient_classes == ("urn:x|I",)
    assert mapping.died_dispositions == OutcomeMapping().died_dispositions
    assert (mapping.rules.count_planned, mapping.claim_words) == (False, {"rejected": ClaimStatus.DENIED})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("surprise: 1", "surprise"),
        ("rules: {observed_until: 2026-01-01T00:00:00}", "observed_until has no place"),
        ("claim_outcomes: {complete: paid}", "complete is read further"),
        ("[", "YAML"),
        ("claim_words: {x: perhaps}", "claim_words.x"),
    ],
)
def test_a_wrong_mapping_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text(text)
    with pytest.raises(MappingFileError, match=words):
        load_outcome_mapping(file)


@needs_data
def test_every_synthea_encounter_and_condition_is_taken_in() -> None:
    counted: Counter[object] = Counter()
    for kind in ("Encounter", "Condition"):
        for line in (SYNTHEA / "synthea" / f"{kind}.ndjson").read_text().splitlines():
            fact = read_fact(json.loads(line), reading())
            counted[(kind, getattr(fact, "inpatient", None), getattr(fact, "died", None), bool(fact.notes))] += 1
    assert counted == {
        ("Encounter", False, -1, False): 1163, ("Encounter", False, 0, False): 3, ("Encounter", True, -1, False): 49,
        ("Condition", None, None, True): 555,
    }  # fmt: skip


@needs_data
def test_the_hl7_encounter_does_not_say_when_it_began() -> None:
    resource = json.loads((SYNTHEA / "hl7-r4-examples" / "Encounter-example.json").read_bytes())
    with pytest.raises(FhirInputError, match=r"period\.start is missing"):
        read_fact(resource, reading())
