"""`lang1 serve`: the service on this machine, until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    bundle: Annotated[Path | None, typer.Option(help="Model bundle.", show_default="the demo bundle")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; others than loopback need authentication.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="TCP port to listen on.")] = None,
    settings: Annotated[Path | None, typer.Option(help="YAML file of settings; see docs/settings.md.")] = None,
) -> None:
    """Start the service and stay up. Settings come from options, LANG1_* variables and the YAML file, in that order."""
    from serve.run import run_service
    from serve.settings import load_settings

    given = {"bundle": bundle, "host": host, "port": port}
    chosen = load_settings(settings, **{name: value for name, value in given.items() if value is not None})
    run_service(
        chosen, block=True, on_ready=lambda: typer.echo(f"lang1 is ready on http://{chosen.host}:{chosen.port}")
    )
