"""Real synthetic notes through HTTP: no 5xx, and every current one scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.notes import FHIR, batch

DATA = Path(__file__).parents[3] / "shared" / "data" / "synthea" / "DocumentReference.ndjson"
SAMPLE_EVERY = 40


def documents(every: int) -> list[dict[str, Any]]:
    if not DATA.exists():
        pytest.skip(f"{DATA} is absent")
    with DATA.open() as lines:
        return [json.loads(line) for number, line in enumerate(lines) if number % every == 0]


def send(client: httpx.Client, notes: list[dict[str, Any]]) -> None:
    for start in range(0, len(notes), 50):
        group = notes[start : start + 50]
        answer = client.post("/fhir", json=batch(*group), headers=FHIR)
        assert answer.status_code == 200
        for note, entry in zip(group, answer.json()["entry"], strict=True):
            expected = "200" if note["status"] == "current" else "422"
            assert entry["response"]["status"][:3] == expected, entry["response"]


def test_a_sample_of_synthea_notes(client: httpx.Client) -> None:
    send(client, documents(SAMPLE_EVERY))


@pytest.mark.slow
def test_all_synthea_notes(client: httpx.Client) -> None:
    send(client, documents(1))
