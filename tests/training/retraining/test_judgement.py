"""The gate's arithmetic on drawn scores of two models: what passes, what fails and why, what is held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lang1.tasks import BUILT_IN, Task
from training.retraining.bounds import Bounds
from training.retraining.judgement import judge_task
from training.retraining.statistics import weighted_calibration
from training.retraining.subgroups import Rows, Verdict

BOUNDS = Bounds(min_events=300, resamples=300)
BINARY = BUILT_IN["in_hospital_mortality"]
MULTI = BUILT_IN["length_of_stay"]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def binary_scores(
    rng: np.random.Generator, adverse: np.ndarray, weights: np.ndarray, strength: float, shared: np.ndarray,
    shift: float = 0.0, stretch: float = 1.0,
) -> np.ndarray:  # fmt: skip
    """(n, 2) calibrated probabilities that rank with the given strength, then moved on the logit."""
    x = strength * adverse + 0.9 * shared + np.sqrt(1 - 0.81) * rng.normal(size=len(adverse))
    prevalence = (weights * adverse).sum() / weights.sum()
    logit = np.log(prevalence / (1 - prevalence)) + strength * x - strength**2 / 2
    p = sigmoid(shift + stretch * logit)
    return np.stack([1 - p, p], axis=1)


def case_control(rng: np.random.Generator, events: int = 400) -> Rows:
    labels = np.repeat([1, 0], [events, 5 * events]).astype(np.int8)
    n = len(labels)
    return Rows(
        labels=labels, weights=np.where(labels == 1, 1.0, 10.0), patients=rng.integers(0, n, n),
        seen=rng.random(n) < 0.3, parts={"sex": np.array(["female", "male"])[rng.integers(0, 2, n)]},
    )  # fmt: skip


def pair(seed: int = 1, *, events: int = 400, **challenger: Any) -> tuple[np.ndarray, np.ndarray, Rows]:
    rng = np.random.default_rng(seed)
    rows = case_control(rng, events)
    shared = rng.normal(size=len(rows))
    first = binary_scores(rng, rows.labels == 1, rows.weights, 1.2, shared)
    second = binary_scores(rng, rows.labels == 1, rows.weights, **{"strength": 1.2, "shared": shared, **challenger})
    return first, second, rows


def test_an_equal_challenger_passes_with_all_its_figures() -> None:
    champion, challenger, rows = pair(events=1500)
    found = judge_task(BINARY, champion, challenger, rows, BOUNDS)
    assert found.verdict is Verdict.PASS and found.reasons == (), found.reasons
    assert found.auroc is not None and found.auroc.bootstrap_low is not None and found.brier is not None
    assert found.auroc.bootstrap_low == pytest.approx(found.auroc.delong_low, abs=0.003)
    assert found.challenger_calibration is not None and found.challenger_calibration.slope is not None
    assert abs(found.challenger_calibration.slope - 1) < 0.15
    assert (found.events, found.non_events) == (1500, 7500)
    assert found.unseen_patients is not None and found.unseen_events == int((rows.labels[~rows.seen] == 1).sum())
    assert {each.name: each.verdict for each in found.subgroups} == {"sex=female": "pass", "sex=male": "pass"}
    assert found.tested == "AUROC of yes against no"
    assert found.shift is not None and abs(found.shift) < 0.1


def test_a_challenger_that_ranks_worse_fails_with_both_bounds() -> None:
    found = judge_task(BINARY, *pair(events=1500, strength=0.95), BOUNDS)
    assert found.verdict is Verdict.FAIL
    assert "(DeLong)" in found.reasons[0] and "(bootstrap)" in found.reasons[0]
    assert found.auroc is not None and found.auroc.difference < -0.03


def test_a_difference_that_the_data_cannot_exclude_fails() -> None:
    """Equal models on few events: the bound, not the value, decides."""
    found = [judge_task(BINARY, *pair(seed, events=60), Bounds(min_events=50, resamples=200)) for seed in range(1, 9)]
    near = [each for each in found if each.auroc is not None and abs(each.auroc.difference) < 0.015]
    assert len(near) > 2
    assert all(each.verdict is Verdict.FAIL and "lower bound" in each.reasons[0] for each in near)


def test_too_few_events_hold_without_figures() -> None:
    for few in (pair(events=299), pair(events=1500)):
        champion, challenger, rows = few
        bounds = BOUNDS if len(rows) < 2000 else Bounds(min_events=1501)
        found = judge_task(BINARY, champion, challenger, rows, bounds)
        assert found.verdict is Verdict.HOLD and found.auroc is None and found.brier is None
        assert "are needed" in found.reasons[0]


@pytest.mark.parametrize(
    ("change", "named"),
    [({"shift": 0.4}, "calibration intercept"), ({"shift": -0.4}, "calibration intercept"),
     ({"stretch": 0.6, "shift": -0.9}, "calibration slope"), ({"stretch": 1.6, "shift": 1.7}, "calibration slope")],
)  # fmt: skip
def test_bad_calibration_fails_though_ranking_is_as_good(change: dict[str, float], named: str) -> None:
    champion, challenger, rows = pair(events=1500, **change)
    found = judge_task(BINARY, champion, challenger, rows, BOUNDS)
    assert found.verdict is Verdict.FAIL and any(named in reason for reason in found.reasons)
    assert not any("AUROC" in reason for reason in found.reasons)
    if "stretch" not in change:
        assert found.shift == pytest.approx(change["shift"], abs=0.06)


def test_calibration_is_that_of_the_population() -> None:
    champion, challenger, rows = pair(events=1500)
    found = judge_task(BINARY, champion, challenger, rows, BOUNDS)
    assert found.challenger_calibration is not None and found.challenger_calibration.intercept is not None
    assert abs(found.challenger_calibration.intercept) < 0.15
    plain = weighted_calibration(challenger[:, 1], rows.labels == 1, np.ones(len(rows)))
    assert plain.intercept > 1


def test_a_worse_brier_score_fails_where_it_is_no_accident() -> None:
    champion, challenger, rows = pair(events=1500, shift=0.9)
    lenient = {"min_events": 300, "resamples": 300, "intercept_tolerance": 2.0, "slope_low": 0.1}
    found = judge_task(BINARY, champion, challenger, rows, Bounds(**lenient))
    assert found.brier is not None and found.brier.lower > 0
    assert len(found.reasons) == 1 and "Brier" in found.reasons[0]
    more = found.brier.difference / found.brier.champion + 0.001
    assert judge_task(BINARY, champion, challenger, rows, Bounds(**lenient, brier_margin=more)).verdict is Verdict.PASS


def test_one_subgroup_that_fell_fails_the_whole() -> None:
    champion, challenger, rows = pair(events=3000)
    male = rows.parts["sex"] == "male"
    shuffled = challenger.copy()
    part = np.flatnonzero(male)[::2]
    shuffled[part] = challenger[np.random.default_rng(0).permutation(part)]
    found = judge_task(BINARY, champion, shuffled, rows, BOUNDS)
    verdicts = {each.name: each.verdict for each in found.subgroups}
    assert verdicts == {"sex=female": Verdict.PASS, "sex=male": Verdict.FAIL}
    assert any("sex=male" in reason for reason in found.reasons)


def test_a_small_subgroup_is_reported_and_not_judged() -> None:
    champion, challenger, rows = pair(events=1500)
    level = np.where(np.arange(len(rows)) % 100 == 0, "rare", "common")
    rows = Rows(rows.labels, rows.weights, rows.patients, rows.seen, {"ward": level})
    found = judge_task(BINARY, champion, challenger, rows, BOUNDS)
    rare = next(each for each in found.subgroups if each.name == "ward=rare")
    assert rare.verdict is None and rare.champion is None and rare.events > 0


def multi(rng: np.random.Generator, task: Task, n: int, noise: float, labels: np.ndarray) -> np.ndarray:
    logits = np.eye(len(task.options))[labels] * 1.5 + noise * rng.normal(size=(n, len(task.options)))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_a_multi_class_task_is_tested_by_its_macro_auroc_and_names_what_is_too_rare() -> None:
    rng = np.random.default_rng(2)
    labels = rng.choice(4, 6000, p=[0.45, 0.298, 0.002, 0.25]).astype(np.int8)
    rows = Rows(labels, np.ones(6000), np.arange(6000), np.zeros(6000, bool))
    champion, challenger = (multi(rng, MULTI, 6000, 1.0, labels) for _ in range(2))
    found = judge_task(MULTI, champion, challenger, rows, BOUNDS)
    assert "one-versus-rest" in found.tested and "too rare: days-4-5" in found.tested
    assert found.unseen_patients is None  # nobody was seen, so there is nothing to part
    worse = judge_task(MULTI, champion, multi(rng, MULTI, 6000, 1.6, labels), rows, BOUNDS)
    assert worse.verdict is Verdict.FAIL and "AUROC" in worse.reasons[0]


def test_a_multi_class_task_whose_classes_are_all_rare_is_held() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice(4, 80).astype(np.int8)
    rows = Rows(labels, np.ones(80), np.arange(80), np.zeros(80, bool))
    scores = multi(rng, MULTI, 80, 1.0, labels)
    found = judge_task(MULTI, scores, scores, rows, Bounds(min_events=10, min_class_rows=70, resamples=200))
    assert found.verdict is Verdict.HOLD and "no class has 70 notes" in found.reasons[0]


def test_the_figures_are_the_same_again() -> None:
    champion, challenger, rows = pair()
    assert judge_task(BINARY, champion, challenger, rows, BOUNDS) == judge_task(
        BINARY, champion, challenger, rows, BOUNDS
    )
