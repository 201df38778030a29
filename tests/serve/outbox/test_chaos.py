"""Two writers that keep dying, a server that keeps failing: each score is in the EHR once, as it stands."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from serve.outbox import letters
from serve.store import standing
from serve.store.core import Store
from tests.ehr.faults import Fault
from tests.ehr.server import TestEhr
from tests.serve.outbox.rig import FAST, Rig, scored
from tests.serve.outbox.test_writer import Crashing, identifiers, run_until_crash

# The storm test goes through the same over HTTP in every run.
pytestmark = pytest.mark.slow

LIMIT_S = 60
CHANCES = {
    Fault("drop-after"): 0.10,
    Fault("drop-before"): 0.06,
    Fault("status", status=500, code="exception"): 0.05,
    Fault("status", status=503): 0.05,
    Fault("status", status=429, code="throttled", retry_after_s=0.02): 0.03,
    Fault("status", status=409, code="conflict", method="PUT"): 0.05,
    Fault("status", status=401, code="login"): 0.02,
    Fault("truncate"): 0.05,
    Fault("delay", delay_s=0.02): 0.05,
}
DOCUMENTS = 40


def fill(store: Store, chance: random.Random) -> dict[str, str]:
    """200 rows and the status that each score must end with."""
    expected: dict[str, str] = {}

    def expect(document: str, tasks: int, status: str) -> None:
        expected.update({str(p.identifier): status for p in scored(document, tasks=tasks).predictions})

    store.commit([scored(f"n{i}", tasks=4) for i in range(DOCUMENTS)])
    for i in range(DOCUMENTS):
        expect(f"n{i}", 4, "final")
    for i in chance.sample(range(DOCUMENTS), 4):
        store.commit([scored(f"amended-{i}", tasks=2, replaces=(f"DocumentReference/n{i}",))])
        expect(f"n{i}", 4, "cancelled")
        expect(f"amended-{i}", 2, "final")
    return expected


def retract(store: Store, expected: dict[str, str], document: str) -> None:
    store.write(standing.retract, "test", f"DocumentReference/{document}", "Patient/1")
    expected.update({str(p.identifier): "entered-in-error" for p in scored(document, tasks=4).predictions})


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_exactly_once_under_chaos(open_outbox: Callable[..., Store], url: str, ehr: TestEhr, seed: int) -> None:
    chance = random.Random(seed)
    options = replace(FAST, lease_s=0.3, poll_s=0.005)
    rig = Rig(open_outbox(url), ehr.url, options)
    expected = fill(rig.store, chance)
    assert len(rig.rows()) >= 180
    ehr.faults.at_random(seed, CHANCES)
    crashes = Counter[int]()

    def live_and_die(writer: int) -> None:
        own, luck = Rig(open_outbox(url), ehr.url, options), random.Random(f"{seed}-{writer}")
        until = time.monotonic() + LIMIT_S
        while own.statuses().count("pending"):
            assert time.monotonic() < until, Counter(own.statuses())
            crash = Crashing(luck.randrange(15, 70), after=luck.random() < 0.5)
            run_until_crash(own, crash)
            crashes[writer] += crash.dead

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(live_and_die, each) for each in range(2)]
        retract(rig.store, expected, "n1")  # while its scores are on their way
        retract(rig.store, expected, "n2")
        for each in writers:
            each.result()
    ehr.faults.clear()
    rig.store.write(letters.replay, None)
    rig.write_all()
    assert sum(crashes.values()) >= 3, crashes
    assert ehr.faults.hits["drop-after"] >= 5
    assert Counter(identifiers(ehr)) == Counter(list(expected)), "one resource a score, none lost"
    assert {each["identifier"][0]["value"]: each["status"] for each in ehr.resources("RiskAssessment")} == expected
    assert set(rig.statuses()) == {"done"}
