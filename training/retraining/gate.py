"""The gate: may a challenger go on to take the champion's place? Both are judged on the same later, mature holdout.

Tested one-sided at 97.5% on every task: that the challenger's AUROC is not 0.02 or more below the champion's, by
DeLong's method and by bootstrap, both with the rows of a patient together. AUROC is that of the positive option of a
binary task, and the mean of one-versus-rest AUROCs of a multi-class one. Beside it stand calibration, Brier score,
subgroups, and whether the bundle may be compared at all: whole, asked the same questions, and not trained on what it is
judged by. Too little data is a hold. A pass is a pass of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from lang1.bundle import Bundle, Sha256, load_bundle
from lang1.errors import BundleError
from lang1.scorer import Device
from lang1.tasks import TaskRegistry
from training.retraining.bounds import Bounds
from training.retraining.holdout import Holdout, TaskSample
from training.retraining.judgement import TaskJudgement, judge_task
from training.retraining.predictions import Probabilities, predict
from training.retraining.subgroups import Rows, Verdict
from training.training_notes import read_training_notes

Say = Callable[[str], None]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Check(_Frozen):
    """Whether the challenger may be compared at all, one condition."""

    name: str
    verdict: Verdict
    reason: str


class GateReport(_Frozen):
    """What the gate found. The same bundles, holdout and bounds give the same report."""

    format_version: Literal[1] = 1
    verdict: Verdict
    reasons: tuple[str, ...]
    champion: Sha256
    challenger: Sha256
    holdout_sha256: Sha256
    holdout_as_of: str
    holdout: dict[str, TaskSample]
    bounds: Bounds
    checks: tuple[Check, ...]
    expected_shift: dict[str, float] = {}
    """Task to the mean difference of logits: what a rollout's guard takes for meant."""
    tasks: tuple[TaskJudgement, ...] = ()


def judge(
    champion: Bundle,
    challenger: Path,
    challenger_sha256: str,
    holdout: Holdout,
    bounds: Bounds,
    *,
    registry: TaskRegistry | None = None,
    champion_predictions: Probabilities | None = None,
    device: Device = "auto",
    say: Say = lambda _: None,
) -> GateReport:
    """Judge the bundle in folder `challenger`, which should have this hash. Never raises for a bad challenger.

    `champion_predictions` spares scoring the champion again. A bundle that may not be compared is not scored.
    """

    def report(checks: Sequence[Check], tasks: Sequence[TaskJudgement] = ()) -> GateReport:
        verdicts = [*(each.verdict for each in checks), *(each.verdict for each in tasks)]
        verdict = next((each for each in (Verdict.FAIL, Verdict.HOLD) if each in verdicts), Verdict.PASS)
        bad = [each.reason for each in checks if each.verdict is not Verdict.PASS]
        bad += [reason for each in tasks for reason in each.reasons]
        return GateReport(
            verdict=verdict, reasons=tuple(bad) or (_passed(tasks, holdout, bounds),), champion=champion.sha256,
            challenger=challenger_sha256, holdout_sha256=holdout.sha256, holdout_as_of=holdout.manifest.as_of,
            holdout=holdout.manifest.tasks, bounds=bounds, checks=tuple(checks), tasks=tuple(tasks),
            expected_shift={each.task: each.shift for each in tasks if each.shift is not None},
        )  # fmt: skip

    try:
        bundle = load_bundle(challenger, registry)
    except BundleError as error:
        return report([Check(name="integrity", verdict=Verdict.FAIL, reason=f"the bundle is not whole: {error}")])
    if bundle.sha256 != challenger_sha256:
        reason = f"the bundle's hash is {bundle.sha256}, {challenger_sha256} was asked for; add the original again"
        return report([Check(name="integrity", verdict=Verdict.FAIL, reason=reason)])
    checks = [
        _passing("integrity"),
        _same_questions(champion, bundle),
        _same_use(champion, bundle),
        *_not_trained_on(bundle, champion, holdout, bounds),
        _holdout_covers(champion, holdout),
    ]
    if any(each.verdict is Verdict.FAIL for each in checks):
        return report(checks)
    names = [name for name in champion.registry if name in holdout.manifest.tasks]
    if not any(_enough(holdout.manifest.tasks[name], bounds) for name in names):
        return report(checks, [_judged(champion.registry, name, None, None, holdout, bounds) for name in names])
    if champion_predictions is None:
        say("scoring the champion on the holdout")
        champion_predictions = predict(champion, holdout, device=device)
    say("scoring the challenger on the holdout")
    predictions = predict(bundle, holdout, device=device)
    tasks = []
    for name in names:
        tasks.append(_judged(champion.registry, name, champion_predictions, predictions, holdout, bounds))
        say(f"{name}: {tasks[-1].verdict}")
    return report(checks, tasks)


def _judged(
    registry: TaskRegistry, name: str, champion: Probabilities | None, challenger: Probabilities | None,
    holdout: Holdout, bounds: Bounds,
) -> TaskJudgement:  # fmt: skip
    labels = holdout.table[f"label_{name}"].to_numpy()
    drawn = labels >= 0
    table = holdout.table
    rows = Rows(
        labels=labels[drawn].astype(np.int8),
        weights=table[f"weight_{name}"].to_numpy()[drawn],
        patients=np.asarray(table["patient_id"].to_pylist())[drawn],
        seen=np.asarray(table["seen"].to_pylist(), dtype=np.bool_)[drawn],
        parts={part: levels[drawn] for part, levels in holdout.parts.items()},
    )
    task = registry[name]
    nothing = np.full((len(rows), len(task.options)), np.nan)
    p = nothing if champion is None else champion[name][drawn]
    q = nothing if challenger is None else challenger[name][drawn]
    return judge_task(task, p, q, rows, bounds)


