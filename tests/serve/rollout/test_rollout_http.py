"""A whole service under constant load: a rollout there and back, bad challengers, a killed one; no request fails."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from lang1.registry import Registry
from tests.serve.notes import FHIR, SCORE, TEXT, document
from tests.serve.rollout.bundles import shifted_bundle
from tests.serve.rollout.parts import WHO
from tests.serve.service import RunningService
from tests.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.slow

CHAMPION, CHALLENGER, SHIFTED, POISONED = "0.0.1", "0.0.2", "0.0.3", "0.0.4"
LIMIT_S = 120
ENCOUNTERS = 40


@dataclass
class Rollout:
    """The running service, its registry and its bundles by version."""

    service: RunningService
    registry: Registry
    bundles: dict[str, str]

    def move(self, action: str, version: str | None = None) -> dict[str, Any]:
        """As an operator does it."""
        body = {"action": action, "reason": f"{action} in a test"}
        if version is not None:
            body["bundle"] = self.bundles[version]
        answer = self.service.client.post("/v1/rollout", json=body)
        assert answer.status_code == 200, answer.text
        channels: dict[str, Any] = answer.json()["channels"]
        return channels

    def begin(self, version: str) -> None:
        """Gate and shadow."""
        report: dict[str, Any] = {"verdict": "pass", "reasons": [], "champion": self.registry.channels().champion}
        self.registry.record_gate(self.bundles[version], report, actor="gate")
        self.move("shadow", version)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.service.client.get("/v1/rollout").json()
        return found

    def until(self, what: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Poll `/v1/rollout` until it is so."""
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            state = self.state()
            if what(state):
                return state
            time.sleep(0.1)  # polls with a limit
        raise AssertionError(f"not in {LIMIT_S} s: {state}")

    def score(self, name: str, text: str = TEXT) -> dict[str, Any]:
        """Plain JSON of one note."""
        answer = self.service.client.post("/v1/score", json={"notes": [{"id": name, "text": text}]})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollout]:
    folder = tmp_path_factory.mktemp("rollout")
    registry = Registry.create(folder / "registry")
    first = make_tiny_bundle(folder / "1", version=CHAMPION)
    paths = {
        CHAMPION: first,
        CHALLENGER: shifted_bundle(folder / "2", first, CHALLENGER, 0.1),
        SHIFTED: shifted_bundle(folder / "3", first, SHIFTED, 2.5),
        POISONED: make_tiny_bundle(folder / "4", version=POISONED, poison=True),
    }
    bundles = {version: registry.add(path, **WHO) for version, path in paths.items()}
    registry.set_champion(bundles[CHAMPION], **WHO)
    # A machine that is busy with other tests is slow, and that is no fault of a challenger.
    service = RunningService(
        folder, first, registry=str(registry.folder), ingress_replicas=2, rollout_follow_s=0.3, guard_every_s=0.5,
        guard_slow_s=300, guard_away_s=300, guard_min_pairs=20, challenger_timeout_s=30, deadline_s=120,
    )  # fmt: skip
    yield Rollout(service, registry, bundles)
    service.stop()


@dataclass
class Load:
    """What clients saw: statuses, and per encounter the versions that answered, in order."""

    statuses: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    versions: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    sent: int = 0

    def answered_by(self, version: str) -> int:
        return sum(each.count(version) for each in list(self.versions.values()))


@contextmanager
def load(service: RunningService) -> Iterator[Load]:
    """Two clients that send new notes of the same encounters all the time."""
    seen, ended, lock = Load(), threading.Event(), threading.Lock()

    def send() -> None:
        with httpx.Client(base_url=service.url, timeout=150, trust_env=False) as client:
            while not ended.is_set():
                with lock:
                    seen.sent += 1
                    number = seen.sent
                encounter = number % ENCOUNTERS
                body = document(
                    f"{TEXT} Note {number}.", id=f"load-{number}",
                    context={"encounter": [{"reference": f"Encounter/load-{encounter}"}]},
                )  # fmt: skip
                try:
                    answer = client.post(SCORE, json=body, headers=FHIR)
                except httpx.TransportError as error:
                    seen.faults.append(type(error).__name__)
                    continue
                seen.statuses.append(answer.status_code)
                if answer.status_code == 200:
                    version = answer.json()["entry"][0]["resource"]["method"]["text"].rpartition(" ")[2]
                    with lock:
                        seen.versions[encounter].append(version)
                else:
                    seen.faults.append(answer.text)

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join(160)
    assert seen.faults == []
    assert set(seen.statuses) == {200}


