"""`lang1 rollout`: a challenger's way into service. The running service follows within seconds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lang1.cli.registry import (
    As,
    AsJson,
    Bundle,
    Folder,
    SettingsFile,
    Why,
    actor,
    open_registry,
    print_log,
    print_table,
)

if TYPE_CHECKING:
    from lang1.registry import Channels, Registry

app = typer.Typer(help="Shadow, approve, canary, promote, roll back.", no_args_is_help=True)
_LOG_LINES = 10


@app.command()
def status(folder: Folder = None, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Show the channels, how far the rollout has come, and the last lines of the log."""
    _show(open_registry(folder, settings), as_json=as_json, with_log=True)


@app.command()
def shadow(
    bundle: Bundle,
    reason: Why,
    force: Annotated[bool, typer.Option("--force", help="Though no gate passed it. The log says so.")] = False,
    folder: Folder = None,
    settings: SettingsFile = None,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Let a bundle score beside the champion; nobody sees its scores. Needs a passed gate against the champion."""
    from lang1.registry import rollout

    registry = open_registry(folder, settings)
    rollout.start_shadow(registry, registry.find(bundle), actor=actor(as_), reason=reason, force=force)
    _show(registry, as_json=as_json)


@app.command()
def approve(
    bundle: Bundle,
    reason: Why,
    folder: Folder = None,
    settings: SettingsFile = None,
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """Approve a bundle for a canary, as a person who answers for it."""
    from lang1.registry import rollout

    registry = open_registry(folder, settings)
    rollout.approve(registry, registry.find(bundle), actor=actor(as_), reason=reason)
    _show(registry, as_json=as_json)


@app.command()
def canary(
    reason: Why, folder: Folder = None, settings: SettingsFile = None, as_: As = None, as_json: AsJson = False
) -> None:
    """Let the challenger answer its first share of encounters."""
    from lang1.registry import rollout

    registry = open_registry(folder, settings)
    rollout.start_canary(registry, actor=actor(as_), reason=reason)
    _show(registry, as_json=as_json)


@app.command()
def advance(
    reason: Why, folder: Folder = None, settings: SettingsFile = None, as_: As = None, as_json: AsJson = False
) -> None:
    """Raise the canary's share to its next step."""
    from lang1.registry import rollout

    registry = open_registry(folder, settings)
    rollout.advance(registry, actor=actor(as_), reason=reason)
    _show(registry, as_json=as_json)


@app.command()
def promote(
    reason: Why, folder: Folder = None, settings: SettingsFile = None, as_: As = None, as_json: AsJson = False
) -> None:
    """Make the challenger of a canary at 100% the champion."""
    from lang1.registry import rollout

    registry = open_registry(folder, settings)
    rollout.promote(registry, actor=actor(as_), reason=reason)
    _show(registry, as_json=as_json)


@app.command()
def rollback(
    reason: Why, folder: Folder = None, settings: SettingsFile = None, as_: As = None, as_json: AsJson = False
) -> None:
    """End the rollout; without one, bring back the champion before the last promotion."""
    from lang1.registry import rollout

    registry = open_registry(folder, settings)
    rollout.rollback(registry, actor=actor(as_), reason=reason)
    _show(registry, as_json=as_json)


def _show(registry: Registry, *, as_json: bool, with_log: bool = False) -> None:
    from lang1.registry import rollout

    channels = registry.channels()
    approved = None if channels.challenger is None else rollout.approved_by(registry, channels.challenger)
    if as_json:
        typer.echo(json.dumps(channels.model_dump(mode="json") | {"approved_by": approved}, indent=1))
        return
    versions = {each.sha256: each for each in registry.listed()}
    rows = []
    for name in ("champion", "challenger", "previous"):
        sha256: str | None = getattr(channels, name)
        if sha256 is not None:
            rows.append((name, sha256[:12], versions[sha256].version, _state(channels, name, approved)))
    print_table(("channel", "bundle", "version", "state"), rows)
    if with_log:
        print_log(registry.log()[-_LOG_LINES:])


def _state(channels: Channels, name: str, approved: str | None) -> str:
    if name == "champion":
        return f"answers {100 - channels.share}% of encounters"
    if name == "previous":
        return "the champion before"
    words = "scores in the shadow" if channels.stage == "shadow" else f"answers {channels.share}% of encounters"
    approval = f"approved by {approved}" if approved else "not approved"
    return f"{words} since {channels.since:%Y-%m-%d %H:%M} UTC, {approval}"
