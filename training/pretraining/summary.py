"""What a run measured, in one JSON object, from what it wrote down."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from training.pretraining.journal import read_events, read_metrics

_MEASURED = ("validation", "evaluation")


def summary(out: Path, outcome: dict[str, Any]) -> dict[str, Any]:
    """The outcome with losses, validations, evaluations, speed and what went wrong on the way. No text of a note."""
    lines, events = read_metrics(out), read_events(out)
    starts = [event for event in events if event["event"] == "started"]
    speed: dict[str, Any] = next((event for event in reversed(events) if event["event"] == "speed"), {})
    described: dict[str, Any] = {
        **outcome,
        "workers": len(starts[-1]["workers"]) if starts else 0,
        "weights": sum(worker["weights"] for worker in starts[-1]["workers"]) if starts else 0,
        "starts": len(starts),
        "rollbacks": [event for event in events if event["event"] == "rollback"],
        "peak_tflops": speed.get("peak_tflops"),
        "peak_source": speed.get("peak_source"),
        "flops_per_token": speed.get("flops_per_token"),
    }
    if lines:
        described |= {
            "loss": {"first": round(lines[0]["loss"], 4), "last": round(lines[-1]["loss"], 4)},
            "seconds_of_steps": round(sum(line["step_s"] for line in lines), 1),
            "tokens_per_s_per_device": round(median(line["tokens_per_s_per_device"] for line in lines), 1),
            "mfu": round(median(line["mfu"] for line in lines), 4),
        }
    for key in _MEASURED:
        described[key] = [{"step": line["step"], **_rounded(line[key])} for line in lines if key in line]
    described["machine"] = {
        "cpus": os.cpu_count(), "load_average": [round(load, 1) for load in os.getloadavg()],
        **{package: version(package) for package in ("torch", "ray", "litgpt")},
    }  # fmt: skip
    return described


def _rounded(values: Any) -> Any:
    """Floats to 4 decimals, through dicts."""
    return json.loads(json.dumps(values), parse_float=lambda text: round(float(text), 4))
