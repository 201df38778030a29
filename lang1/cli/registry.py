"""`lang1 registry`: the models that may be served, and who did what with them."""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lang1.registry import LogEntry, RegisteredBundle, Registry

app = typer.Typer(help="Models that may be served, and who did what with them.", no_args_is_help=True)
Folder = Annotated[
    Path | None,
    typer.Option("--registry", help="The registry's folder. Unset: the setting `registry` of the service."),
]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="YAML file of settings; see docs/settings.md.")]
As = Annotated[str | None, typer.Option("--as", help="Who does it, for the log. Unset: the user of this machine.")]
Why = Annotated[str, typer.Option("--reason", "-m", help="Why, for the log. Nothing of a patient belongs there.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Bundle = Annotated[str, typer.Argument(help="Hash of a bundle, or its first 8 digits or more.", metavar="BUNDLE")]


def folder_of(folder: Path | None, settings_file: Path | None) -> Path:
    """The registry's folder, as given or as the service has it."""
    if folder is not None:
        return folder
    from serve.settings import load_settings

    found = load_settings(settings_file).resolved_registry
    if found is None:
        raise typer.BadParameter("give --registry, or the service's settings with --settings")
    return found


def open_registry(folder: Path | None, settings_file: Path | None) -> Registry:
    """The registry that is meant. Raises RegistryError."""
    from lang1.registry import Registry

    return Registry.open(folder_of(folder, settings_file))


def actor(given: str | None) -> str:
    """Who does it."""
    return given or getpass.getuser()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="New or empty folder; shared by the service and the training jobs.")],
    no_approval: Annotated[bool, typer.Option("--no-approval", help="Canaries need no person's approval.")] = False,
    as_: As = None,
) -> None:
    """Make a registry."""
    from lang1.registry import Registry

    registry = Registry.create(folder, require_approval=not no_approval, actor=actor(as_))
    typer.echo(f"made {registry.folder}", err=True)


@app.command()
def add(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    reason: Why,
    folder: Folder = None,
    settings: SettingsFile = None,
    as_: As = None,
) -> None:
    """Copy a bundle in, all its hashes checked; prints its hash. Exit code 1 when it is not whole."""
    typer.echo(open_registry(folder, settings).add(bundle, actor=actor(as_), reason=reason))


@app.command()
def champion(bundle: Bundle, reason: Why, folder: Folder = None, settings: SettingsFile = None, as_: As = None) -> None:
    """Serve this bundle at once, past gate and rollout: for the first one, and for emergencies."""
    registry = open_registry(folder, settings)
    sha256 = registry.find(bundle)
    registry.set_champion(sha256, actor=actor(as_), reason=reason)
    typer.echo(f"champion {sha256}", err=True)


@app.command("list")
def list_(folder: Folder = None, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Show the bundles and the channels in which they stand."""
    found = open_registry(folder, settings).listed()
    if as_json:
        typer.echo(json.dumps([_bundle_json(each) for each in found], indent=1))
    else:
        rows = [(each.sha256[:12], each.name, each.version, ", ".join(each.channels), each.gate or "",
                 f"{each.added:%Y-%m-%d %H:%M}", each.added_by) for each in found]  # fmt: skip
        print_table(("bundle", "name", "version", "channels", "gate", "added (UTC)", "by"), rows)


@app.command()
def log(
    limit: Annotated[int, typer.Option(min=1, help="Most lines to show, the newest.")] = 30,
    folder: Folder = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Show who did what, when and why; refusals too."""
    entries = open_registry(folder, settings).log()[-limit:]
    if as_json:
        for entry in entries:
            typer.echo(entry.model_dump_json())
    else:
        print_log(entries)


@app.command()
def verify(folder: Folder = None, settings: SettingsFile = None) -> None:
    """Check the log's chain and every file of every bundle. Exit code 1 when something was changed."""
    from lang1.registry import RegistryError

    registry = open_registry(folder, settings)
    faults = []
    try:
        registry.verify_log()
    except RegistryError as error:
        faults.append(str(error))
    bundles = registry.listed()
    for each in bundles:
        try:
            registry.bundle(each.sha256)
        except RegistryError as error:
            faults.append(str(error))
    for fault in faults:
        typer.echo(f"lang1: {fault}", err=True)
    if faults:
        raise typer.Exit(1)
    typer.echo(f"{len(bundles)} bundles and {len(registry.log())} lines of the log are whole", err=True)


def print_log(entries: list[LogEntry]) -> None:
    """A table of log lines."""
    rows = [(f"{each.at:%Y-%m-%d %H:%M:%S}", each.actor, each.action, (each.bundle or "")[:12], each.reason)
            for each in entries]  # fmt: skip
    print_table(("at (UTC)", "who", "what", "bundle", "why"), rows)


def print_table(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A table for people; nothing of it is cut."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    Console().print(table)


def _bundle_json(bundle: RegisteredBundle) -> dict[str, Any]:
    return {
        "bundle_sha256": bundle.sha256,
        "name": bundle.name,
        "version": bundle.version,
        "created": bundle.created,
        "demo": bundle.demo,
        "added": bundle.added.isoformat(),
        "added_by": bundle.added_by,
        "channels": list(bundle.channels),
        "gate": bundle.gate,
    }
