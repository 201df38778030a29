"""`lang1 train`: make a model bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lang1.cli import train_pretrain

app = typer.Typer(help="Train a model bundle, or pretrain what one starts from.", no_args_is_help=True)
app.command("web-text")(train_pretrain.web_text)
app.command()(train_pretrain.tokenizer)
app.command()(train_pretrain.tokens)
app.command()(train_pretrain.pretrain)
app.command()(train_pretrain.convert)


@app.command()
def finetune(
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write; an older bundle there is replaced.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name or a YAML file.")] = "demo",
    data: Annotated[
        Path | None,
        typer.Option(help="Dataset folder made by `lang1 data build`.", show_default="the recipe's synthetic hospital"),
    ] = None,
    tasks: Annotated[Path | None, typer.Option(help="YAML file of tasks.", show_default="the five built in")] = None,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for data and intermediate results, kept and reused.", show_default="temporary"),
    ] = None,
) -> None:
    """Joint multi-task finetuning: data, tokenizer, model, calibration, evaluation and card, sealed as a bundle."""
    import tempfile

    from lang1.tasks import BUILT_IN, load_tasks
    from training.pipeline import run_recipe
    from training.recipe import load_recipe

    chosen = load_recipe(recipe)
    registry = BUILT_IN if tasks is None else load_tasks(tasks)
    with tempfile.TemporaryDirectory(prefix="lang1-train-") as scratch:
        bundle = run_recipe(
            chosen,
            out,
            work or Path(scratch),
            say=lambda line: typer.echo(line, err=True),
            registry=registry,
            data=data,
        )
    typer.echo(f"{bundle.manifest.name} {bundle.manifest.version} written to {out}, sha256 {bundle.sha256}")
