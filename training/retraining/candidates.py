"""One challenger through its steps: made, evaluated on recent notes, judged on the holdout, registered, in shadow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from lang1.bundle import Bundle, load_bundle
from lang1.errors import BundleError
from lang1.registry import Registry, RolloutRefusedError
from lang1.registry.rollout import start_shadow
from training.dataset import TEST
from training.resume import write_atomically
from training.retraining.gate import GateReport, as_json, judge
from training.retraining.holdout import open_holdout
from training.retraining.predictions import read_predictions
from training.retraining.remedies import Attempt, apply, version_of
from training.retraining.report import JOB, JobReport, Outcome, Tried, note_once
from training.retraining.spec import Kind, Remedy, RetrainSpec
from training.retraining.steps import Result, Steps
from training.retraining.subgroups import Verdict
from training.training_notes import SALT_BYTES

Say = Callable[[str], None]


@dataclass(slots=True)
class Candidate:
    """A challenger. `shortfalls` say in words where it does not suffice."""

    number: int
    kind: Kind
    folder: Path
    sha256: str
    sufficient: bool
    shortfalls: tuple[str, ...]
    mean_auroc: float
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class Context:
    """What every step of a job needs. `tried` and `refused` grow as it goes."""

    job: str
    folder: Path
    spec: RetrainSpec
    as_of: datetime
    champion: Bundle
    registry: Registry
    actor: str
    steps: Steps
    say: Say
    tried: list[Candidate] = field(default_factory=list)
    refused: list[Candidate] = field(default_factory=list)

    def report(self, outcome: Outcome, reasons: tuple[str, ...], challenger: str | None = None) -> JobReport:
        """The job's end."""
        return JobReport(
            job=self.job, as_of=self.as_of.isoformat(), outcome=outcome, reasons=reasons,
            champion=self.champion.sha256, challenger=challenger,
            tried=tuple(
                Tried(kind=each.kind, bundle=each.sha256, sufficient=each.sufficient, shortfalls=each.shortfalls,
                      mean_auroc=round(each.mean_auroc, 4), reasons=each.reasons,
                      gate=None if each.verdict is None else each.verdict.value)
                for each in self.tried
            ),
        )  # fmt: skip


def make(context: Context, number: int, remedy: Remedy) -> Candidate:
    """Steps `remedy-N-KIND` and `evaluate-N`: the bundle, and whether it suffices on recent notes."""
    place = context.folder / "remedies" / f"{number}-{remedy.kind}"
    bundle = place / "bundle"

    def remedied() -> Result:
        context.say(f"remedy {number}: {remedy.kind}")
        place.mkdir(parents=True, exist_ok=True)
        return {"bundle": apply(remedy, _attempt(context, remedy.kind), bundle, place, context.say).sha256}

    made = context.steps.run(f"remedy-{number}-{remedy.kind}", remedied)
    try:
        found = load_bundle(bundle, context.champion.registry)
    except BundleError:
        # The gate says it, with its reason in the registry's log.
        found = None
    evaluated = context.steps.run(f"evaluate-{number}", lambda: _evaluated(context, found))
    candidate = Candidate(
        number, remedy.kind, bundle, str(made["bundle"]), not evaluated["shortfalls"], tuple(evaluated["shortfalls"]),
        float(evaluated["mean_auroc"]),
    )  # fmt: skip
    context.tried.append(candidate)
    return candidate


def _attempt(context: Context, kind: Kind) -> Attempt:
    holdout = open_holdout(context.folder / "holdout")
    manifest = json.loads((context.folder / "data" / "manifest.json").read_text(encoding="utf-8"))
    as_of = context.as_of.isoformat()
    # The same job gives the same bundle, wherever it runs: the salt is its own, and comes of what it read.
    salt = hashlib.sha256("\n".join([context.champion.sha256, as_of, manifest["notes_sha256"]]).encode()).digest()
    about = {
        "retraining": {
            "remedy": kind, "champion": context.champion.sha256, "as_of": as_of, "holdout_sha256": holdout.sha256,
        }
    }  # fmt: skip
    return Attempt(
        champion=context.champion, data=context.folder / "data",
        name=context.spec.name or context.champion.manifest.name,
        version=version_of(context.champion.manifest.version, as_of[:10], kind), created=context.as_of,
        salt=salt[:SALT_BYTES], seed=context.spec.seed, precision=context.spec.precision, about=about,
        checkpoint_every_steps=context.spec.checkpoint_every_steps,
    )  # fmt: skip


