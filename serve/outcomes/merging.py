"""A version of a resource into the row that is kept of it, the same row in whatever order the versions come.

Rows are plain dictionaries of columns. A sender that gives no meta.lastUpdated is taken at its word that what it sends
is so now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fhir_adapters.outcomes.facts import ClaimFact, DiagnosisFact, EncounterFact, Fact, Removal
from serve.outcomes.keys import Role

Change = Literal["created", "updated", "unchanged", "older", "removed"]
FactRow = dict[str, Any]
Links = tuple[tuple[Role, str], ...]

_MAX_SIGHTINGS = 200
# What says when a version came, not what is in it.
_STAMPS = frozenset({"updated_ms", "version", "received_ms", "sightings"})


@dataclass(frozen=True, slots=True)
class Merged:
    """The row to be kept. `links` None: as they were. `changed`: labels may differ."""

    row: FactRow
    links: Links | None
    change: Change
    changed: bool


def merge(old: FactRow | None, fact: Fact, own: FactRow, now_ms: int) -> Merged:
    """`fact` into `old`. `own` holds id, source and reference of a new row."""
    key = _key(fact, old, now_ms)
    newest = old is None or key >= (old["updated_ms"], old["version"])
    stamp = {"updated_ms": key[0], "version": key[1], "received_ms": now_ms}
    kind = fact.identity.type
    if kind == "Encounter":
        row = _encounter(old, fact, key, newest) | own | (stamp if newest else {})
    elif kind == "Condition":
        row = _diagnosis(old, fact, newest) | own | (stamp if newest else {})
    else:
        row = _claim(old, fact, key, newest, kind) | own | (stamp if newest else {})
    changed = old is None or _content(row) != _content(old)
    links = _links(fact) if newest else None
    if not newest:
        return Merged(row, links, "older", changed)
    if isinstance(fact, Removal):
        return Merged(row, links, "removed", changed)
    if old is None or old["removed"]:
        return Merged(row, links, "created", True)
    # Links are part of what is said, though not of the row.
    return Merged(row, links, "updated" if changed else "unchanged", changed)


def _key(fact: Fact, old: FactRow | None, now_ms: int) -> tuple[int, int]:
    if isinstance(fact, Removal) and fact.deleted and old is not None:
        return max((now_ms, 0), (old["updated_ms"], old["version"]))
    stated = fact.identity.updated_ms
    return (now_ms if stated is None else stated, fact.identity.version)


def _content(row: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in row.items() if name not in _STAMPS}
    if "states" in said:
        said["states"] = [(decided_ms, status) for decided_ms, _, _, status in said["states"]]
    return said


def _kept(old: FactRow | None) -> FactRow:
    assert old is not None, "only what is not newest keeps the old row"
    return dict(old)


def _subject(old: FactRow | None) -> str | None:
    return None if old is None else old["subject"]


def _encounter(old: FactRow | None, fact: Fact, key: tuple[int, int], newest: bool) -> FactRow:
    sightings = [] if old is None else list(old["sightings"])
    if isinstance(fact, EncounterFact):
        sightings.append([*key, fact.status, fact.unit, fact.planned_end_ms])
    sightings = _turns(sightings)
    if not newest:
        return _kept(old) | {"sightings": sightings}
    if isinstance(fact, Removal):
        # The patient stays, so that the row is deleted with the rest of theirs.
        return {
            "removed": True, "subject": _subject(old), "status": "entered-in-error", "inpatient": False,
            "booked": False, "left_out": False, "planned": False, "transferred_in": False, "newborn": False,
            "died": -1, "started_ms": None, "ended_ms": None, "planned_end_ms": None, "unit": None, "units": [],
            "sightings": sightings,
        }  # fmt: skip
    assert isinstance(fact, EncounterFact)
    return {
        "removed": False, "subject": fact.subject, "status": fact.status, "inpatient": fact.inpatient,
        "booked": fact.booked, "left_out": fact.left_out, "planned": fact.planned,
        "transferred_in": fact.transferred_in, "newborn": fact.newborn, "died": fact.died,
        "started_ms": fact.started_ms, "ended_ms": fact.ended_ms, "planned_end_ms": fact.planned_end_ms,
        "unit": fact.unit, "units": [[each.unit, each.from_ms, each.until_ms] for each in fact.units],
        "sightings": sightings,
    }  # fmt: skip


def _turns(sightings: list[list[Any]]) -> list[list[Any]]:
    """Of every run of versions that say the same the first and the last: a version between two may still come."""
    ordered = sorted({tuple(each) for each in sightings}, key=lambda each: (each[0], each[1], repr(each[2:])))
    said = [each[2:] for each in ordered]
    last = len(ordered) - 1
    kept = [
        list(each)
        for i, each in enumerate(ordered)
        if i in (0, last) or said[i] != said[i - 1] or said[i] != said[i + 1]
    ]
    return kept[-_MAX_SIGHTINGS:]


def _diagnosis(old: FactRow | None, fact: Fact, newest: bool) -> FactRow:
    if not newest:
        return _kept(old)
    if isinstance(fact, Removal):
        return {"removed": True, "subject": _subject(old), "codes": []}
    assert isinstance(fact, DiagnosisFact)
    return {"removed": False, "subject": fact.subject, "codes": [list(each) for each in fact.codes]}


def _claim(old: FactRow | None, fact: Fact, key: tuple[int, int], newest: bool, kind: str) -> FactRow:
    row: FactRow = {"type": kind, "removed_updated_ms": -1, "removed_version": -1, "states": [], "counts": False}
    row |= {"subject": _subject(old), "removed": False} | (old or {})
    states = {each[0]: each for each in row["states"]}
    if isinstance(fact, Removal):
        mark = max((row["removed_updated_ms"], row["removed_version"]), key)
        row["removed_updated_ms"], row["removed_version"] = mark
    else:
        assert isinstance(fact, ClaimFact)
        state = [fact.decided_ms, *key, None if fact.status is None else str(fact.status)]
        known = states.get(fact.decided_ms)
        # The same decision told again is a correction of it.
        if known is None or key >= (known[1], known[2]):
            states[fact.decided_ms] = state
    row["states"] = [states[decided] for decided in sorted(states)]
    row["decided_ms"] = max(states, default=None)
    if newest:
        row["removed"] = isinstance(fact, Removal)
        if isinstance(fact, ClaimFact):
            row |= {"subject": fact.subject, "counts": fact.status is not None}
    return row


def standing_states(row: Any) -> list[tuple[int, str]]:
    """(decided_ms, status) of a claim's row that count."""
    if row.removed or not row.counts:
        return []
    taken_back = (row.removed_updated_ms, row.removed_version)
    return [(state[0], state[3]) for state in row.states if state[3] is not None and (state[1], state[2]) > taken_back]


def _links(fact: Fact) -> Links:
    names = fact.identity.names
    if isinstance(fact, EncounterFact):
        return (*((Role.ENCOUNTER, each) for each in names), *((Role.LISTS, each) for each in fact.conditions))
    if isinstance(fact, DiagnosisFact):
        return (*((Role.DIAGNOSIS, each) for each in names), *((Role.IN_ENCOUNTER, each) for each in fact.encounters))
    if isinstance(fact, ClaimFact):
        return (
            *((Role.CLAIM, each) for each in names),
            *((Role.IN_ENCOUNTER, each) for each in fact.encounters),
            *((Role.ANSWERS, each) for each in fact.claims),
            *((Role.CONTINUES, each) for each in fact.earlier),
        )
    # A claim that is taken back is still named by its answers, which then count no more.
    claim = fact.identity.type not in ("Encounter", "Condition")
    return tuple((Role.CLAIM, each) for each in names) if claim else ()
