"""Claims, answers, appeals and how they find their stay."""

from __future__ import annotations

from typing import Any

import pytest

from serve.outcomes.refresh import refresh
from serve.store.core import Store
from tests.serve.outcomes.conftest import Clock
from tests.serve.outcomes.resources import DENIAL, Hospital, answer, benefit, claim, coded, encounter

STAY = encounter("e1", "2026-03-02T08:00:00Z", "2026-03-06T12:00:00Z")
PRIOR = coded("prior", "http://terminology.hl7.org/CodeSystem/ex-relatedclaimrelationship")


def appeal(own_id: str = "k2", created: str = "2026-05-01", of: str = "Claim/k1") -> dict[str, Any]:
    return claim(own_id, created, of=None, related=[{"claim": {"reference": of}, "relationship": PRIOR}])


CASES: list[tuple[str, list[dict[str, Any]], int | str]] = [
    ("no claim", [], "no-claim"),
    ("sent, not answered", [claim()], "claim-open"),
    ("paid", [claim(), answer(word="Paid")], 0),
    ("denied, an appeal may follow", [claim(), answer()], "claim-open"),
    ("denied, then paid: won on appeal", [claim(), answer(), answer("r2", "2026-06-01", word="paid")], 1),
    ("upheld", [claim(), answer(), answer("r2", "2026-06-01", word="Denial upheld ")], 1),
    ("appealed and not answered", [claim(), answer(), appeal()], "claim-open"),
    ("appealed and won", [claim(), answer(), appeal(), answer("r2", "2026-06-01", to="Claim/k2", word="paid")], 1),
    ("the answer names no known claim but its item the stay", [benefit(word="paid")], 0),
    ("queued", [claim(), answer(outcome="queued", word=None)], "claim-open"),
    ("an error is no denial", [claim(), answer(outcome="error", word=None)], "claim-open"),
    ("nothing says what came of it", [claim(), answer(word="Settled as per contract")], "status-unknown"),
    ("withdrawn with its answer", [claim(status="cancelled"), answer(word="denial upheld")], "no-claim"),
    ("the answer was withdrawn", [claim(), answer(word="denial upheld", status="cancelled")], "claim-open"),
    ("an authorisation is no claim", [benefit(word="denial upheld", use="preauthorization")], "no-claim"),
    ("one of two denied", [benefit("b1", word="paid"), benefit("b2", word="denial upheld")], 1),
    ("one of two open", [benefit("b1", word="paid"), claim("k9")], "claim-open"),
]


@pytest.mark.parametrize(("resources", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_became_of_a_claim(light: Hospital, resources: list[dict[str, Any]], expected: int | str) -> None:
    light.take(STAY)
    for each in reversed(resources):
        light.take(each)
    assert light.label(DENIAL) == expected


def test_answers_meet_their_claim_in_one_transaction_too(hospital: Hospital) -> None:
    hospital.take(answer("r2", "2026-06-01", to="Claim/k2", word="paid"), appeal(), answer(), STAY, claim())
    assert hospital.label(DENIAL) == 1


def test_the_same_decision_told_again_is_a_correction_and_a_later_one_a_new_decision(light: Hospital) -> None:
    light.take(STAY, benefit(word="denied", updated="2026-04-01T08:00:00Z"))
    light.take(benefit(word="paid", updated="2026-04-01T09:00:00Z"))
    assert light.label(DENIAL) == 0
    light.take(benefit(word="denied", created="2026-05-01", updated="2026-05-01T08:00:00Z"))
    light.take(benefit(word="paid", created="2026-06-01", updated="2026-06-01T08:00:00Z"))
    assert light.label(DENIAL) == 1
    # An old version that comes late is part of the history, unless it was taken back with the rest.
    light.take(benefit(status="entered-in-error", updated="2026-06-02T08:00:00Z"))
    assert light.label(DENIAL) == "no-claim"
    light.take(benefit(word="denied", created="2026-05-15", updated="2026-05-15T08:00:00Z"))
    assert light.label(DENIAL) == "no-claim"
    light.take(benefit(word="paid", created="2026-07-01", updated="2026-07-01T08:00:00Z"))
    assert light.label(DENIAL) == 0


def test_a_denial_without_an_appeal_is_final_in_time(hospital: Hospital, clock: Clock) -> None:
    hospital.take(STAY, benefit(word="denied", created="2026-04-01"))
    assert hospital.label(DENIAL) == "claim-open"
    # Another patient's claim shows that the payers' feed is complete until then: day 180 is 28 September.
    hospital.take(benefit("b9", "2026-09-27T23:59:00Z", of=None, word="paid"))
    hospital.store.write(refresh, "ehr", hospital.context)
    assert hospital.label(DENIAL) == "claim-open"
    hospital.take(benefit("b9", "2026-09-28T00:00:00Z", of=None, word="paid"))
    assert [each.option for each in hospital.store.write(refresh, "ehr", hospital.context).labels] == [1]
    assert hospital.label(DENIAL) == 1


def test_only_the_payers_words_make_it_final_where_the_hospital_says_so(lite: Store) -> None:
    strict = Hospital(lite, denials_final_after_days=None)
    strict.take(STAY, benefit(word="denied", created="2025-01-01"), benefit("b9", "2026-09-28", of=None, word="paid"))
    assert strict.label(DENIAL) == "claim-open"
    assert strict.outcomes()["Encounter/e1", DENIAL]["due_ms"] is None


def test_a_claim_number_that_two_claims_share_joins_nothing(light: Hospital) -> None:
    number = [{"system": "urn:account", "value": "5"}]
    other = encounter("e2", "2026-03-02T08:00:00Z", "2026-03-06T12:00:00Z", patient="p2")
    light.take(STAY, other, claim("k1", identifier=number), claim("k2", of="Encounter/e2", identifier=number))
    light.take(answer(to=None, request={"identifier": number[0]}, word="denial upheld"))
    assert (light.label(DENIAL), light.label(DENIAL, "Encounter/e2")) == ("claim-open", "claim-open")


def test_a_claim_of_two_stays_is_a_claim_of_each(light: Hospital) -> None:
    items = [{"sequence": 1, "productOrService": {"text": "x"},
              "encounter": [{"reference": "Encounter/e1"}, {"reference": "Encounter/e2"}]}]  # fmt: skip
    light.take(STAY, encounter("e2", "2026-03-09T08:00:00Z", "2026-03-10T12:00:00Z"))
    light.take(benefit(item=items, word="denial upheld"))
    assert (light.label(DENIAL), light.label(DENIAL, "Encounter/e2")) == (1, 1)
    light.take(benefit(word="denial upheld"))
    assert (light.label(DENIAL), light.label(DENIAL, "Encounter/e2")) == (1, "no-claim")