def _evaluated(context: Context, bundle: Bundle | None) -> Result:
    """AUROC on the recent test notes against what the champion was worth when it was made."""
    if bundle is None:
        return {"shortfalls": [], "mean_auroc": 0.0, "auroc": {}}
    found: dict[str, Any] = bundle.manifest.evaluation.get(TEST, {})
    before: dict[str, Any] = context.champion.manifest.evaluation.get(TEST, {})
    drop = context.spec.sufficient.max_auroc_drop
    shortfalls = []
    for name, entry in found.items():
        was = before.get(name, {}).get("auroc", {}).get("value")
        high = entry["auroc"]["high"]
        if was is not None and high is not None and high < was - drop:
            shortfalls.append(
                f"{name}: AUROC {entry['auroc']['value']:.3f} (up to {high:.3f}) on recent notes, the champion had "
                f"{was:.3f}"
            )
    values = [entry["auroc"]["value"] for entry in found.values() if entry["auroc"]["value"] is not None]
    return {
        "shortfalls": shortfalls,
        "mean_auroc": float(np.mean(values)) if values else 0.0,
        "auroc": {name: entry["auroc"]["value"] for name, entry in found.items()},
    }


def gate(context: Context, candidate: Candidate) -> Verdict:
    """Step `gate-N`: both models on the holdout. The whole report is gate-N.json."""
    path = context.folder / f"gate-{candidate.number}.json"

    def judged() -> Result:
        holdout = open_holdout(context.folder / "holdout")
        known = read_predictions(
            context.folder / "champion.safetensors", bundle=context.champion.sha256, holdout=holdout.sha256
        )
        report = judge(
            context.champion, candidate.folder, candidate.sha256, holdout, context.spec.gate,
            registry=context.champion.registry, champion_predictions=known, say=context.say,
        )  # fmt: skip
        write_atomically(path, json.dumps(as_json(report), indent=1).encode() + b"\n")
        return {"verdict": report.verdict.value, "reasons": list(report.reasons)}

    found = context.steps.run(f"gate-{candidate.number}", judged)
    candidate.verdict, candidate.reasons = Verdict(found["verdict"]), tuple(found["reasons"])
    context.say(f"gate: {candidate.kind}: {candidate.verdict}")
    if candidate.verdict is not Verdict.PASS:
        context.refused.append(candidate)
    return candidate.verdict


def register(context: Context, candidate: Candidate) -> None:
    """Step `register-N`: a challenger that passed goes into the registry with its report; of one that did not, the log
    keeps why, and its bundle stays in the job's folder."""

    def registered() -> Result:
        report = GateReport.model_validate_json((context.folder / f"gate-{candidate.number}.json").read_bytes())
        kept = as_json(report)
        if candidate.verdict is not Verdict.PASS:
            note_once(
                context.registry, "challenger-refused", context.job, actor=context.actor, bundle=candidate.sha256,
                reason=f"{candidate.kind}: gate {candidate.verdict}: {'; '.join(candidate.reasons)}",
                evidence={"remedy": candidate.kind, "gate": candidate.verdict, "champion": context.champion.sha256},
            )  # fmt: skip
            return {"registered": False}
        evidence = {JOB: context.job, "remedy": candidate.kind, "champion": context.champion.sha256}
        context.registry.add(
            candidate.folder, actor=context.actor, reason=f"retrained: {candidate.kind}", evidence=evidence
        )
        if context.registry.latest_gate(candidate.sha256) != kept:
            context.registry.record_gate(candidate.sha256, kept, actor=context.actor)
        return {"registered": True}

    context.steps.run(f"register-{candidate.number}", registered)


def request_shadow(context: Context, candidate: Candidate) -> JobReport:
    """Step `shadow`: ask the registry to let the challenger score beside the champion. A person approves the rest."""

    def asked() -> Result:
        if not context.spec.request_shadow:
            return {"outcome": Outcome.REGISTERED.value, "why": "the spec asks for no shadow"}
        try:
            start_shadow(context.registry, candidate.sha256, actor=context.actor,
                         reason=f"retraining job {context.job}: {candidate.kind} passed the gate")  # fmt: skip
        except RolloutRefusedError as error:
            return {"outcome": Outcome.REGISTERED.value, "why": f"no shadow: {error}"}
        return {"outcome": Outcome.SHADOW.value, "why": ""}

    found = context.steps.run("shadow", asked)
    reasons = [f"{candidate.kind}: {reason}" for reason in candidate.reasons]
    if not candidate.sufficient:
        reasons += [f"the best of what was tried, though not enough: {each}" for each in candidate.shortfalls]
    if found["why"]:
        reasons.append(found["why"])
    return context.report(Outcome(found["outcome"]), tuple(reasons), candidate.sha256)
