"""`lang1 drill`: years of the synthetic hospital through the live service, from drift to a better model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def drill(
    out: Annotated[Path, typer.Option(help="Folder for drill.json and drill.html.")] = Path("drill-report"),
    plan: Annotated[Path | None, typer.Option(help="YAML file of a plan.", show_default="the shipped one")] = None,
    champion: Annotated[
        Path | None, typer.Option(help="Bundle to begin with.", show_default="the shipped drill model")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Empty folder for registry, service and jobs.", show_default="temporary")
    ] = None,
) -> None:
    """Play quiet years, a template change and new rules of payers: alarms, retraining, gate, canary, promotion.

    Exit code 0 when every promise was kept, 1 otherwise.
    """
    import tempfile

    from rich.console import Console
    from rich.table import Table

    from training.drill import CHAMPION
    from training.drill.plan import load_plan
    from training.drill.run import run_drill
    from training.drill.story import write_story

    chosen = load_plan(plan)
    with tempfile.TemporaryDirectory(prefix="lang1-drill-") as scratch:
        place = work or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        found = run_drill(chosen, champion or CHAMPION, place, say=lambda line: typer.echo(line, err=True))
    table = Table("promise", "found", "kept")
    for name, each in found.outcome.items():
        table.add_row(name, str(each["found"]), "yes" if each["kept"] else "[red]no[/]")
    Console(width=120).print(table)
    for path in write_story(found, out):
        typer.echo(f"written: {path}")
    if not all(each["kept"] for each in found.outcome.values()):
        raise typer.Exit(1)
