"""`lang1 bundle inspect|verify`: what a model bundle is, and whether it is still what was sealed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lang1 import DEMO_BUNDLE

app = typer.Typer(help="Look at and verify model bundles.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help="The bundle's folder.", show_default="the demo bundle")]


@app.command()
def inspect(
    folder: Folder = DEMO_BUNDLE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole manifest as JSON.")] = False,
) -> None:
    """Show a bundle's model, tasks, thresholds and evaluation, after verifying it."""
    from rich.console import Console
    from rich.table import Table

    from lang1.bundle import load_bundle

    bundle = load_bundle(folder)
    manifest = bundle.manifest
    if as_json:
        typer.echo(json.dumps({"sha256": bundle.sha256, **manifest.model_dump(mode="json")}, indent=2))
        return
    console = Console()
    console.print(f"[bold]{manifest.name} {manifest.version}[/bold]  sha256 {bundle.sha256}")
    console.print(
        f"made {manifest.created:%Y-%m-%d %H:%M} from {manifest.base}; reads {manifest.max_note_tokens} tokens"
    )
    if manifest.demo:
        console.print("[yellow]demonstration: trained on invented patients; answers are tagged HTEST[/yellow]")
    test = manifest.evaluation.get("test", {})
    table = Table("task", "options", "note types", "moderate from", "high from", "test AUROC")
    for trained in manifest.tasks:
        task, entry = trained.task, test.get(trained.task.name)
        figures = entry["auroc"] if entry else {"value": None}
        measured = None not in figures.values()
        auroc = "{value:.3f} ({low:.3f} to {high:.3f})".format(**figures) if measured else "not measured"
        table.add_row(
            task.name,
            str(len(task.options)),
            ", ".join(task.note_types),
            f"{trained.thresholds.moderate:.3f}",
            f"{trained.thresholds.high:.3f}",
            auroc,
        )
    console.print(table)


@app.command()
def verify(folder: Folder = DEMO_BUNDLE) -> None:
    """Check every hash, every question and that the weights load; exit code 1 and the reason when something is off."""
    from lang1.scorer import PackedScorer

    scorer = PackedScorer.load(folder, device="cpu")
    typer.echo(f"ok: {scorer.identity.name} {scorer.identity.version}, sha256 {scorer.identity.bundle_sha256}")
