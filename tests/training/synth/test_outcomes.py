"""Outcomes come when they would, and what monitors read agrees with the labels and with the events behind them."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lang1.tasks import BUILT_IN
from monitoring.history import read_history
from training.synth import Manifest, truth
from training.synth.arrow import Table, pa, pq
from training.synth.generate import EVENTS_FILE, OUTCOMES_FILE
from training.synth.outcome_tables import EXCLUDED

READMISSION, DENIAL = truth.task_name("readmission"), truth.task_name("insurance_denial")
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def outcomes(hospital: tuple[Path, Manifest]) -> dict[tuple[str, str], dict[str, Any]]:
    rows: Rows = pq.read_table(hospital[0] / OUTCOMES_FILE).to_pylist()
    found = {(row["encounter"], row["task"]): row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def events(hospital: tuple[Path, Manifest]) -> dict[str, dict[str, datetime]]:
    found: dict[str, dict[str, datetime]] = defaultdict(dict)
    for row in pq.read_table(hospital[0] / EVENTS_FILE).to_pylist():
        assert row["kind"] not in found[row["encounter"]]
        found[row["encounter"]][row["kind"]] = row["at"]
    return found


def test_every_label_has_its_outcome_and_none_is_known_before_the_note(
    notes: Table, outcomes: dict[tuple[str, str], dict[str, Any]]
) -> None:
    checked = 0
    for row in notes.to_pylist():
        for task in BUILT_IN.values():
            label = row[f"label_{task.name}"]
            if label >= 0:
                found = outcomes[row["encounter_id"], task.name]
                assert found["value"] == task.options[label].code
                assert found["known_at"] > row["authored"]
                checked += 1
    assert checked > 5000
    died = {
        encounter for (encounter, task), row in outcomes.items() if task == READMISSION and row["value"] == EXCLUDED
    }
    assert died == {e for (e, task), row in outcomes.items() if "mortality" in task and row["value"] == "yes"}


def test_events_come_in_the_order_of_life(events: dict[str, dict[str, datetime]], notes: Table) -> None:
    ends = ("discharge", "death")
    for row in notes.to_pylist():
        at = events[row["encounter_id"]]
        out = next(at[kind] for kind in ends if kind in at)
        assert at["admission"] < row["authored"] < out or (
            out.date() == at["admission"].date() and row["authored"] < out
        )
        assert at["admission"].date() <= row["authored"].date() <= out.date()
        answer = at.get("claim_approved") or at["claim_denied"]
        assert at["admission"] < out < at["coding"] < at["claim_submitted"] < answer
        if "claim_denied" in at:
            last = at.get("claim_overturned") or at["claim_upheld"]
            assert answer < last and answer < at.get("claim_appealed", last) <= last
        assert "readmission" not in at or 1 < (at["readmission"].date() - out.date()).days <= 30


def test_approvals_come_before_denials_and_99_percent_of_claims_within_180_days(
    outcomes: dict[tuple[str, str], dict[str, Any]],
) -> None:
    waits: dict[str, list[float]] = {"yes": [], "no": []}
    for (_, task), row in outcomes.items():
        if task == DENIAL:
            waits[row["value"]].append((row["known_at"] - row["discharged_at"]).total_seconds() / 86_400)
    assert np.median(waits["no"]) + 30 < np.median(waits["yes"])
    # Read early, a cohort looks far too good.
    assert np.quantile(waits["yes"], 0.1) > np.quantile(waits["no"], 0.6)
    assert np.quantile(waits["yes"] + waits["no"], 0.99) < 180


def test_returns_are_known_early_and_their_absence_after_30_days(
    outcomes: dict[tuple[str, str], dict[str, Any]],
) -> None:
    for (_, task), row in outcomes.items():
        if task == READMISSION and row["value"] != EXCLUDED:
            days = (row["known_at"].date() - row["discharged_at"].date()).days
            assert days == 31 if row["value"] == "no" else 1 < days <= 30


def test_the_monitor_reads_them(notes: Table, hospital: tuple[Path, Manifest], tmp_path: Path) -> None:
    rows = []
    for row in notes.slice(0, 300).to_pylist():
        for task in BUILT_IN.values():
            if task.trained_on(row["note_type"]):
                rows.append(
                    {"time": row["authored"].isoformat(), "encounter": row["encounter_id"], "task": task.name,
                     "patient": row["patient_id"], "note_type": row["note_type"], "model_version": "m", "shown": "true",
                     "probabilities": str([1 / len(task.options)] * len(task.options)), "note_tokens": "200",
                     "truncated": "false"}
                )  # fmt: skip
    file = tmp_path / "predictions.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    history = read_history(file, hospital[0] / OUTCOMES_FILE, BUILT_IN)
    for task in BUILT_IN.values():
        labels = notes.slice(0, 300)[f"label_{task.name}"].to_numpy()
        assert sorted(history.tasks[task.name].label.tolist()) == sorted(labels[labels >= 0].tolist())
