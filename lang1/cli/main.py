"""`lang1`: from notes to a model to a service. Exit codes: 0 done, 1 the work failed, 2 the call was wrong."""

from __future__ import annotations

import sys

import typer

from lang1 import __version__
from lang1.cli import (
    auth,
    bundle,
    data,
    demo,
    drill,
    evaluate,
    intake,
    monitor,
    outbox,
    pull,
    registry,
    retrain,
    rollout,
    score,
    serve,
    store,
    train,
)

TRAIN_EXTRA = frozenset({"pandas", "peft", "pyarrow", "scipy", "sklearn"})

app = typer.Typer(
    name="lang1",
    help="Score clinical notes for operational risks, on your own machines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("score")(score.score)
app.command("demo")(demo.demo)
app.command("drill")(drill.drill)
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.command("evaluate")(evaluate.evaluate)
app.add_typer(monitor.app, name="monitor")
app.add_typer(bundle.app, name="bundle")
app.add_typer(pull.app, name="pull")
app.add_typer(intake.app, name="intake")
app.add_typer(outbox.app, name="outbox")
app.add_typer(store.app, name="store")
app.add_typer(auth.app, name="auth")
app.add_typer(registry.app, name="registry")
app.add_typer(retrain.app, name="retrain")
app.add_typer(rollout.app, name="rollout")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lang1 {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Score clinical notes for operational risks, on your own machines."""


def main() -> None:
    """Entry point: a coded error becomes one line on standard error, never a traceback. A wrong recipe, task or
    settings file is a wrong call (2); anything else is failed work (1)."""
    from lang1.errors import Lang1Error

    try:
        app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAIN_EXTRA:
            raise
        typer.echo(
            f"lang1: {error.name} is not installed; install the train extra: pip install 'lang1[train]'", err=True
        )
        sys.exit(1)
    except Lang1Error as error:
        typer.echo(f"lang1: {error}", err=True)
        sys.exit(2 if error.code in {"invalid", "not-found"} else 1)


if __name__ == "__main__":
    main()
