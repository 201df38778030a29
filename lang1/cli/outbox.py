"""`lang1 outbox`: what waits to be written back, what was given up, and replaying it. Works while the service runs."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from serve.outbox.work import Letter
    from serve.store.core import Store

T = TypeVar("T")

app = typer.Typer(help="Scores on their way back to the EHR.", no_args_is_help=True)
_Settings = Annotated[Path | None, typer.Option("--settings", help="YAML file of settings; see docs/settings.md.")]


@app.command("list")
def list_(
    dead: Annotated[bool, typer.Option("--dead", help="Only what was given up.")] = False,
    pending: Annotated[bool, typer.Option("--pending", help="Only what is still to be written.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most rows to show, oldest first.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a row on standard output.")] = False,
    settings: _Settings = None,
) -> None:
    """Show what is not written back: ids, task, age, tries and the error's code; nothing of a patient."""
    if dead and pending:
        raise typer.BadParameter("give --dead or --pending, or neither for both")
    from serve.outbox.letters import backlog, letters

    statuses = ["dead"] if dead else ["pending"] if pending else ["pending", "dead"]

    def read(store: Store) -> tuple[list[Letter], Any]:
        return store.read(letters, statuses, limit), store.read(backlog)

    found, counts = _with_store(settings, read, read_only=True)
    now_ms = time.time_ns() // 1_000_000
    if as_json:
        for letter in found:
            typer.echo(json.dumps(_as_json(letter, now_ms)))
    elif found:
        _print_table(found, now_ms)
        # One cause has often many letters.
        for error, count in Counter(letter.error for letter in found if letter.error).most_common():
            typer.echo(f"{count} with {error}", err=True)
    typer.echo(f"{counts.pending} pending, {counts.dead} dead", err=True)


@app.command()
def replay(
    ids: Annotated[list[int] | None, typer.Argument(help="Ids of dead letters, as `list` shows them.")] = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="Every dead letter.")] = False,
    settings: _Settings = None,
) -> None:
    """Try dead letters again, with all their tries. Mend first what made them fail.

    Exit code 1 when an id is not that of a dead letter; the others are replayed.
    """
    if bool(ids) == all_dead:
        raise typer.BadParameter("give ids, or --all-dead")
    from serve.outbox.letters import replay as replay_rows

    done = _with_store(settings, lambda store: store.write(replay_rows, ids if ids else None), read_only=False)
    typer.echo(f"{len(done)} replayed")
    if ids and (unknown := sorted(set(ids) - set(done))):
        typer.echo(f"not dead letters: {', '.join(map(str, unknown))}", err=True)
        raise typer.Exit(1)


def _with_store(settings_file: Path | None, work: Callable[[Store], T], *, read_only: bool) -> T:
    from serve.errors import ServiceError
    from serve.settings import load_settings
    from serve.store.core import Store

    settings = load_settings(settings_file)
    url = settings.resolved_database_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).is_file():
        typer.echo("lang1: there is no database yet; give the settings of the service with --settings", err=True)
        raise typer.Exit(1)
    try:
        store = Store(url, read_only=read_only)
        try:
            return work(store)
        finally:
            store.close()
    except ServiceError as error:
        typer.echo(f"lang1: the database is locked or away ({error.problem.code}); try again", err=True)
        raise typer.Exit(1) from None


def _as_json(letter: Letter, now_ms: int) -> dict[str, Any]:
    return {
        "id": letter.id,
        "status": letter.status,
        "task": letter.task,
        "sink": letter.sink,
        "version": letter.version,
        "age_s": (now_ms - letter.created_ms) // 1000,
        "attempts": letter.attempts,
        "error": letter.error,
        "next_try_s": max(0, letter.next_attempt_ms - now_ms) // 1000 if letter.status == "pending" else None,
        "prediction": letter.prediction,
    }


def _print_table(found: Sequence[Letter], now_ms: int) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for name in ("id", "status", "task", "sink", "version", "age", "tries", "error"):
        # Folded, not cut: an error's code is what is looked for.
        table.add_column(name, overflow="fold")
    for letter in found:
        cells = (letter.id, letter.status, letter.task, letter.sink, letter.version, _age(now_ms - letter.created_ms),
                 letter.attempts, letter.error or "")  # fmt: skip
        table.add_row(*(escape(str(cell)) for cell in cells))
    Console().print(table)


def _age(ms: int) -> str:
    seconds = max(0, ms) // 1000
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
