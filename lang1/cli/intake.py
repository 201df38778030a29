"""`lang1 intake`: what the service could not fetch or score by itself, shown and put back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from serve.intake.rows import ShownRow
    from serve.store.core import Store

app = typer.Typer(help="Resources that the service takes in by itself.", no_args_is_help=True)

SettingsOption = Annotated[Path | None, typer.Option(help="YAML file of settings; see docs/settings.md.")]
CodeOption = Annotated[list[str] | None, typer.Option("--code", help="Only rows with this code; may be repeated.")]
_STATUSES = ("pending", "done", "dead")


@app.command("list")
def show(
    status: Annotated[str, typer.Option(help="dead, pending or done.")] = "dead",
    code: CodeOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Rows to show, oldest first.")] = 50,
    references: Annotated[bool, typer.Option("--show-references", help="Show which resources: that is PHI.")] = False,
    settings: SettingsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a row.")] = False,
) -> None:
    """Show rows by number, code and age; which resources they are only when asked. The service may be running."""
    if status not in _STATUSES:
        raise typer.BadParameter(f"status is {', '.join(_STATUSES)}")
    from serve.intake.rows import listed

    with _store(settings, read_only=True) as store:
        total, rows = store.read(listed, (status,), tuple(code or ()), limit)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(_as_json(row, references)))
    else:
        _print(rows, references)
    typer.echo(f"{total} {status}, {len(rows)} shown", err=True)


@app.command()
def replay(
    ids: Annotated[
        list[int] | None, typer.Argument(help="Numbers of rows, as list shows them.", metavar="[ID...]")
    ] = None,
    code: CodeOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Every dead row.")] = False,
    settings: SettingsOption = None,
) -> None:
    """Put dead rows back to be taken in, with all their tries. The service may be running.

    Exit code 0 when there were any, 1 when none was dead.
    """
    if not (ids or code or everything) or (everything and (ids or code)):
        raise typer.BadParameter("give numbers, --code, or --all alone")
    from serve.intake.rows import replay as put_back

    with _store(settings, read_only=False) as store:
        count = store.write(put_back, tuple(ids or ()), tuple(code or ()))
    typer.echo(f"{count} put back")
    if not count:
        raise typer.Exit(1)


@contextmanager
def _store(settings: Path | None, *, read_only: bool) -> Iterator[Store]:
    from sqlalchemy.engine import make_url

    from serve.errors import ServiceError
    from serve.settings import load_settings
    from serve.store.core import Store

    url = load_settings(settings).resolved_database_url
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        typer.echo("lang1: there is no database yet; start the service first, or mend database_url", err=True)
        raise typer.Exit(1)
    store = Store(url, read_only=read_only)
    try:
        yield store
    except ServiceError as error:
        typer.echo(f"lang1: {error.problem.message}", err=True)
        raise typer.Exit(1) from None
    finally:
        store.close()


def _as_json(row: ShownRow, references: bool) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": row.id, "source": row.source, "type": row.resource_type, "status": row.status, "code": row.code,
        "attempts": row.attempts, "age_s": row.age_ms // 1000,
    }  # fmt: skip
    return shown | ({"reference": row.reference} if references else {})


def _print(rows: list[ShownRow], references: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("id", "source", "type", "status", "code", "tries", "age", *(["reference"] if references else []))
    for row in rows:
        cells = [str(row.id), row.source, row.resource_type, row.status, row.code or "", str(row.attempts),
                 _age(row.age_ms // 1000), *([row.reference] if references else [])]  # fmt: skip
        table.add_row(*(escape(cell) for cell in cells))
    Console().print(table)


def _age(seconds: int) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
