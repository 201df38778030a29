"""Facts of an export (`fhir_adapters.outcomes`) to a hospital's record: stays, codes and claims as columns.

The same reading as the running service's, so that training labels and live labels are one. Of a resource that comes in
several versions the newest counts; answers to a claim keep every decision, by the time it was made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from fhir_adapters.outcomes.facts import ClaimFact, DiagnosisFact, EncounterFact, Fact, FactIdentity, Removal
from lang1.hospital_record import Diagnoses, Encounters, HospitalRecord, Times
from training.sources.fhir_claims import ClaimDecisions, claim_columns

NOT_BEGUN = frozenset({"planned", "cancelled"})
_NAT = np.datetime64("NaT", "s")
Named = TypeVar("Named", EncounterFact, DiagnosisFact, ClaimFact)


@dataclass(slots=True)
class Facts:
    """What was read, by reference: the newest version of each resource, and every decision on a claim."""

    stays: dict[str, EncounterFact] = field(default_factory=dict)
    diagnoses: dict[str, DiagnosisFact] = field(default_factory=dict)
    claims: dict[str, ClaimFact] = field(default_factory=dict)
    decisions: dict[str, dict[int, ClaimFact]] = field(default_factory=lambda: defaultdict(dict))
    _removed: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, fact: Fact) -> None:
        """Take in one version of one resource."""
        name = fact.identity.reference
        if isinstance(fact, Removal):
            self._removed[name] = max(_age(fact.identity), self._removed.get(name, (-1, -1)))
        elif isinstance(fact, EncounterFact):
            self._newest(self.stays, fact)
        elif isinstance(fact, DiagnosisFact):
            self._newest(self.diagnoses, fact)
        else:
            self._newest(self.claims, fact)
            known = self.decisions[name].get(fact.decided_ms)
            if known is None or _age(fact.identity) >= _age(known.identity):
                self.decisions[name][fact.decided_ms] = fact

    def _newest(self, held: dict[str, Named], fact: Named) -> None:
        old = held.get(fact.identity.reference)
        if old is None or _age(fact.identity) >= _age(old.identity):
            held[fact.identity.reference] = fact

    def _stands(self, fact: EncounterFact | DiagnosisFact | ClaimFact) -> bool:
        gone = self._removed.get(fact.identity.reference)
        return gone is None or _age(fact.identity) > gone

    def standing_stays(self) -> list[EncounterFact]:
        """Stays that have begun and were not taken back, in order of their references."""
        found = (self.stays[name] for name in sorted(self.stays))
        return [each for each in found if self._stands(each) and each.status not in NOT_BEGUN]

    def standing_diagnoses(self) -> list[DiagnosisFact]:
        return [each for name in sorted(self.diagnoses) if self._stands(each := self.diagnoses[name])]

    def standing_claims(self) -> list[ClaimFact]:
        return [each for name in sorted(self.claims) if self._stands(each := self.claims[name])]


def _age(identity: FactIdentity) -> tuple[int, int]:
    return (-1 if identity.updated_ms is None else identity.updated_ms, identity.version)


@dataclass(frozen=True, slots=True)
class RecordOfFacts:
    """The record, and by which row an encounter goes that a note names. `left_out`: table, reason, how many."""

    hospital: HospitalRecord
    stays: Sequence[EncounterFact]
    row_of: dict[str, int]
    left_out: dict[str, dict[str, int]]


def record_of_facts(facts: Facts, zone: ZoneInfo, end: datetime, denials_final_after_days: int | None) -> RecordOfFacts:
    """The record up to `end` (naive, hospital's clock, excluded). What comes later is not part of it."""
    left_out: dict[str, dict[str, int]] = {}
    last = np.datetime64(end, "s")
    stays, admitted = _begun(facts.standing_stays(), zone, last, left_out)
    over = wall_clock((each.ended_ms for each in stays), zone)
    # The hour that comes twice in autumn: an end after its start stays so.
    in_order = np.array([each.ended_ms is not None and (each.started_ms or 0) <= each.ended_ms for each in stays], bool)
    over = np.where(in_order & (over < admitted), admitted, over)
    died = np.array([each.died for each in stays], dtype=np.int8)
    died[over >= last] = -1
    over[over >= last] = _NAT
    number: dict[str, int] = {}

    def flags(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return np.array([getattr(each, name) for each in stays], dtype=np.bool_)

    encounters = Encounters(
        patient=np.array([number.setdefault(each.subject, len(number)) for each in stays], dtype=np.int64),
        admitted=admitted,
        discharged=over,
        died=died,
        inpatient=flags("inpatient"),
        left_out=flags("left_out"),
        planned=flags("planned"),
        transferred_in=flags("transferred_in"),
        newborn=flags("newborn"),
    )
    row_of = _rows_by_name(stays)
    decisions = ClaimDecisions(facts.standing_claims(), facts.decisions)
    hospital = HospitalRecord(
        encounters,
        _diagnoses(facts.standing_diagnoses(), stays, row_of, left_out),
        claim_columns(decisions, row_of, lambda each: wall_clock(each, zone), last, denials_final_after_days),
    )
    return RecordOfFacts(hospital, stays, row_of, left_out)


def wall_clock(milliseconds: Iterable[int | None], zone: ZoneInfo) -> Times:
    """(n,) seconds on the hospital's clock; NaT for None."""
    found = [
        _NAT if each is None else datetime.fromtimestamp(each // 1000, zone).replace(tzinfo=None)
        for each in milliseconds
    ]
    return np.array(found, dtype="datetime64[s]")


def _count(left_out: dict[str, dict[str, int]], table: str, reason: str) -> None:
    reasons = left_out.setdefault(table, {})
    reasons[reason] = reasons.get(reason, 0) + 1


def _begun(
    stays: Sequence[EncounterFact], zone: ZoneInfo, last: np.datetime64, left_out: dict[str, dict[str, int]]
) -> tuple[list[EncounterFact], Times]:
    kept = []
    for each, start in zip(stays, wall_clock((each.started_ms for each in stays), zone), strict=True):
        if np.isnat(start) or start >= last:
            _count(left_out, "Encounter", "no start" if np.isnat(start) else "starts after observed_until")
        else:
            kept.append(each)
    return kept, wall_clock((each.started_ms for each in kept), zone)


def _rows_by_name(stays: Sequence[EncounterFact]) -> dict[str, int]:
    """Name to row. A name that two stays share (an account number) is none's."""
    found: dict[str, set[int]] = defaultdict(set)
    for row, each in enumerate(stays):
        for name in each.identity.names:
            found[name].add(row)
    return {name: next(iter(rows)) for name, rows in found.items() if len(rows) == 1}


def _diagnoses(
    facts: Sequence[DiagnosisFact],
    stays: Sequence[EncounterFact],
    row_of: dict[str, int],
    left_out: dict[str, dict[str, int]],
) -> Diagnoses:
    listed_by: dict[str, list[int]] = defaultdict(list)
    for row, stay in enumerate(stays):
        for name in stay.conditions:
            listed_by[name].append(row)
    rows, codes, versions = list[int](), list[str](), list[int]()
    for each in facts:
        owners = {row_of[name] for name in each.encounters if name in row_of}
        owners |= {row for name in each.identity.names for row in listed_by.get(name, ())}
        if not owners:
            _count(left_out, "Condition", "of no stay that was taken")
        for row in sorted(owners):
            for code, version in each.codes:
                rows.append(row)
                codes.append(code)
                versions.append(version)
    return Diagnoses(np.array(rows, dtype=np.int64), codes, np.array(versions, dtype=np.int8))
