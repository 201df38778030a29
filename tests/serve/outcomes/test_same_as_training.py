"""A random hospital as FHIR resources, in any order, with repeats, old versions and mistakes, and as the columns of
training: the labels are equal.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lang1.hospital_record import (
    CLAIM_STATUSES,
    REASONS,
    Claims,
    ClaimStatus,
    Diagnoses,
    Encounters,
    HospitalRecord,
    LabelPolicy,
)
from lang1.label_rules import stay_labels
from lang1.tasks import BUILT_IN
from serve.outcomes.refresh import refresh
from serve.store.core import Store
from tests.serve.outcomes.conftest import Clock
from tests.serve.outcomes.resources import Hospital, answer, benefit, claim, coded, condition, encounter

ZONE = ZoneInfo("America/New_York")
WORDS = {
    "paid": ClaimStatus.PAID, "denied": ClaimStatus.DENIED, "denial upheld": ClaimStatus.FINAL_ADVERSE,
    "denial overturned": ClaimStatus.FINAL_FAVOURABLE, "who knows": ClaimStatus.UNKNOWN,
}  # fmt: skip
CODES = ("I10", "I50.9", "N18.4", "C79.51", "E11.22", "?", "J44.9")


@dataclass
class Stay:
    patient: int
    admitted: datetime
    discharged: datetime | None
    died: int
    kind: str
    elective: bool
    transfer: bool
    rehabilitation: bool
    codes: list[str]
    claims: list[list[tuple[datetime, ClaimStatus, str | None]]] = field(default_factory=list)

    @property
    def inpatient(self) -> bool:
        return self.kind in ("IMP", "NONAC")


def local(random: Random, days: int) -> datetime:
    """A moment of 2025 or 2026 on the hospital's clock, outside the hours that come twice or never."""
    start = datetime(2025, 8, 1)  # noqa: DTZ001 - the hospital's own clock
    return start + timedelta(days=random.randrange(days), hours=random.randrange(4, 24), minutes=random.randrange(60))


def random_stay(random: Random) -> Stay:
    admitted = local(random, 300)
    hours = random.choice([3, 20, 30, 60, 100, 200, 900])
    left = admitted + timedelta(hours=random.randrange(1, hours + 1))
    left = left.replace(hour=max(left.hour, 4))
    over = random.random() < 0.9
    return Stay(
        patient=random.randrange(3),
        admitted=admitted,
        discharged=left if over else None,
        died=random.choice([0, 0, 0, 0, 1, -1]) if over else -1,
        kind=random.choice(["IMP", "IMP", "IMP", "IMP", "AMB", "NONAC"]),
        elective=random.random() < 0.2,
        transfer=random.random() < 0.2,
        rehabilitation=random.random() < 0.1,
        codes=[random.choice(CODES) for _ in range(random.choice([0, 1, 1, 2, 3]))],
        claims=[random_claim(random, admitted) for _ in range(random.choice([0, 0, 1, 1, 2]))],
    )


def random_claim(random: Random, admitted: datetime) -> list[tuple[datetime, ClaimStatus, str | None]]:
    day = admitted.replace(hour=0, minute=0) + timedelta(days=random.randrange(1, 30))
    states: list[tuple[datetime, ClaimStatus, str | None]] = [(day, ClaimStatus.PENDING, None)]
    for word in [random.choice(list(WORDS)) for _ in range(random.choice([0, 1, 1, 2, 3]))]:
        day += timedelta(days=random.randrange(1, 30))
        states.append((day, WORDS[word], word))
    return states


def policy(random: Random) -> LabelPolicy:
    return LabelPolicy(
        count_planned=random.random() < 0.7,
        in_hospital_deaths=random.choice(["leave-out", "negative"]),
        stay_length=random.choice(["midnights", "elapsed"]),
    )


