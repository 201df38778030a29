"""Writes docs/images/boards/*.png: the boards over the real service with the demo bundle, a real Prometheus and an EHR.

    python -m tests.serve.monitor.board_pictures [--weeks 18] [--out docs/images/boards]

Traffic, write-back and polling are live. What the monitor needs months for goes by as in a time-lapse: the past of an
invented hospital moves a week into the past, the monitor judges all of it anew, and the next week passes.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from lang1 import DEMO_BUNDLE
from lang1.cli.main import app
from lang1.tasks import BUILT_IN
from monitoring.boards import boards
from monitoring.cohorts import WEEK_S
from monitoring.rules import rule_groups
from serve.store.core import Store
from tests.ehr.server import TestEhr
from tests.serve.monitor.invented_past import ScoredNote, a_week_passes, past, put, scored_notes
from tests.serve.monitor.watchers import SCOPE, Prometheus, running_prometheus
from tests.serve.outcomes.resources import encounter
from tests.serve.retraining.parts import Work
from tests.serve.service import RunningService

OUT = Path(__file__).parents[3] / "docs" / "images" / "boards"
CHANGE_WEEK = 7
FIRST_WEEKS = 3
UNITS = ("Cardiology", "General medicine", "Surgery", "Intensive care")
_PAUSE_S = 0.35
_LIMIT_S = 600.0
LAST = "lang1_monitor_last_success_timestamp_seconds"


class Traffic:
    """What an EHR and its programs send, about three calls a second, until it is stopped."""

    def __init__(self, service: RunningService, ehr: TestEhr, notes: Sequence[ScoredNote]) -> None:
        self._service, self._ehr, self._notes = service, ehr, notes
        self._stop, self._go = threading.Event(), threading.Event()
        self._go.set()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._go.set()
        self._thread.join(60)

    def pause(self) -> None:
        self._go.clear()
        time.sleep(2 * _PAUSE_S)

    def go_on(self) -> None:
        self._go.set()

    def _run(self) -> None:
        chance = random.Random(3)
        sent: list[dict[str, Any]] = []
        with httpx.Client(base_url=self._service.url, timeout=60, trust_env=False) as client:
            for number in range(1_000_000):
                if self._stop.wait(_PAUSE_S * chance.uniform(0.4, 1.6)):
                    return
                self._go.wait()
                with suppress(httpx.TransportError):
                    self._one(client, chance, number, sent)

    def _one(self, client: httpx.Client, chance: random.Random, number: int, sent: list[dict[str, Any]]) -> None:
        note, what = chance.choice(self._notes), chance.random()
        resource = document(note, f"live-{number}", f"stay-{number % 120}")
        if what < 0.70:
            sent.append(resource)
            client.post("/fhir/DocumentReference/$score", content=json.dumps(resource), headers=FHIR)
        elif what < 0.80 and sent:
            client.post("/fhir/DocumentReference/$score", content=json.dumps(chance.choice(sent)), headers=FHIR)
        elif what < 0.86:
            del resource["content"]
            client.post("/fhir/DocumentReference/$score", content=json.dumps(resource), headers=FHIR)
        elif what < 0.93:
            client.post("/cds-services/lang1-encounter-discharge", json=card_call(resource))
        else:
            # Told by nobody: found by polling.
            self._ehr.add(document(note, None, f"stay-{number % 120}"))


FHIR = {"Content-Type": "application/fhir+json"}


def document(note: ScoredNote, own_id: str | None, stay: str) -> dict[str, Any]:
    data = base64.b64encode(note.text.encode()).decode()
    resource = {
        "resourceType": "DocumentReference", "status": "current",
        "type": {"coding": [{"system": "http://loinc.org", "code": note.note_type}]},
        "subject": {"reference": f"Patient/of-{stay}"},
        "content": [{"attachment": {"contentType": "text/plain", "data": data}}],
        "context": {"encounter": [{"reference": f"Encounter/{stay}"}]},
    }  # fmt: skip
    return resource | ({"id": own_id} if own_id else {})


def card_call(resource: dict[str, Any]) -> dict[str, Any]:
    entries = [{"resource": resource}]
    return {
        "hook": "encounter-discharge", "hookInstance": str(uuid.uuid4()),
        "context": {
            "userId": "Practitioner/1", "patientId": resource["subject"]["reference"].removeprefix("Patient/"),
            "encounterId": resource["context"]["encounter"][0]["reference"].removeprefix("Encounter/"),
        },
        "prefetch": {"notes": {"resourceType": "Bundle", "type": "searchset", "entry": entries}},
    }  # fmt: skip


def admit(client: httpx.Client) -> None:
    """Sixty days of stays in four units, and 120 patients who are in."""
    chance, now = random.Random(4), datetime.now(UTC)

    def when(days: float) -> str:
        return (now - timedelta(days=days)).isoformat(timespec="seconds")

    stays = []
    for i in range(900):
        end = chance.uniform(0.2, 60)
        stays.append(encounter(f"gone-{i}", when(end + chance.gammavariate(2, 2.2) + 0.3), when(end),
                               patient=f"gone-{i}", location=_in(chance)))  # fmt: skip
    for i in range(120):
        start = when(chance.gammavariate(1.5, 2))
        stays.append(encounter(f"stay-{i}", start, patient=f"of-stay-{i}", location=_in(chance)))
    for start_at in range(0, len(stays), 100):
        entries = [
            {"resource": each, "request": {"method": "PUT", "url": f"Encounter/{each['id']}"}}
            for each in stays[start_at : start_at + 100]
        ]
        body = {"resourceType": "Bundle", "type": "batch", "entry": entries}
        answer = client.post("/fhir", content=json.dumps(body), headers=FHIR)
        assert answer.status_code == 200, answer.text


def _in(chance: random.Random) -> list[dict[str, Any]]:
    return [{"location": {"display": chance.choice(UNITS)}, "status": "active"}]


def until(prometheus: Prometheus, expression: str, limit_s: float = _LIMIT_S) -> None:
    late = time.monotonic() + limit_s
    while not prometheus.found(expression):
        assert time.monotonic() < late, f"in vain: {expression}"
        time.sleep(0.5)  # polls with a limit


def record(folder: Path, weeks: int, out: Path) -> None:
    notes = scored_notes(DEMO_BUNDLE)
    work = Work(folder)
    with TestEhr() as ehr:
        service = RunningService(
            folder, DEMO_BUNDLE, monitor_every_s=2, fhir_base_url=ehr.url, sink="risk-assessment", poll_every_s=2,
            retraining_look_s=0.5, **work.settings(),
        )  # fmt: skip
        try:
            model = service.client.get("/v1/model").json()["model"]
            store = Store(f"sqlite:///{service.database}")
            begin_s = time.time() - FIRST_WEEKS * WEEK_S
            put(store, past(notes, BUILT_IN, model, weeks, CHANGE_WEEK, begin_s))
            admit(service.client)
            with (
                running_prometheus(folder / "prometheus", rule_groups(SCOPE), service.port) as prometheus,
                Traffic(service, ehr, notes) as traffic,
            ):
                began = time.time()
                for week in range(FIRST_WEEKS, weeks):
                    traffic.pause()
                    store.write(a_week_passes)
                    traffic.go_on()
                    # Two runs: one may have begun before the week had passed.
                    passed = time.time()
                    until(prometheus, f"{LAST} > {passed:.0f}")
                    until(prometheus, f"{LAST} > {time.time():.0f}")
                    print(f"week {week + 1} of {weeks}, {time.time() - began:.0f} s", flush=True)
                    if week == weeks - 4:
                        service.client.post("/v1/retraining", json={"reason": "the boards' pictures"})
                        work.go()
                until(prometheus, 'lang1_retraining_last_end_timestamp_seconds{code="done"} > 0')
                time.sleep(10)
                pages = folder / "pages"
                seconds = round(time.time() - began) + 10
                arguments = ["monitor", "report", "--prometheus", prometheus.url, "--out", str(pages), "--last",
                             f"{seconds}s", "--png"]  # fmt: skip
                app(arguments, standalone_mode=False)
            store.close()
        finally:
            service.stop()
    out.mkdir(parents=True, exist_ok=True)
    for board in boards(BUILT_IN):
        (out / f"{board.uid}.png").write_bytes((pages / f"{board.uid}.png").read_bytes())
        print(out / f"{board.uid}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=18)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lang1-boards-") as folder:
        record(Path(folder), given.weeks, given.out)


if __name__ == "__main__":
    main()
