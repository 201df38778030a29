"""The drill's retraining jobs: the product's own job, on the drill's record and clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from lang1.registry import Registry
from training.drill.hospital import Stays
from training.drill.record import HospitalRecord
from training.retraining.job import run_job
from training.retraining.report import JobReport
from training.retraining.spec import RetrainSpec, load_spec
from training.synth.config import SynthConfig

DAY_S = 86_400.0
RECORD_DAYS = 420
"""How far back the record goes that a job is handed: claims take half a year to be final."""


def drill_spec(work: Path) -> RetrainSpec:
    """The shipped spec with its folders in `work`."""
    with resources.as_file(resources.files("training.drill") / "retraining.yaml") as path:
        spec = load_spec(path)
    return spec.model_copy(update={"registry": work / "registry", "work": work / "retraining"})


def retrain(
    spec: RetrainSpec, config: SynthConfig, stays: Stays, as_of_s: float, reason: str, say: Callable[[str], None]
) -> JobReport:
    """Run a job as of a time of the drill. Raises RetrainingError."""
    return run_job(
        spec,
        datetime.fromtimestamp(as_of_s, UTC),
        actor="drill",
        reason=reason,
        source=lambda: HospitalRecord(config, stays, as_of_s - RECORD_DAYS * DAY_S, as_of_s),
        say=say,
    )


def gates_of(registry: Registry, report: JobReport, day: str) -> list[dict[str, Any]]:
    """What the gate said of each remedy that it judged: day, remedy, verdict, reasons, and its figures by task."""
    found = []
    for tried in report.tried:
        gate = registry.latest_gate(tried.bundle)
        found.append(
            {
                "day": day,
                "remedy": tried.kind,
                "bundle": tried.bundle,
                "verdict": tried.gate or "not enough",
                "reasons": list(tried.reasons if tried.gate else tried.shortfalls),
                "tasks": [] if gate is None or tried.gate is None else list(gate.get("tasks", [])),
            }
        )
    return found
