"""A retraining job: data, split, champion's predictions, remedies, gate, register, request for shadow.

Every step's result is on the disk before the next begins, and training keeps its state, so a job that was stopped
anywhere goes on from there when it is run again with the same spec and as-of time, and ends with the same bundle. Until
the registry is asked for a shadow, at the very end, the champion is not concerned.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lang1.bundle import Bundle
from lang1.registry import Registry
from lang1.tasks import BUILT_IN, TaskRegistry, load_tasks
from training.resume import json_ready, write_atomically
from training.retraining.candidates import Candidate, Context, gate, make, register, request_shadow
from training.retraining.errors import RetrainingError, TooLittleDataError
from training.retraining.holdout import open_holdout
from training.retraining.opening import open_source, trained_until_s
from training.retraining.periods import Periods, plan_periods
from training.retraining.predictions import predict, save_predictions
from training.retraining.report import JobReport, Outcome, note_once
from training.retraining.source import NoteSource
from training.retraining.spec import RetrainSpec
from training.retraining.steps import JOB_FILE, Result, Steps, is_running, only_one
from training.retraining.subgroups import Verdict
from training.retraining.writing import write_holdout, write_training

Say = Callable[[str], None]
REPORT_FILE = "report.json"


@dataclass(frozen=True, slots=True)
class Job:
    """What a job is: fixed by its first run."""

    id: str
    folder: Path
    spec: RetrainSpec
    as_of: datetime
    champion: str
    actor: str
    reason: str


def job_folder(spec: RetrainSpec, as_of: datetime) -> Path:
    """Where the job of this spec and time has its folder."""
    return spec.work / f"{as_of.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def run_job(
    spec: RetrainSpec,
    as_of: datetime,
    *,
    actor: str,
    reason: str,
    folder: Path | None = None,
    source: Callable[[], NoteSource] | None = None,
    say: Say = print,
    after_step: Callable[[str], None] = lambda _: None,
) -> JobReport:
    """Run a job, or go on with it. Only what was known at `as_of` (with an offset) is used.

    `source` stands for the spec's data, for a record that is not in files; it is opened only while notes are chosen.
    Raises RetrainingError, SpecError, RecipeError, RegistryError and the errors of the data's reader.
    """
    if as_of.tzinfo is None:
        raise RetrainingError("as_of needs an offset; give 2026-09-30T00:00:00Z")
    as_of = as_of.astimezone(UTC).replace(microsecond=0)
    place = folder or job_folder(spec, as_of)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    with only_one(place):
        registry = Registry.open(spec.registry)
        job = _begun(place, spec, as_of, registry, actor, reason)
        steps = Steps(place, after_step)
        ended = steps.result("end")
        if ended is None:
            report = _work(job, steps, registry, source, say)
            ended = steps.run("end", lambda: report.model_dump(mode="json"))
            write_atomically(place / REPORT_FILE, json.dumps(ended, indent=2).encode() + b"\n")
        if not spec.keep_training_notes:
            shutil.rmtree(place / "data", ignore_errors=True)
        found = JobReport.model_validate(ended)
        say(f"{found.outcome}: {'; '.join(found.reasons)}")
        return found


def _begun(place: Path, spec: RetrainSpec, as_of: datetime, registry: Registry, actor: str, reason: str) -> Job:
    """The job of a folder, begun now or before. Raises RetrainingError when another one was begun there."""
    wanted = {"spec": json_ready(spec.model_dump(mode="json")), "as_of": as_of.isoformat()}
    path = place / JOB_FILE
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if {key: found[key] for key in wanted} != wanted:
            raise RetrainingError(f"{place} was begun with another spec or time; give another folder, or remove it")
        return Job(found["id"], place, spec, as_of, found["champion"], found["actor"], found["reason"])
    champion = registry.channels().champion
    if champion is None:
        raise RetrainingError("the registry has no champion to retrain; set one with lang1 registry champion")
    digest = hashlib.sha256(json.dumps([wanted, champion], sort_keys=True).encode())
    job = Job(digest.hexdigest()[:16], place, spec, as_of, champion, actor, reason)
    record = {"id": job.id, **wanted, "champion": champion, "actor": actor, "reason": reason}
    write_atomically(path, json.dumps(record, indent=2).encode() + b"\n")
    return job


def _work(job: Job, steps: Steps, registry: Registry, source: Callable[[], NoteSource] | None, say: Say) -> JobReport:
    note_once(registry, "retraining", job.id, actor=job.actor, reason=job.reason, bundle=job.champion,
              evidence={"as_of": job.as_of.isoformat()})  # fmt: skip
    if registry.channels().champion != job.champion:
        raise RetrainingError(
            "the champion changed since the job began, so what it found is of no use; begin another with a later as-of"
        )
    champion = registry.bundle(job.champion)
    tasks = BUILT_IN if job.spec.tasks is None else load_tasks(job.spec.tasks)
    context = Context(job.id, job.folder, job.spec, job.as_of, champion, registry, job.actor, steps, say)
    try:
        _prepare(job, steps, champion, tasks, source, say)
        return _remedy(context)
    except TooLittleDataError as error:
        note_once(registry, "retraining-held", job.id, actor=job.actor, reason=str(error), bundle=job.champion)
        return context.report(Outcome.HELD, (str(error),))


def _prepare(
    job: Job, steps: Steps, champion: Bundle, tasks: TaskRegistry, given: Callable[[], NoteSource] | None, say: Say
) -> None:
    """Data, split and the champion's predictions. Raises TooLittleDataError."""
    asked = champion.registry
    opened: list[NoteSource] = []

    def source() -> NoteSource:
        if not opened:
            opened.append(given() if given else open_source(job.spec, job.folder, tasks, asked, say))
        return opened[0]

    def data() -> Result:
        rows = source().rows
        say(f"data: {len(rows):,} notes of {len(set(rows.patient.tolist())):,} patients")
        return {"notes": len(rows), "source_sha256": source().sha256}

    def split() -> Result:
        if source().sha256 != known["source_sha256"]:
            raise RetrainingError("the record changed since the job began; begin a new one with a later as-of")
        periods = plan_periods(
            source().rows, asked, job.as_of.timestamp(), job.spec.holdout, job.spec.training, trained_until_s(champion)
        )
        return _write(job, source(), asked, periods, say)

    known = steps.run("data", data)
    steps.run("split", split)
    opened.clear()
    _enough(job, asked)

    def predictions() -> Result:
        say("scoring the champion on the holdout")
        holdout = open_holdout(job.folder / "holdout")
        found = predict(champion, holdout)
        save_predictions(job.folder / "champion.safetensors", found, bundle=champion.sha256, holdout=holdout.sha256)
        return {"notes": holdout.manifest.notes}

    steps.run("champion", predictions)


