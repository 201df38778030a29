"""How long CDS Hooks calls take at discharge, 8 at once: from scores that are there, and when the notes must be scored.

    python -m bench.cds_latency [--bundle FOLDER] [--calls 200]

Starts `lang1 serve` with its default settings on a free port and a temporary folder, and stops it. Each call is of
another patient with two notes (H&P and discharge summary), sent along as prefetch; answers are checked. The goals are
500 ms and 2 s at the 95th percentile on two cores.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import json
import statistics
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from bench.service_latency import machine, milliseconds, note_text, service
from lang1 import DEMO_BUNDLE

CLIENTS = 8
URL = "/cds-services/lang1-encounter-discharge"
NOTE_TYPES = ("34117-2", "18842-5")
GOALS_MS = {"scored before, notes sent along": 500.0, "scored before, nothing sent along": 500.0, "scored now": 2000.0}


def call(patient: str, *, with_notes: bool) -> dict[str, Any]:
    """The body of a call at the discharge of an invented patient."""
    body: dict[str, Any] = {
        "hook": "encounter-discharge", "hookInstance": str(uuid.uuid4()),
        "context": {"userId": "Practitioner/1", "patientId": patient, "encounterId": f"{patient}-stay"},
    }  # fmt: skip
    if with_notes:
        entries = [{"resource": note(patient, loinc)} for loinc in NOTE_TYPES]
        body["prefetch"] = {"notes": {"resourceType": "Bundle", "type": "searchset", "entry": entries}}
    return body


def note(patient: str, loinc: str) -> dict[str, Any]:
    text = f"{note_text()}\nRecord of {patient}."
    return {
        "resourceType": "DocumentReference", "id": f"{patient}-{loinc}", "status": "current",
        "type": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
        "subject": {"reference": f"Patient/{patient}"},
        "content": [{"attachment": {"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}}],
        "context": {"encounter": [{"reference": f"Encounter/{patient}-stay"}]},
    }  # fmt: skip


def at_once(client: httpx.Client, bodies: list[dict[str, Any]]) -> list[float]:
    """Milliseconds of each call, CLIENTS of them under way at any time."""

    def post(body: dict[str, Any]) -> None:
        answer = client.post(URL, json=body)
        if answer.status_code != httpx.codes.OK or not answer.json()["cards"]:
            raise SystemExit(f"a call failed with status {answer.status_code} or had no card")

    def timed(body: dict[str, Any]) -> Callable[[], object]:
        return lambda: post(body)

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(lambda body: milliseconds(timed(body)), bodies))


def measure(url: str, calls: int) -> dict[str, list[float]]:
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        at_once(client, [call(f"warm-{i}", with_notes=True) for i in range(2 * CLIENTS)])
        patients = [f"p-{i}" for i in range(calls)]
        now = at_once(client, [call(each, with_notes=True) for each in patients])
        again = at_once(client, [call(each, with_notes=True) for each in patients])
        bare = at_once(client, [call(each, with_notes=False) for each in patients])
    return {"scored before, notes sent along": again, "scored before, nothing sent along": bare, "scored now": now}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO_BUNDLE)
    parser.add_argument("--calls", type=int, default=200)
    arguments = parser.parse_args()
    before = machine()
    with service(arguments.bundle.absolute()) as url:
        measured = measure(url, arguments.calls)
    rows = {
        name: {"p50_ms": statistics.median(times), "p95_ms": statistics.quantiles(times, n=20)[-1],
               "goal_p95_ms": GOALS_MS[name]}
        for name, times in measured.items()
    }  # fmt: skip
    result = {"calls": arguments.calls, "clients": CLIENTS, "notes_per_call": len(NOTE_TYPES), "cds": rows,
              "machine": before}  # fmt: skip
    out = Path(__file__).parent / "results" / "cds.json"
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    table = Table("8 calls at once", "p50", "p95", "goal, p95")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[key]:.0f} ms" for key in ("p50_ms", "p95_ms", "goal_p95_ms")))
    Console().print(table)
    Console().print(f"written to {out}")


if __name__ == "__main__":
    main()