def risks(answer: dict[str, Any]) -> object:
    return [risk["probabilities"] for risk in answer["results"][0]["risks"]]


def wait_for_notes(seen: Load, more: int) -> None:
    until, target = time.monotonic() + LIMIT_S, len(seen.statuses) + more
    while len(seen.statuses) < target and not seen.faults:
        assert time.monotonic() < until
        time.sleep(0.05)  # polls with a limit


def loads_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def test_a_rollout_all_the_way_and_back_under_load(run: Rollout) -> None:
    (challenger,) = run.service.replica_pids("Challenger")
    assert not loads_torch(challenger)
    before = run.score("kept")
    assert before["model"]["version"] == CHAMPION
    with load(run.service) as seen:
        wait_for_notes(seen, ENCOUNTERS)
        run.begin(CHALLENGER)
        run.until(lambda state: state["guard"].get("shadow", {}).get("scored", 0) >= 20)
        assert seen.answered_by(CHALLENGER) == 0
        run.move("approve", CHALLENGER)
        assert run.move("canary")["share"] == 5
        for share in (25, 50, 100):
            wait_for_notes(seen, ENCOUNTERS)
            assert run.move("advance")["share"] == share
        run.until(lambda state: state["guard"].get("canary", {}).get("answered", 0) >= ENCOUNTERS)
        # What was answered stays so while the rollout lasts.
        assert run.score("kept")["results"] == before["results"]
        assert run.score("fresh")["model"]["version"] == CHALLENGER
        answered = {number: list(versions) for number, versions in seen.versions.items()}
        run.move("promote")
        run.until(lambda state: state["loaded"]["champion"] == run.bundles[CHALLENGER])
        wait_for_notes(seen, ENCOUNTERS)
        promoted = run.score("kept")
        assert promoted["model"]["version"] == CHALLENGER
        assert risks(promoted) != risks(before)
        run.move("rollback")
        run.until(lambda state: state["loaded"]["champion"] == run.bundles[CHAMPION])
        wait_for_notes(seen, ENCOUNTERS)
    # Each encounter went over at most once.
    for versions in answered.values():
        assert versions == sorted(versions)
    after = run.score("kept")
    assert after["results"] == before["results"]
    # And what is scored anew is the same, bit for bit.
    assert risks(run.score("the same text under another name")) == risks(before)
    run.registry.verify_log()
    assert run.service.metric("lang1_canary_notes_total", model_version=CHALLENGER) > 0
    assert run.service.metric("lang1_shadow_notes_total", code="scored") > 0
    assert run.service.metric("lang1_canary_fallbacks_total", code="exception") == 0


def test_a_challenger_with_shifted_scores_is_rolled_back(run: Rollout) -> None:
    with load(run.service) as seen:
        run.begin(SHIFTED)
        state = run.until(lambda state: state["channels"]["stage"] is None)
        assert seen.answered_by(SHIFTED) == 0
    last = state["log"][-1]
    assert (last["action"], last["actor"]) == ("rollback-automatic", "guard")
    assert "score shift" in last["reason"]
    assert run.service.metric("lang1_automatic_rollbacks_total") >= 1


def test_a_challenger_without_numbers_is_rolled_back_and_costs_no_answer(run: Rollout) -> None:
    with load(run.service) as seen:
        run.begin(POISONED)
        state = run.until(lambda state: state["channels"]["stage"] is None)
        assert seen.answered_by(POISONED) == 0
    assert "error burn" in state["log"][-1]["reason"]


def test_a_challenger_that_is_killed_costs_no_answer(run: Rollout) -> None:
    with load(run.service) as seen:
        run.begin(CHALLENGER)
        run.until(lambda state: state["loaded"]["challenger"] == run.bundles[CHALLENGER])
        run.move("approve", CHALLENGER)
        run.move("canary")
        for _ in range(3):
            run.move("advance")
        run.until(lambda state: state["guard"].get("canary", {}).get("answered", 0) > 0)
        (challenger,) = run.service.replica_pids("Challenger")
        assert loads_torch(challenger)
        os.kill(challenger, signal.SIGKILL)
        killed_at = seen.answered_by(CHALLENGER)
        run.until(lambda state: sum(state["guard"].get("canary", {}).get("fallbacks", {}).values()) > 0)
        # It comes back by itself, and answers again.
        until = time.monotonic() + LIMIT_S
        while seen.answered_by(CHALLENGER) < killed_at + 20:
            assert time.monotonic() < until
            time.sleep(0.1)  # polls with a limit
        assert run.state()["channels"]["share"] == 100
        run.move("rollback")
        wait_for_notes(seen, 10)
