"""`lang1 auth`: who may call a service with these settings, and why a token is refused."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Who may call the service.", no_args_is_help=True)

_Settings = Annotated[Path | None, typer.Option("--settings", help="YAML file of settings; see docs/settings.md.")]
_MAX_CHARS = 64 * 1024


@app.command("routes")
def routes() -> None:
    """The scopes of each route; any one of a route's is enough."""
    from serve.auth.access import ROUTES

    for (method, path), access in ROUTES.items():
        needs = {"anyone": "open", "cds": "CDS Hooks JWT"}.get(access.by) or " or ".join(access.scopes)
        login = ", or a login" if access.session else ""
        typer.echo(f"{method:4} {path:46} {needs}{login}")


@app.command("check")
def check(settings: _Settings = None) -> None:
    """Read the keys and secrets that the settings name, and ask every issuer for its keys."""
    from lang1.errors import Lang1Error
    from serve.auth.checking import check_issuers
    from serve.settings import load_settings

    found = asyncio.run(check_issuers(load_settings(settings)))
    for line in found:
        typer.echo(f"{'ok  ' if line.good else 'FAIL'} {line.what}: {line.result}")
    if not found:
        typer.echo("no authentication is configured: only a loopback address starts")
    if not all(line.good for line in found):
        raise Lang1Error("not every issuer can be used; see above")


@app.command("token")
def token(settings: _Settings = None) -> None:
    """Read a bearer token from standard input and say whom it makes the caller, or why it is refused."""
    from lang1.errors import Lang1Error
    from serve.auth.checking import judge_token
    from serve.settings import load_settings

    caller, refused = asyncio.run(judge_token(load_settings(settings), sys.stdin.read(_MAX_CHARS).strip()))
    if caller is None:
        raise Lang1Error(refused)
    typer.echo(f"client: {caller.client}\nsource: {caller.source}\nscopes: {' '.join(sorted(caller.scopes)) or 'none'}")
