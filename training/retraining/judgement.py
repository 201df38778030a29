"""One task of the gate: two models' probabilities on the same rows to numbers, a verdict and its reasons.

Everything here is arithmetic on arrays; notes, bundles and registries are `gate`'s.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from lang1.bootstrap import bootstrap_macro_difference
from lang1.paired_auroc import paired_macro_auroc
from lang1.tasks import Task
from training.retraining.bounds import Bounds
from training.retraining.statistics import compare_brier, weighted_calibration
from training.retraining.subgroups import Flags, Rows, Subgroup, Verdict, judge_subgroups, subgroup_reason

Floats = npt.NDArray[np.float64]

_CLIP = 1e-4
"""Of probabilities whose logits are compared, as the rollout's guard has it."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Comparison(_Frozen):
    """AUROCs on the same rows. `difference` is challenger less champion; bounds are one-sided and lower."""

    champion: float
    challenger: float
    difference: float
    delong_low: float
    bootstrap_low: float | None = None


class Calibration(_Frozen):
    """Of the adverse probability, in the population. None where no line fits."""

    intercept: float | None
    slope: float | None


class Brier(_Frozen):
    """Of the adverse probability, in the population; `lower` bounds the challenger's excess from below."""

    champion: float
    challenger: float
    difference: float
    lower: float


class TaskJudgement(_Frozen):
    """One task. Figures are None where the verdict is hold."""

    task: str
    verdict: Verdict
    reasons: tuple[str, ...]
    tested: str
    events: int
    non_events: int
    patients: int
    auroc: Comparison | None = None
    unseen_patients: Comparison | None = None
    """The same among patients of whom the challenger's training data hold nothing; reported, not judged."""
    unseen_events: int = 0
    champion_calibration: Calibration | None = None
    challenger_calibration: Calibration | None = None
    brier: Brier | None = None
    shift: float | None = None
    """Mean difference of the adverse probability's logits, challenger less champion, in the population."""
    subgroups: tuple[Subgroup, ...] = ()


def judge_task(task: Task, champion: Floats, challenger: Floats, rows: Rows, bounds: Bounds) -> TaskJudgement:
    """champion, challenger (n, K) probabilities of the task's options on the same n rows."""
    happened = np.isin(rows.labels, task.adverse_options)
    events, others = int(happened.sum()), int((~happened).sum())
    counted = {"task": task.name, "events": events, "non_events": others, "patients": len(np.unique(rows.patients))}
    if min(events, others) < bounds.min_events:
        why = (
            f"{task.name}: {events:,} events and {others:,} non-events in the holdout, {bounds.min_events:,} of each "
            "are needed; wait for more mature labels or widen the window"
        )
        return TaskJudgement(**counted, verdict=Verdict.HOLD, reasons=(why,), tested=_tested(task, (), ()))
    classes, left_out = _classes(task, rows.labels, bounds)
    if not classes:
        why = f"{task.name}: no class has {bounds.min_class_rows} notes in the holdout; wait for more mature labels"
        return TaskJudgement(**counted, verdict=Verdict.HOLD, reasons=(why,), tested=_tested(task, (), left_out))
    comparison = _compare(champion, challenger, rows, classes, bounds, resampled=True)
    p, q = _adverse(task, challenger), _adverse(task, champion)
    calibrations = [_calibration(each, happened, rows.weights) for each in (q, p)]
    brier = compare_brier(p, q, happened, groups=rows.patients, weights=rows.weights, confidence=bounds.confidence)
    subgroups = judge_subgroups(p, q, happened, rows, bounds)
    reasons = [
        *_auroc_reasons(task, comparison, bounds),
        *_calibration_reasons(task, calibrations[1], bounds),
        *_brier_reasons(task, Brier(champion=brier.other, challenger=brier.one, difference=brier.difference,
                                    lower=brier.lower), bounds),
        *(subgroup_reason(task, each, bounds) for each in subgroups if each.verdict is Verdict.FAIL),
    ]  # fmt: skip
    unseen = ~rows.seen
    unseen_rows = Rows(rows.labels[unseen], rows.weights[unseen], rows.patients[unseen], rows.seen[unseen])
    return TaskJudgement(
        **counted,
        verdict=Verdict.FAIL if reasons else Verdict.PASS,
        reasons=tuple(reasons),
        tested=_tested(task, classes, left_out),
        auroc=comparison,
        unseen_patients=(
            _compare(champion[unseen], challenger[unseen], unseen_rows, classes, bounds, resampled=False)
            if rows.seen.any() and _all_occur(unseen_rows.labels, classes)
            else None
        ),
        unseen_events=int(happened[unseen].sum()),
        champion_calibration=calibrations[0],
        challenger_calibration=calibrations[1],
        brier=Brier(champion=brier.other, challenger=brier.one, difference=brier.difference, lower=brier.lower),
        shift=_shift(p, q, rows.weights),
        subgroups=subgroups,
    )


