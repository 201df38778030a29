"""What the gate lets through: pass rates of equal and of worse challengers, on scores drawn from known models.

    python -m bench.gate [--replicates 100] [--resamples 300]

Five tasks with the class shares of the paper's 2024 set, drawn by outcome with five controls a case. A class's score is
normal around its mean, so that every model is perfectly calibrated; champion and challenger share a part of the noise,
and `correlation` says how much. Worse challengers have an AUROC that is 0.04 lower, on one task or on all.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lang1.discrimination import macro_auroc
from lang1.tasks import BUILT_IN, Task
from training.retraining.bounds import Bounds
from training.retraining.judgement import judge_task
from training.retraining.subgroups import Rows, Verdict

RESULT = Path(__file__).parent / "results" / "gate.json"
SHARES: dict[str, tuple[float, ...]] = {
    "readmission_30d": (0.887, 0.113),
    "in_hospital_mortality": (0.9822, 0.0178),
    "length_of_stay": (0.456, 0.145, 0.16, 0.239),
    "charlson_comorbidity_index": (0.684, 0.217, 0.0675, 0.0294, 0.0021),
    "insurance_denial": (0.861, 0.139),
}
"""Of each option (paper, 5.2.2)."""
SPREAD = 1.1
"""Distance of the first and the last class's means; the champion's AUROCs are then 0.74 to 0.78."""
DROP = 0.04
CONTROLS = 5
AGE_BANDS = 5
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    events: int
    correlation: float
    worse: tuple[str, ...] = ()


SCENARIOS = (
    Scenario("equal", 1000, 0.9),
    Scenario("equal", 1000, 0.8),
    Scenario("equal", 3000, 0.8),
    Scenario("0.04 worse on one task", 1000, 0.9, ("readmission_30d",)),
    Scenario("0.04 worse on all tasks", 1000, 0.9, tuple(SHARES)),
)


def probabilities(x: Floats, means: Floats, shares: Floats) -> Floats:
    """(n, K) posterior of the class whose score is normal around its mean."""
    logits = np.log(shares)[None, :] - 0.5 * (x[:, None] - means[None, :]) ** 2
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))


def weaker(shares: Floats, drop: float) -> float:
    """Factor of the means at which the macro AUROC of the population is `drop` lower, by bisection."""
    rng = np.random.default_rng(1)
    labels = rng.choice(len(shares), 200_000, p=shares)
    noise = rng.normal(size=len(labels))
    means = np.linspace(0, SPREAD, len(shares))

    def auroc(factor: float) -> float:
        x = factor * means[labels] + noise
        return macro_auroc(probabilities(x, factor * means, shares), labels)

    target = auroc(1.0) - drop
    low, high = 0.3, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if auroc(middle) < target else (low, middle)
    return (low + high) / 2


def draw(task: Task, scenario: Scenario, factor: float, rng: np.random.Generator) -> tuple[Floats, Floats, Rows]:
    shares = np.asarray(SHARES[task.name])
    adverse = list(task.adverse_options)
    others = [k for k in range(len(shares)) if k not in adverse]
    labels = np.concatenate(
        [
            rng.choice(adverse, scenario.events, p=shares[adverse] / shares[adverse].sum()),
            rng.choice(others, CONTROLS * scenario.events, p=shares[others] / shares[others].sum()),
        ]
    ).astype(np.int8)
    n = len(labels)
    means = np.linspace(0, SPREAD, len(shares))
    shared, rho = rng.normal(size=n), scenario.correlation
    found = []
    for strength in (1.0, factor):
        x = strength * means[labels] + math.sqrt(rho) * shared + math.sqrt(1 - rho) * rng.normal(size=n)
        found.append(probabilities(x, strength * means, shares))
    weight = (1 - shares[adverse].sum()) / shares[adverse].sum() / CONTROLS
    rows = Rows(
        labels=labels, weights=np.where(np.isin(labels, adverse), 1.0, weight), patients=rng.integers(0, 4 * n // 5, n),
        seen=np.zeros(n, np.bool_),
        parts={"age": np.array([f"band {k}" for k in range(AGE_BANDS)])[rng.integers(0, AGE_BANDS, n)],
               "sex": np.array(["female", "male"])[rng.integers(0, 2, n)]},
    )  # fmt: skip
    return found[0], found[1], rows


def run(scenario: Scenario, replicates: int, resamples: int, factors: dict[str, float]) -> dict[str, Any]:
    bounds = Bounds(min_events=scenario.events, resamples=resamples)
    passed, why = 0, dict.fromkeys(("AUROC", "calibration", "Brier", "subgroup"), 0)
    by_task = dict.fromkeys(SHARES, 0)
    begun = time.process_time()
    for replicate in range(replicates):
        rng = np.random.default_rng(
            [replicate, scenario.events, round(100 * scenario.correlation), len(scenario.worse)]
        )
        reasons: list[str] = []
        for name in SHARES:
            factor = factors[name] if name in scenario.worse else 1.0
            champion, challenger, rows = draw(BUILT_IN[name], scenario, factor, rng)
            judged = judge_task(BUILT_IN[name], champion, challenger, rows, bounds)
            by_task[name] += judged.verdict is Verdict.PASS
            reasons += judged.reasons
        passed += not reasons
        kinds = {"AUROC": "lower bound", "calibration": "calibration", "Brier": "Brier", "subgroup": "a subgroup may"}
        for kind, words in kinds.items():
            why[kind] += any(words in reason for reason in reasons)
    return {
        "challenger": scenario.name, "events_a_task": scenario.events, "controls_per_case": CONTROLS,
        "correlation": scenario.correlation, "replicates": replicates, "passed": passed,
        "pass_rate": round(passed / replicates, 4), "pass_rate_95": wilson(passed, replicates),
        "passed_by_task": by_task, "failed_by": why,
        "cpu_s_a_gate": round((time.process_time() - begun) / replicates, 2),
    }  # fmt: skip


def wilson(hits: int, n: int) -> list[float]:
    """95% interval of a share."""
    rate, z = hits / n, 1.96
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n * n))
    return [round(max(0.0, centre - half), 4), round(min(1.0, centre + half), 4)]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--replicates", type=int, default=100)
    options.add_argument("--resamples", type=int, default=300)
    given = options.parse_args()
    factors = {name: weaker(np.asarray(shares), DROP) for name, shares in SHARES.items()}
    found = []
    for scenario in SCENARIOS:
        found.append(run(scenario, given.replicates, given.resamples, factors))
        print(json.dumps(found[-1]), flush=True)
    result = {
        "drop": DROP, "auroc_margin": Bounds().auroc_margin, "confidence": Bounds().confidence,
        "resamples": given.resamples, "subgroups_a_task": AGE_BANDS + 2, "scenarios": found,
        "numpy": np.__version__, "cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(),
    }  # fmt: skip
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