def _enough(sample: TaskSample, bounds: Bounds) -> bool:
    return min(sample.events, sample.non_events) >= bounds.min_events


def _passing(name: str) -> Check:
    return Check(name=name, verdict=Verdict.PASS, reason="")


def _same_questions(champion: Bundle, challenger: Bundle) -> Check:
    ours = {each.task.name: each for each in champion.manifest.tasks}
    theirs = {each.task.name: each for each in challenger.manifest.tasks}
    if ours.keys() != theirs.keys():
        lacking, new = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
        what = "; ".join(
            [*([f"it lacks {', '.join(lacking)}"] if lacking else []), *([f"it adds {', '.join(new)}"] if new else [])]
        )
        return Check(name="tasks", verdict=Verdict.FAIL, reason=f"the challenger has other tasks: {what}")
    for name, mine in ours.items():
        if theirs[name].prompt_sha256 != mine.prompt_sha256 or theirs[name].task.options != mine.task.options:
            return Check(
                name="tasks", verdict=Verdict.FAIL, reason=f"{name}: the challenger was asked another question"
            )
    return _passing("tasks")


def _same_use(champion: Bundle, challenger: Bundle) -> Check:
    if challenger.manifest.demo and not champion.manifest.demo:
        reason = "the challenger is a demonstration (trained on invented patients); it never replaces a model in use"
        return Check(name="use", verdict=Verdict.FAIL, reason=reason)
    return _passing("use")


def _not_trained_on(challenger: Bundle, champion: Bundle, holdout: Holdout, bounds: Bounds) -> list[Check]:
    """Its evidence holds none of the holdout's notes, and its training notes of each task are older."""
    name = "training-notes"
    if challenger.sha256 == champion.sha256:
        return [_passing(name)]  # a champion held against itself
    try:
        evidence = read_training_notes(challenger)
    except BundleError as error:
        return [Check(name=name, verdict=Verdict.FAIL, reason=str(error))]
    if evidence is None:
        reason = (
            "the bundle does not say which notes it was trained on (no training_notes.safetensors), so it cannot be "
            "shown that the holdout is new to it; train it again with this version"
        )
        return [Check(name=name, verdict=Verdict.FAIL, reason=reason)]
    # What the champion itself began from is excused with it.
    excused = {champion.sha256, *_unknown_bases(champion)}
    if strangers := [sha for sha in evidence.unknown_bases if sha not in excused]:
        reason = f"it began from bundle {strangers[0]}, which does not say which notes it was trained on"
        return [Check(name=name, verdict=Verdict.FAIL, reason=reason)]
    shared = int(evidence.overlap(holdout.table["text"].to_pylist()).sum())
    if shared > bounds.max_shared_notes:
        reason = (
            f"trained on test data: {shared:,} of the holdout's {holdout.manifest.notes:,} notes are among those that "
            f"the challenger was trained or validated on; at most {bounds.max_shared_notes} may be"
        )
        return [Check(name=name, verdict=Verdict.FAIL, reason=reason)]
    late = [
        f"{task}: trained on notes up to {evidence.windows[task].last_day}, the holdout begins {sample.first_day}"
        for task, sample in holdout.manifest.tasks.items()
        if task in evidence.windows and evidence.windows[task].last_day >= sample.first_day
    ]
    if late:
        return [_passing(name), Check(name="training-days", verdict=Verdict.FAIL, reason="; ".join(late))]
    undated = [task for task in holdout.manifest.tasks if task not in evidence.windows]
    # Random weights were recalibrated, or the notes had no dates: nothing says that they are older.
    if undated and len(evidence.train):
        reason = f"the evidence has no days of the training notes of {', '.join(undated)}; the holdout must be later"
        return [_passing(name), Check(name="training-days", verdict=Verdict.FAIL, reason=reason)]
    return [_passing(name), _passing("training-days")]


def _unknown_bases(champion: Bundle) -> tuple[str, ...]:
    try:
        evidence = read_training_notes(champion)
    except BundleError:
        return ()
    return () if evidence is None else evidence.unknown_bases


def _holdout_covers(champion: Bundle, holdout: Holdout) -> Check:
    missing = [name for name in champion.registry if name not in holdout.manifest.tasks]
    if missing:
        return Check(name="holdout", verdict=Verdict.HOLD, reason=f"the holdout has no labels of {', '.join(missing)}")
    return _passing("holdout")


def _passed(tasks: Sequence[TaskJudgement], holdout: Holdout, bounds: Bounds) -> str:
    lows = [
        (min(each.auroc.delong_low, each.auroc.bootstrap_low or each.auroc.delong_low), each.task)
        for each in tasks
        if each.auroc is not None
    ]
    low, task = min(lows)
    return (
        f"passed on {len(tasks)} tasks and {holdout.manifest.notes:,} notes: the lowest bound of an AUROC difference "
        f"is {low:+.4f} ({task}), it must be above {-bounds.auroc_margin:+.3f}"
    )


def as_json(report: GateReport) -> dict[str, Any]:
    """The report as the registry keeps it."""
    return report.model_dump(mode="json")