def _adverse(task: Task, probabilities: Floats) -> Floats:
    return np.asarray(probabilities[:, list(task.adverse_options)].sum(axis=1))


def _shift(challenger: Floats, champion: Floats, weights: Floats) -> float:
    one, other = (np.clip(each, _CLIP, 1 - _CLIP) for each in (challenger, champion))
    gap = np.log(one / (1 - one)) - np.log(other / (1 - other))
    return float((weights * gap).sum() / weights.sum())


def _classes(task: Task, labels: npt.NDArray[np.int8], bounds: Bounds) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The options whose one-versus-rest AUROCs are averaged, and those too rare for it."""
    if task.kind == "binary":
        return (1,), ()
    counts = np.bincount(labels, minlength=len(task.options))
    kept = tuple(
        k for k, count in enumerate(counts.tolist()) if min(count, len(labels) - count) >= bounds.min_class_rows
    )
    return kept, tuple(k for k in range(len(task.options)) if k not in kept)


def _tested(task: Task, classes: tuple[int, ...], left_out: tuple[int, ...]) -> str:
    if task.kind == "binary":
        return f"AUROC of {task.options[1].code} against {task.options[0].code}"
    names = ", ".join(task.options[k].code for k in classes or range(len(task.options)))
    rare = f"; too rare: {', '.join(task.options[k].code for k in left_out)}" if left_out else ""
    return f"mean of the one-versus-rest AUROCs of {names}, weighted to the population{rare}"


def _all_occur(labels: npt.NDArray[np.int8], classes: tuple[int, ...]) -> bool:
    return len(labels) > 0 and all(0 < int((labels == k).sum()) < len(labels) for k in classes)


def _compare(
    champion: Floats, challenger: Floats, rows: Rows, classes: tuple[int, ...], bounds: Bounds, *, resampled: bool
) -> Comparison:
    pair = paired_macro_auroc(
        challenger, champion, rows.labels, classes=classes, groups=rows.patients, weights=rows.weights
    )
    low = None
    if resampled:
        gaps = bootstrap_macro_difference(
            challenger, champion, rows.labels, classes=classes, groups=rows.patients, weights=rows.weights,
            resamples=bounds.resamples, seed=bounds.seed,
        )  # fmt: skip
        low = float(np.nanquantile(gaps, 1 - bounds.confidence))
    return Comparison(
        champion=pair.other, challenger=pair.one, difference=pair.difference,
        delong_low=pair.lower(bounds.confidence), bootstrap_low=low,
    )  # fmt: skip


def _calibration(adverse: Floats, happened: Flags, weights: Floats) -> Calibration:
    fit = weighted_calibration(adverse, happened, weights)
    return Calibration(
        intercept=fit.intercept if math.isfinite(fit.intercept) else None,
        slope=fit.slope if math.isfinite(fit.slope) else None,
    )


def _auroc_reasons(task: Task, found: Comparison, bounds: Bounds) -> list[str]:
    assert found.bootstrap_low is not None
    low = min(found.delong_low, found.bootstrap_low)
    if low > -bounds.auroc_margin:
        return []
    return [
        f"{task.name}: AUROC {found.challenger:.3f} against the champion's {found.champion:.3f}; the lower bound of "
        f"the difference is {found.delong_low:+.4f} (DeLong) and {found.bootstrap_low:+.4f} (bootstrap), "
        f"it must be above {-bounds.auroc_margin:+.3f}"
    ]


def _calibration_reasons(task: Task, found: Calibration, bounds: Bounds) -> list[str]:
    if found.intercept is None or found.slope is None:
        return [f"{task.name}: no calibration line fits the challenger's probabilities"]
    reasons = []
    if abs(found.intercept) > bounds.intercept_tolerance:
        reasons.append(
            f"{task.name}: calibration intercept {found.intercept:+.3f}, it must be within "
            f"{bounds.intercept_tolerance:g} of 0"
        )
    if not bounds.slope_low <= found.slope <= bounds.slope_high:
        reasons.append(
            f"{task.name}: calibration slope {found.slope:.3f}, it must be {bounds.slope_low:g} to "
            f"{bounds.slope_high:g}"
        )
    return reasons


def _brier_reasons(task: Task, found: Brier, bounds: Bounds) -> list[str]:
    """It is worse, by more than the margin, and not by accident. That the challenger is as good is shown by AUROC and
    calibration: on a thousand events a Brier score cannot show it."""
    allowed = bounds.brier_margin * found.champion
    if found.difference <= allowed or found.lower <= 0:
        return []
    return [
        f"{task.name}: Brier score {found.challenger:.5f} against the champion's {found.champion:.5f}; the lower bound "
        f"of the excess is {found.lower:+.5f}, and it is over {allowed:.5f}"
    ]