def columns(stays: list[Stay]) -> HospitalRecord:
    """As a CSV export would be read."""

    def times(values: list[datetime | None]) -> Any:
        return np.array([np.datetime64("NaT") if each is None else each for each in values], dtype="datetime64[s]")

    def flags(values: list[bool]) -> Any:
        return np.array(values, dtype=np.bool_)

    encounters = Encounters(
        patient=np.array([each.patient for each in stays], dtype=np.int64),
        admitted=times([each.admitted for each in stays]),
        discharged=times([each.discharged for each in stays]),
        died=np.array([each.died for each in stays], dtype=np.int8),
        inpatient=flags([each.inpatient for each in stays]),
        left_out=flags([each.kind == "NONAC" or each.rehabilitation for each in stays]),
        planned=flags([each.elective for each in stays]),
        transferred_in=flags([each.transfer for each in stays]),
        newborn=flags([False] * len(stays)),
    )
    codes = [(row, code) for row, each in enumerate(stays) for code in each.codes]
    diagnoses = Diagnoses(
        np.array([row for row, _ in codes], dtype=np.int64), [code for _, code in codes],
        np.full(len(codes), 10, dtype=np.int8),
    )  # fmt: skip
    states = [
        (row, 100 * row + number, CLAIM_STATUSES.index(status), day)
        for row, each in enumerate(stays)
        for number, own in enumerate(each.claims)
        for day, status, _ in own
    ]
    claims = Claims(
        np.array([each[0] for each in states], dtype=np.int64), np.array([each[1] for each in states], dtype=np.int64),
        np.array([each[2] for each in states], dtype=np.int8), times([each[3] for each in states]),
    )  # fmt: skip
    return HospitalRecord(encounters, diagnoses, claims)


def aware(moment: datetime) -> str:
    return moment.replace(tzinfo=ZONE).isoformat()


