"""`lang1 evaluate`: a bundle held against a dataset of notes with known outcomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lang1 import DEMO_BUNDLE


def evaluate(
    data: Annotated[Path, typer.Option(help="Dataset folder made by `lang1 data build` or `lang1 data synth`.")],
    bundle: Annotated[Path, typer.Option(help="The bundle's folder.", show_default="the demo bundle")] = DEMO_BUNDLE,
    split: Annotated[
        list[str] | None, typer.Option(help="A split to read; repeats.", show_default="test and every temporal split")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for report.json and report.html.")] = None,
    notes: Annotated[int, typer.Option(min=100, help="Notes of each split, at most.")] = 100_000,
    baseline_notes: Annotated[
        int, typer.Option(min=0, help="Training notes of the TF-IDF baseline, at most; 0 leaves it out.")
    ] = 30_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
) -> None:
    """How well a bundle ranks and how far its probabilities hold: by task, year, subgroup and kind of patient."""
    from training.report import evaluate_bundle

    report = evaluate_bundle(
        bundle, data, splits=split or (), notes_per_split=notes, baseline_notes=baseline_notes or None,
        say=lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    if out is not None:
        from training.report_page import report_page

        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (out / "report.html").write_text(report_page(report), encoding="utf-8")
        typer.echo(f"{out / 'report.json'} and {out / 'report.html'} written", err=True)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        _print_tables(report)


def _print_tables(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for split, tasks in report["splits"].items():
        table = Table(
            "task", "notes", "events", "AUROC (95%)", "TF-IDF", "AUPRC", "ECE-15 (perfect, 99th)",
            title=split, title_justify="left",
        )  # fmt: skip
        for name, entry in tasks.items():
            auroc, baseline = entry["auroc"], entry.get("tfidf_auroc")
            measured = None not in auroc.values()
            table.add_row(
                name,
                f"{entry['notes']:,}",
                f"{round(entry['adverse_rate'] * entry['notes']):,}",
                "{value:.3f} ({low:.3f} to {high:.3f})".format(**auroc) if measured else "too few",
                "" if baseline is None else f"{baseline:.3f}",
                "" if entry["adverse"]["auprc"] is None else f"{entry['adverse']['auprc']:.3f}",
                f"{entry['ece_15']:.3f} ({entry['ece_15_perfect_99th']:.3f})",
            )
        console.print(table)
