"""Claims, their resubmissions and appeals, and all answers to them: the states of one claim each, in order of time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fhir_adapters.outcomes.facts import ClaimFact
from lang1.hospital_record import CLAIM_STATUSES, Claims, ClaimStatus, Times

# Answers of one moment: a claim waits before it is answered, and is refused before it is paid.
_ORDER = tuple(ClaimStatus(each) for each in ("pending", "unknown", "denied", "final-adverse", "paid",
                                              "final-favourable", "void"))  # fmt: skip
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class ClaimDecisions:
    """The claim resources that stand, and by reference what each said at each time (ms since 1970 UTC)."""

    standing: Sequence[ClaimFact]
    by_time: Mapping[str, Mapping[int, ClaimFact]]


@dataclass(frozen=True, slots=True)
class _State:
    """A state of a claim: the row of its stay, the claim's name, and when."""

    row: int
    claim: str
    status: ClaimStatus
    decided_ms: int
    at: np.datetime64


def claim_columns(
    decisions: ClaimDecisions,
    row_of: Mapping[str, int],
    clock: Callable[[Iterable[int]], Times],
    last: np.datetime64,
    final_after_days: int | None,
) -> Claims:
    """The states up to `last` (excluded) of the claims of the stays in `row_of`, by encounter name.

    A denial that nothing followed for `final_after_days` is final; None: only the payer's words make it so.
    """
    group, withdrawn = _grouped(decisions.standing)
    stays: dict[str, set[int]] = defaultdict(set)
    for each in decisions.standing:
        stays[group.root(each.identity.reference)].update(row_of[name] for name in each.encounters if name in row_of)
    found: list[tuple[int, str, ClaimStatus, int]] = []
    for each in decisions.standing:
        root = group.root(each.identity.reference)
        # The answer to a claim that was withdrawn goes with it.
        if not withdrawn.isdisjoint(each.claims):
            continue
        for said in decisions.by_time[each.identity.reference].values():
            if said.status is not None:
                found += [(row, root, said.status, said.decided_ms) for row in sorted(stays[root])]
    found.sort(key=lambda state: (state[3], _ORDER.index(state[2])))
    times = clock(state[3] for state in found)
    states = [_State(*state, at) for state, at in zip(found, times, strict=True) if at < last]
    states += _settled(states, last, final_after_days)
    number: dict[tuple[str, int], int] = {}
    return Claims(
        np.array([each.row for each in states], dtype=np.int64),
        np.array([number.setdefault((each.claim, each.row), len(number)) for each in states], dtype=np.int64),
        np.array([CLAIM_STATUSES.index(each.status) for each in states], dtype=np.int8),
        np.array([each.at for each in states], dtype="datetime64[s]"),
    )


def _grouped(claims: Sequence[ClaimFact]) -> tuple[_Groups, set[str]]:
    """Which names are of one claim, and the names of claims that count for nothing."""
    owners: dict[str, set[str]] = defaultdict(set)
    for each in claims:
        for name in each.identity.names:
            owners[name].add(each.identity.reference)
    group, withdrawn = _Groups(), set[str]()
    for each in claims:
        for name in (*each.identity.names, *each.claims, *each.earlier):
            # A name that two claims go by, as an account number may be, does not say which one is meant.
            if len(owners.get(name, ())) < 2:
                group.join(each.identity.reference, name)
        if each.identity.type == "Claim" and each.status is None:
            withdrawn.update(each.identity.names)
    return group, withdrawn


def _settled(states: Sequence[_State], last: np.datetime64, after_days: int | None) -> list[_State]:
    """Denials that nothing followed for so long, as final ones of the same moment."""
    if after_days is None:
        return []
    latest = {(each.row, each.claim): each for each in states}
    return [
        _State(each.row, each.claim, ClaimStatus.FINAL_ADVERSE, each.decided_ms, each.at)
        for each in latest.values()
        if each.status is ClaimStatus.DENIED and each.at + after_days * _DAY <= last
    ]


class _Groups:
    """Names that hang together."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        while (up := self._parent.setdefault(name, name)) != name:
            self._parent[name] = self._parent[up]
            name = up
        return name

    def join(self, one: str, other: str) -> None:
        self._parent[self.root(one)] = self.root(other)
