"""`lang1 monitor`: the monitors over recorded history, and the boards of a Prometheus as pages."""

from __future__ import annotations

import re
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from monitoring.history import History
    from monitoring.reference import ReferenceProfile
    from monitoring.report import Report

app = typer.Typer(help="Watch scores, notes, calibration and realised quality.", no_args_is_help=True)

_FIRST_WEEKS = re.compile(r"first (\d{1,3}) weeks")
_DURATION = re.compile(r"(\d{1,6})([smhdw])")
_NAMESPACE = re.compile(r"[A-Za-z0-9_.*|()-]{1,200}")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


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


@app.command()
def report(
    prometheus: Annotated[str, typer.Option(help="Base URL of the Prometheus server, as http://127.0.0.1:9090.")],
    out: Annotated[Path, typer.Option(help="Folder for one HTML page a board, and an index.")],
    last: Annotated[
        str | None, typer.Option(help="How far back, as 6h or 90d.", show_default="as each board has it")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="End of the range, as 2026-11-21T00:00:00Z.", show_default="now")
    ] = None,
    step: Annotated[str | None, typer.Option(help="Between two points, as 1m.", show_default="300 points")] = None,
    board: Annotated[list[str] | None, typer.Option(help="A board's name, as lang1-drift; may be repeated.")] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Regular expression of the label namespace, where Prometheus has several.")
    ] = None,
    png: Annotated[bool, typer.Option("--png", help="A picture of each page too; needs Chromium.")] = False,
    token_file: Annotated[Path | None, typer.Option(help="File with a bearer token for Prometheus.")] = None,
    ca_file: Annotated[Path | None, typer.Option(help="PEM file of the CA of its certificate.")] = None,
    tasks: Annotated[Path | None, typer.Option(help="YAML file with a hospital's own tasks.")] = None,
) -> None:
    """Write the Grafana boards as HTML pages, from a Prometheus server, without Grafana.

    Exit code 1 when Prometheus does not answer or refuses; 2 when the call is wrong.
    """
    from lang1.cli.progress import progress_bar
    from lang1.tasks import BUILT_IN, load_tasks
    from monitoring.board_data import fetch, span_of
    from monitoring.board_page import board_file, board_page, index_page
    from monitoring.boards import boards
    from monitoring.pictures import take_picture
    from monitoring.prometheus_api import PrometheusApi

    every = boards(load_tasks(tasks) if tasks else BUILT_IN)
    if unknown := sorted(set(board or ()) - {each.uid for each in every}):
        raise typer.BadParameter(f"no board {unknown[0]}; there are {', '.join(each.uid for each in every)}")
    if namespace is not None and not _NAMESPACE.fullmatch(namespace):
        raise typer.BadParameter("namespace takes letters, digits and .*|()_- alone")
    chosen = [each for each in every if not board or each.uid in board]
    length_s, step_s = _seconds(last, "last"), _seconds(step, "step")
    made_s = time.time()
    end_s = _end_s(until, made_s)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    panels = sum(len(row) for each in chosen for row in each.rows.values())
    with (
        PrometheusApi(prometheus, token_file=token_file, ca_file=ca_file) as api,
        progress_bar("panels", total=panels) as advance,
    ):
        for each in chosen:
            span = span_of(end_s, length_s or each.days * _UNIT_S["d"], step_s)
            data = fetch(api, each, span, namespace, lambda: advance(1))
            page = out / board_file(each)
            page.write_text(board_page(data, chosen, made_s), encoding="utf-8")
            written.append(page)
    (out / "index.html").write_text(index_page(chosen, made_s), encoding="utf-8")
    if png:
        with progress_bar("pictures", total=len(written)) as advance:
            for page in list(written):
                take_picture(page, page.with_suffix(".png"))
                written.append(page.with_suffix(".png"))
                advance(1)
    for path in (out / "index.html", *written):
        typer.echo(f"written: {path}", err=True)


def _seconds(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    if found is None or not int(found[1]):
        raise typer.BadParameter(f"--{option} is a number and s, m, h, d or w, as 6h; got {text}")
    return int(found[1]) * _UNIT_S[found[2]]


def _end_s(text: str | None, now_s: float) -> float:
    if text is None:
        return now_s
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(f"--until is a time with its offset, as 2026-11-21T00:00:00Z; got {text}")
    return moment.timestamp()


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
