"""`lang1 monitor replay`: the monitors over recorded history, at full speed and with their own clock."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from monitoring.history import History
    from monitoring.reference import ReferenceProfile
    from monitoring.report import Report

app = typer.Typer(help="Watch scores, notes, calibration and realised quality.", no_args_is_help=True)

_FIRST_WEEKS = re.compile(r"first (\d{1,3}) weeks")


@app.callback()
def _monitor() -> None:
    """Watch scores, notes, calibration and realised quality."""


@app.command()
def replay(
    predictions: Annotated[Path, typer.Option(help="Recorded predictions, CSV or Parquet.")],
    outcomes: Annotated[Path, typer.Option(help="Final outcomes with when they were known, CSV or Parquet.")],
    reference: Annotated[
        str, typer.Option(help='A reference profile\'s JSON file, or "first N weeks".', metavar="FILE|first N weeks")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for report.json and report.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    model_version: Annotated[str | None, typer.Option(help="Which version, where the file holds several.")] = None,
    subgroup: Annotated[
        list[str] | None, typer.Option(help="Column of the predictions to split quality by; may be repeated.")
    ] = None,
    tasks: Annotated[Path | None, typer.Option(help="YAML file with a hospital's own tasks.")] = None,
) -> None:
    """Judge recorded predictions as the monitor would have, week by week, knowing only what was known then.

    Exit code 0 whatever the monitors say; 2 when a file cannot be used.
    """
    for path in (predictions, outcomes, *([tasks] if tasks else [])):
        if not path.is_file():
            raise typer.BadParameter(f"{path} is not a file")
    weeks = _FIRST_WEEKS.fullmatch(reference)
    if weeks is None and not Path(reference).is_file():
        raise typer.BadParameter(f'reference is a file, or words such as "first 8 weeks"; got {reference}')
    from lang1.cli.progress import progress_bar
    from lang1.tasks import BUILT_IN, load_tasks
    from monitoring.cohorts import WEEK_S
    from monitoring.history import read_history
    from monitoring.replay import begin
    from monitoring.replay import replay as run
    from monitoring.report import make_report, write_report

    registry = load_tasks(tasks) if tasks else BUILT_IN
    history = read_history(
        predictions, outcomes, registry, model_version=model_version, subgroups=tuple(subgroup or ())
    )
    profile, until_s = _reference(history, reference, int(weeks[1]) if weeks else None)
    state = begin(history, profile, reference_until_s=until_s)
    with progress_bar("weeks", total=max(0, int((history.end_s - state.clock_s) // WEEK_S) + 1)) as advance:
        state = run(history, profile, state, tick=lambda done: advance(int(done)))
    report = make_report(state, history, profile)
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    else:
        _print_tables(report)
    if out is not None:
        for path in write_report(report, out):
            typer.echo(f"written: {path}", err=True)


def _reference(history: History, reference: str, weeks: int | None) -> tuple[ReferenceProfile, float | None]:
    from monitoring.reference import read_reference
    from monitoring.replay import reference_of_first_weeks

    if weeks is not None:
        return reference_of_first_weeks(history, weeks)
    return read_reference(Path(reference)), None


def _print_tables(report: Report) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(
        f"{report.notes:,} notes of model {escape(report.model_version)}, weeks {report.first_week} to "
        f"{report.last_week}, against {escape(report.reference)}"
    )
    if report.alarms:
        table = Table("week", "kind", "signal", "what", title="alarms")
        for alarm in report.alarms:
            table.add_row(alarm.week, alarm.kind, alarm.signal, escape(alarm.detail))
        console.print(table)
    else:
        console.print("no alarm")
    table = Table("kind", "signal", "state", "detail", title="where the monitors stand")
    for final in report.final:
        style = {"alarm": "red", "quiet": "green"}.get(final.state, "yellow")
        table.add_row(final.kind, final.signal, f"[{style}]{final.state}[/]", escape(final.detail))
    console.print(table)
