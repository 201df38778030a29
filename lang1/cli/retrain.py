"""`lang1 retrain`: from an alarm to a better model, and the gate that a model passes before it is used."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lang1.cli.registry import As, AsJson, actor

if TYPE_CHECKING:
    from training.retraining.gate import GateReport
    from training.retraining.report import JobReport
    from training.retraining.spec import RetrainSpec

HELD = 3
"""Exit code where there was too little data to judge."""

app = typer.Typer(help="Retrain the champion, and judge challengers.", no_args_is_help=True)

SpecOption = Annotated[Path, typer.Option("--spec", help="YAML file of the job.")]
AsOf = Annotated[
    str, typer.Option(help="Only what was known then is used: 2026-09-30, or with a time, UTC by default.")
]
RegistryOption = Annotated[Path | None, typer.Option(help="The registry's folder.", show_default="the spec's")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why, for the registry's log. Nothing of a patient.")]


@app.command()
def run(
    spec: SpecOption,
    as_of: AsOf,
    registry: RegistryOption = None,
    work: Annotated[Path | None, typer.Option(help="Folder of jobs' folders.", show_default="the spec's")] = None,
    as_: As = None,
    reason: Reason = "asked for",
    as_json: AsJson = False,
) -> None:
    """Run a retraining job, or go on with one that was stopped: the same spec and as-of time are the same job.

    Exit code 0 when the job ended, whether a challenger passed or none did; 1 when it failed and may be run again, 2
    when the call is wrong, 3 when there is too little data to judge.
    """
    from training.retraining.job import run_job
    from training.retraining.report import Outcome

    report = run_job(
        _spec(spec, registry, work), _moment(as_of), actor=actor(as_), reason=reason,
        say=lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print_job(report)
    if report.outcome is Outcome.HELD:
        raise typer.Exit(HELD)


@app.command()
def status(
    folder: Annotated[Path | None, typer.Argument(help="A job's folder.", show_default="--spec and --as-of")] = None,
    spec: Annotated[Path | None, typer.Option(help="YAML file of the job.")] = None,
    as_of: Annotated[str | None, typer.Option(help="The job's as-of time.")] = None,
    as_json: AsJson = False,
) -> None:
    """Where a job stands: its steps, whether a process is at it, how it ended."""
    from training.retraining.job import job_folder
    from training.retraining.job import status as read

    if folder is None:
        if spec is None or as_of is None:
            raise typer.BadParameter("give the job's folder, or --spec and --as-of")
        folder = job_folder(_spec(spec, None, None), _moment(as_of))
    found = read(folder)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    state = found["outcome"] or ("running" if found["running"] else "stopped; run it again to go on")
    typer.echo(f"job {found['id']} as of {found['as_of']}: {state}")
    for step in found["steps"]:
        typer.echo(f"  {step['at']}  {step['step']}")
    for why in found["reasons"]:
        typer.echo(f"  {why}")


@app.command()
def gate(
    challenger: Annotated[str, typer.Option(help="The bundle: its hash in the registry, or a folder to add to it.")],
    holdout: Annotated[Path, typer.Option(help="A holdout's folder: a job's, or one of lang1 retrain holdout.")],
    registry: Annotated[Path, typer.Option(help="The registry's folder.")],
    spec: Annotated[
        Path | None, typer.Option(help="YAML file of a job, for its bounds.", show_default="the gate's defaults")
    ] = None,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Judge a bundle against the champion; the registry keeps the report, and its log the reasons.

    Exit code 0 for a pass, 1 for a fail, 3 for a hold.
    """
    from lang1.registry import Registry
    from training.retraining.bounds import Bounds
    from training.retraining.commands import gate_challenger
    from training.retraining.holdout import open_holdout
    from training.retraining.subgroups import Verdict

    kept = Registry.open(registry)
    if Path(challenger).is_dir():
        sha256 = kept.add(Path(challenger), actor=actor(as_), reason="to be judged by the gate")
    else:
        sha256 = kept.find(challenger)
    bounds = Bounds() if spec is None else _spec(spec, None, None).gate
    report = gate_challenger(
        kept, sha256, open_holdout(holdout), bounds, actor=actor(as_), say=lambda line: typer.echo(line, err=True)
    )
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print_gate(report)
    if report.verdict is not Verdict.PASS:
        raise typer.Exit(HELD if report.verdict is Verdict.HOLD else 1)


@app.command()
def holdout(
    spec: SpecOption,
    as_of: AsOf,
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    as_json: AsJson = False,
) -> None:
    """Draw the holdout that a job would draw, to judge bundles that were made elsewhere."""
    from training.retraining.commands import make_holdout

    made = make_holdout(_spec(spec, None, None), _moment(as_of), out, say=lambda line: typer.echo(line, err=True))
    if as_json:
        typer.echo(made.model_dump_json(indent=2))
        return
    for name, sample in made.tasks.items():
        typer.echo(
            f"{name}: {sample.first_day} to {sample.last_day}, {sample.events:,} events and {sample.non_events:,} "
            f"others of {sample.window_events + sample.window_non_events:,} notes"
        )
    typer.echo(f"{made.notes:,} notes of {made.patients:,} patients written to {out}")


def _spec(path: Path, registry: Path | None, work: Path | None) -> RetrainSpec:
    from training.retraining.spec import load_spec

    changes: dict[str, Any] = {}
    if registry is not None:
        changes["registry"] = registry.absolute()
    if work is not None:
        changes["work"] = work.absolute()
    return load_spec(path).model_copy(update=changes)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"--as-of {text!r} is no time; give one as 2026-09-30 or 2026-09-30T06:00:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _print_job(report: JobReport) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("remedy", "bundle", "mean AUROC, recent notes", "enough", "gate", title=f"job {report.job}")
    for each in report.tried:
        table.add_row(
            each.kind, each.bundle[:12], f"{each.mean_auroc:.3f}", "yes" if each.sufficient else "no",
            each.gate or "not judged",
        )  # fmt: skip
    if report.tried:
        console.print(table)
    typer.echo(f"{report.outcome}: {report.challenger or 'no challenger'}")
    for reason in report.reasons:
        typer.echo(f"  {reason}")


def _print_gate(report: GateReport) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(
        "task", "events", "AUROC champion", "challenger", "difference", "lower bound", "intercept", "slope", "Brier",
        "verdict",
    )  # fmt: skip
    for each in report.tasks:
        if each.auroc is None or each.challenger_calibration is None or each.brier is None:
            table.add_row(each.task, f"{each.events:,}", *[""] * 7, each.verdict)
            continue
        line, lows = each.challenger_calibration, (each.auroc.delong_low, each.auroc.bootstrap_low)
        table.add_row(
            each.task, f"{each.events:,}", f"{each.auroc.champion:.3f}", f"{each.auroc.challenger:.3f}",
            f"{each.auroc.difference:+.4f}", f"{min(low for low in lows if low is not None):+.4f}",
            "" if line.intercept is None else f"{line.intercept:+.3f}",
            "" if line.slope is None else f"{line.slope:.3f}",
            f"{each.brier.challenger:.4f} ({each.brier.difference:+.4f})", each.verdict,
        )  # fmt: skip
    if report.tasks:
        console.print(table)
    typer.echo(f"{report.verdict}: {report.challenger}")
    for reason in report.reasons:
        typer.echo(f"  {reason}")