def messages(stays: list[Stay], random: Random) -> list[dict[str, Any]]:
    """Every resource in its last version, and beside it older ones, repeats, and what was entered in error."""
    sent: list[dict[str, Any]] = []
    for row, each in enumerate(stays):
        sent += of_encounter(f"e{row}", each, random)
        for number, code in enumerate(each.codes):
            if random.random() < 0.3:
                sent.append(condition(f"c{row}-{number}", random.choice(CODES), of=f"Encounter/e{row}", updated=at(1)))
            sent.append(condition(f"c{row}-{number}", code, of=f"Encounter/e{row}", updated=at(2)))
        if random.random() < 0.3:
            wrong = condition(f"wrong{row}", "B20", of=f"Encounter/e{row}", updated=at(1))
            sent += [
                wrong,
                {**wrong, "verificationStatus": coded("refuted", VERIFICATION), "meta": {"lastUpdated": at(2)}},
            ]
        for number, states in enumerate(each.claims):
            sent += of_claim(f"{row}-{number}", f"Encounter/e{row}", states, random)
    sent += random.sample(sent, len(sent) // 3)
    random.shuffle(sent)
    return sent


VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"


def at(version: int) -> str:
    return f"2026-10-0{version}T00:00:00Z"


def of_encounter(own_id: str, each: Stay, random: Random) -> list[dict[str, Any]]:
    hl7 = "http://terminology.hl7.org/CodeSystem"
    more: dict[str, Any] = {}
    if each.elective:
        more["priority"] = coded("EL", f"{hl7}/v3-ActPriority")
    if each.rehabilitation:
        more["serviceType"] = coded("181", f"{hl7}/service-type")
    stay: dict[str, Any] = {}
    if each.died >= 0:
        stay["dischargeDisposition"] = coded("exp" if each.died else "home", f"{hl7}/discharge-disposition")
    if each.transfer:
        stay["admitSource"] = coded("hosp-trans", f"{hl7}/admit-source")
    if stay:
        more["hospitalization"] = stay
    last = encounter(
        own_id, aware(each.admitted), aware(each.discharged) if each.discharged else None, patient=f"p{each.patient}",
        kind=each.kind, disposition=None, updated=at(5), **more,
    )  # fmt: skip
    older = [
        encounter(own_id, aware(each.admitted - timedelta(days=3)), patient="p0", updated=at(2)),
        encounter(own_id, aware(each.admitted), patient=f"p{each.patient}", updated=at(3)),
        encounter(own_id, None, status="planned", patient=f"p{each.patient}", updated=at(1)),
        encounter(own_id, status="entered-in-error", patient="p2", updated=at(4)),
    ]
    mistaken = encounter(
        f"x{own_id}", aware(each.admitted + timedelta(days=9)), patient=f"p{each.patient}", updated=at(1)
    )
    error = {"resourceType": "Encounter", "id": f"x{own_id}", "status": "entered-in-error",
             "meta": {"lastUpdated": at(2)}}  # fmt: skip
    return [last, *random.sample(older, random.randrange(3)), *([mistaken, error] if random.random() < 0.2 else [])]


def of_claim(
    name: str, of: str, states: list[tuple[datetime, ClaimStatus, str | None]], random: Random
) -> list[dict[str, Any]]:
    patient = "p1"
    sent = [claim(f"k{name}", f"{states[0][0]:%Y-%m-%d}", of=of, patient=patient, updated=at(1))]
    resubmitted = len(states) > 2 and random.random() < 0.4
    in_place = random.random() < 0.5
    for number, (day, _, word) in enumerate(states[1:], 1):
        created, to = f"{day:%Y-%m-%d}", f"Claim/k{name}"
        if resubmitted and number == len(states) - 1:
            related = [{"claim": {"reference": to}, "relationship": coded("prior", RELATED)}]
            # Sent on the day of the answer: it waits for no time at all.
            sent.append(claim(f"k{name}b", created, of=None, related=related, patient=patient, updated=at(1)))
            to = f"Claim/k{name}b"
        if in_place and not resubmitted:
            # One resource, a version for each decision.
            sent.append(benefit(f"b{name}", created, of=of, word=word, claim={"reference": to}, updated=at(number)))
        else:
            sent.append(answer(f"r{name}-{number}", created, to=to, word=word, patient=patient, updated=at(2)))
            sent.append(answer(f"r{name}-{number}", created, to=to, word="paid", patient=patient, updated=at(1)))
    return sent


RELATED = "http://terminology.hl7.org/CodeSystem/ex-relatedclaimrelationship"


@given(st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_live_labels_are_those_of_training(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path, random: Random
) -> None:
    stays = [random_stay(random) for _ in range(random.randrange(1, 12))]
    rules = policy(random)
    path = shutil.copy(migrated_sqlite, tmp_path_factory.mktemp("same") / "store.sqlite3")
    with closing(Store(f"sqlite:///{path}", clock_ms=Clock())) as store:
        hospital = Hospital(store, ZONE.key, policy=rules, denials_final_after_days=None)
        sent = messages(stays, random)
        while sent:
            size = random.choice([1, 2, 5, 40])
            hospital.take(*sent[:size])
            del sent[:size]
        store.write(refresh, "ehr", hospital.context)
        found = hospital.labels()

    record = columns(stays)
    moments = [moment for each in stays for moment in (each.admitted, each.discharged) if moment is not None]
    end = max(moments).replace(tzinfo=ZONE).astimezone(UTC).astimezone(ZONE).replace(tzinfo=None)
    for task in BUILT_IN.values():
        expected = stay_labels(record, task, rules.model_copy(update={"observed_until": end}))
        for row, each in enumerate(stays):
            reason = int(expected.reason[row])
            label = int(expected.label[row]) if reason < 0 else REASONS[reason].code
            mine = found.get((f"Encounter/e{row}", task.name))
            # Of a visit of which nothing more is known there is no row.
            assert mine == label or (mine is None and not each.inpatient and reason >= 0), (
                task.name,
                each,
                mine,
                label,
            )