def _write(job: Job, source: NoteSource, asked: TaskRegistry, periods: Periods, say: Say) -> Result:
    as_of = job.as_of.isoformat()
    held_out = write_holdout(
        job.folder / "holdout", source, asked, periods.held_out, periods.windows, job.spec.holdout,
        seen=periods.seen, as_of=as_of, seed=job.spec.seed,
    )  # fmt: skip
    trained = write_training(job.folder / "data", source, asked, periods, job.folder / "holdout", as_of=as_of)
    for name, sample in held_out.tasks.items():
        say(f"holdout: {name}, {sample.first_day} to {sample.last_day}, {sample.events:,} events, "
            f"{sample.non_events:,} others of {sample.window_non_events:,}")  # fmt: skip
    say("notes: " + ", ".join(f"{part} {count:,}" for part, count in trained["notes_by_split"].items()))
    return {
        "holdout": held_out.model_dump(mode="json", exclude={"about"}),
        "training": {key: trained[key] for key in ("notes_by_split", "window", "label_counts", "waiting",
                                                   "same_text_as_holdout", "notes_sha256")},
    }  # fmt: skip


def _enough(job: Job, asked: TaskRegistry) -> None:
    """Nothing is trained that could not be judged. Raises TooLittleDataError."""
    needed = job.spec.gate.min_events
    tasks = open_holdout(job.folder / "holdout").manifest.tasks
    few = [
        f"{name}: {tasks[name].events:,} events and {tasks[name].non_events:,} non-events"
        for name in asked
        if min(tasks[name].events, tasks[name].non_events) < needed
    ]
    if few:
        raise TooLittleDataError(
            f"too few events in the holdout, {needed:,} of each are needed: {'; '.join(few)}; wait for more mature "
            "labels, or give holdout.days more"
        )


def _remedy(context: Context) -> JobReport:
    """Try remedies from the smallest, and judge the first that suffices; without one, the best of them."""
    insufficient: list[Candidate] = []
    for number, remedy in enumerate(context.spec.remedies, 1):
        candidate = make(context, number, remedy)
        if not candidate.sufficient:
            context.say(f"{remedy.kind}: not enough: {'; '.join(candidate.shortfalls)}")
            insufficient.append(candidate)
            continue
        if (done := _judged(context, candidate)) is not None:
            return done
    for candidate in sorted(insufficient, key=lambda each: -each.mean_auroc):
        if (done := _judged(context, candidate)) is not None:
            return done
    reasons = tuple(f"{each.kind}: {reason}" for each in context.refused for reason in each.reasons)
    note_once(context.registry, "retraining-refused", context.job, actor=context.actor,
              reason="no remedy passed the gate", bundle=context.champion.sha256)  # fmt: skip
    return context.report(Outcome.REFUSED, ("no remedy passed the gate", *reasons))


def _judged(context: Context, candidate: Candidate) -> JobReport | None:
    """Gate a candidate and, where it passes, register it and ask for its shadow. None: the gate refused it."""
    verdict: Verdict = gate(context, candidate)
    register(context, candidate)
    if verdict is Verdict.PASS:
        return request_shadow(context, candidate)
    if verdict is Verdict.HOLD:
        return context.report(Outcome.HELD, context.refused[-1].reasons)
    return None


def status(folder: Path) -> dict[str, Any]:
    """Where a job stands: its description, finished steps, whether a process is at it, and its outcome. JSON."""
    path = folder / JOB_FILE
    if not path.exists():
        raise RetrainingError(f"{folder} is not a job's folder; see the `work` of the spec")
    about = json.loads(path.read_text(encoding="utf-8"))
    records = Steps(folder).records()
    end = next((each["result"] for each in records if each["step"] == "end"), None)
    return {
        "id": about["id"], "as_of": about["as_of"], "champion": about["champion"], "actor": about["actor"],
        "reason": about["reason"], "running": is_running(folder),
        "steps": [{"step": each["step"], "at": each["at"]} for each in records],
        "outcome": None if end is None else end["outcome"], "reasons": [] if end is None else end["reasons"],
        "challenger": None if end is None else end["challenger"],
    }  # fmt: skip
