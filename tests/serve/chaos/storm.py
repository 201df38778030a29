"""A storm: notes by all ways in while processes and connections are killed, and what the EHR must hold after it."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from lang1.tasks import BUILT_IN
from tests.ehr.faults import Fault
from tests.ehr.notifications import Notifier
from tests.ehr.server import TestEhr, wait_for
from tests.serve.notes import FHIR, SCORE, TEXT, batch, document
from tests.serve.service import RunningService

TYPES = ("34117-2", "18842-5")
DEPLOYMENTS = ("Scorer", "Ingress", "Writer", "Intake", "Store")
BATCH = 4
CLIENT_LIMIT_S = 240.0


@dataclass
class Storm:
    """`notes` notes of one seed, sent to `service`, whose EHR is `ehr`."""

    service: RunningService
    ehr: TestEhr
    notes: int
    seed: int
    cut_database: Callable[[], None]
    """Breaks or blocks the database's connections for a moment."""
    kill_every_s: float = 4.0
    max_kills: int = 12
    """A machine that is slow for another reason must not be struck for ever."""
    killed: Counter[str] = field(default_factory=Counter)
    expected: dict[tuple[str, str], str] = field(default_factory=dict)
    """(DocumentReference, task) to the status that its one RiskAssessment must have in the end."""

    def blow(self) -> None:
        """Send everything while things break; returns when every call was answered with success."""
        over = threading.Event()
        breaker = threading.Thread(target=self._break_things, args=(over,), daemon=True)
        self.ehr.faults.at_random(
            self.seed,
            {
                Fault("drop-after", "POST", "RiskAssessment"): 0.1,
                Fault("drop-before", "POST", "RiskAssessment"): 0.05,
                Fault("status", "POST", "RiskAssessment", 503): 0.05,
                Fault("drop-after", "PUT", "RiskAssessment"): 0.1,
                Fault("status", "GET", "DocumentReference", 500): 0.1,
                Fault("truncate", "GET", "DocumentReference"): 0.05,
            },
        )
        breaker.start()
        try:
            with ThreadPoolExecutor(8) as senders:
                for done in [senders.submit(send) for send in self._sendings()]:
                    done.result()
        finally:
            over.set()
            breaker.join()
        self.ehr.faults.clear()
        self.ehr.faults.at_random(0, {})

    def settled(self) -> bool:
        """Whether the EHR holds what it must, in the standing that it must have."""
        return self._held().items() >= self.expected.items()

    def check(self) -> None:
        """One resource a score, none lost, none twice, none that nobody asked for."""
        found = self.ehr.resources("RiskAssessment")
        identifiers = Counter(each["identifier"][0]["value"] for each in found)
        assert not [value for value, times in identifiers.items() if times > 1]
        assert len(found) == len(self.expected)
        assert self._held() == self.expected

    def _held(self) -> dict[tuple[str, str], str]:
        return {
            (each["basis"][0]["reference"].split("/_history/")[0], each["code"]["coding"][0]["code"]): each["status"]
            for each in self.ehr.resources("RiskAssessment")
        }

    def _sendings(self) -> list[Callable[[], None]]:
        """One piece of work a note (or a batch of them), every fifth note amended later; shuffled."""
        rng = random.Random(self.seed)
        first: list[Callable[[], None]] = []
        later: list[Callable[[], None]] = []
        waiting: list[dict[str, Any]] = []
        notifiers = [
            Notifier(self.ehr, f"{self.service.url}/fhir/$notification", content, subscription=f"sub-{content}",
                     timeout_s=60)
            for content in ("id-only", "full-resource")
        ]  # fmt: skip
        locks = [threading.Lock() for _ in notifiers]
        for number in range(self.notes):
            way = number % 5
            note = self._note(f"n{self.seed}-{number}", rng)
            if way == 0:
                first.append(lambda note=note: self._score(note))  # type: ignore[misc]
            elif way == 1:
                waiting.append(note)
                if len(waiting) == BATCH or number >= self.notes - 5:
                    first.append(lambda notes=tuple(waiting): self._batch(notes))  # type: ignore[misc]
                    waiting.clear()
            elif way in (2, 3):
                which = way - 2
                first.append(lambda note=note, i=which: self._notify(note, notifiers[i], locks[i]))  # type: ignore[misc]
            else:
                first.append(lambda note=note: self._store(note))  # type: ignore[misc]
            if way in (0, 4) and number % 3 == 0:
                amended = self._note(f"a{self.seed}-{number}", rng, of=note)
                later.append(
                    (lambda note=amended: self._score(note)) if way == 0 else (lambda note=amended: self._store(note))  # type: ignore[misc]
                )
        rng.shuffle(first)
        return first + later

    def _note(self, name: str, rng: random.Random, of: dict[str, Any] | None = None) -> dict[str, Any]:
        """A note, or the amendment of another: what is expected of it is noted down."""
        loinc = rng.choice(TYPES) if of is None else of["type"]["coding"][0]["code"]
        patient = name if of is None else of["id"]
        made = document(
            f"{TEXT} Record {name}.", id=name, subject={"reference": f"Patient/{patient}"},
            type={"coding": [{"system": "http://loinc.org", "code": loinc}]},
            context={"encounter": [{"reference": f"Encounter/{patient}"}]},
        )  # fmt: skip
        tasks = [task.name for task in BUILT_IN.values() if task.trained_on(loinc)]
        self.expected |= {(f"DocumentReference/{name}", task): "final" for task in tasks}
        if of is not None:
            made["relatesTo"] = [{"code": "replaces", "target": {"reference": f"DocumentReference/{of['id']}"}}]
            self.expected |= {(f"DocumentReference/{of['id']}", task): "cancelled" for task in tasks}
        return made

    def _score(self, note: dict[str, Any]) -> None:
        self._until_ok(lambda client: client.post(SCORE, json=note, headers=FHIR).status_code == 200)

    def _batch(self, notes: tuple[dict[str, Any], ...]) -> None:
        def all_ok(client: httpx.Client) -> bool:
            answer = client.post("/fhir", json=batch(*notes), headers=FHIR)
            return answer.status_code == 200 and all(
                entry["response"]["status"].startswith("200") for entry in answer.json()["entry"]
            )

        self._until_ok(all_ok)

    def _until_ok(self, sent: Callable[[httpx.Client], bool]) -> None:
        """As a patient client: the same again after any failure, with a limit."""

        def tried() -> bool:
            with suppress(httpx.TransportError):
                return sent(self.service.client)
            return False

        wait_for(tried, CLIENT_LIMIT_S)

    def _notify(self, note: dict[str, Any], notifier: Notifier, lock: threading.Lock) -> None:
        reference = self.ehr.add(note)
        with lock:
            notifier.event(reference, until_taken_s=CLIENT_LIMIT_S)
            if len(notifier.events) % 4 == 0:
                notifier.repeat(len(notifier.events) - 1)

    def _store(self, note: dict[str, Any]) -> None:
        """Only into the EHR: polling must find it."""
        self.ehr.add(note)

    def _break_things(self, over: threading.Event) -> None:
        rng = random.Random(self.seed + 1)
        while self.killed.total() < self.max_kills and not over.wait(self.kill_every_s * (0.5 + rng.random())):
            victim = rng.choice((*DEPLOYMENTS, "database"))
            if victim == "database":
                self.cut_database()
                self.killed[victim] += 1
            elif pids := self.service.replica_pids(victim):
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(pids), signal.SIGKILL)
                    self.killed[victim] += 1
