"""`lang1 store …`: the database of a service, beside a service that runs or without one."""

from __future__ import annotations

import json
import re
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from serve.settings import Settings
    from serve.store.core import Store

app = typer.Typer(help="Migrate, check, prune and audit the database of scores.", no_args_is_help=True)

# 45 CFR 164.316(b)(2)(i): documentation is kept for six years.
AUDIT_DAYS = "2192d"
_OPERATOR = "operator"
_DAYS = re.compile(r"([1-9]\d{0,4})d")
_DAY_MS = 86_400_000

SettingsFile = Annotated[Path | None, typer.Option(help="YAML file of settings; see docs/settings.md.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count the rows and change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.callback()
def _store() -> None:
    """Migrate, check, prune and audit the database of scores."""


@app.command()
def migrate(settings: SettingsFile = None) -> None:
    """Bring the schema to the newest revision; for a job before a rollout. The service does it at its start too."""
    from serve.store.health import newest_revision

    with _open(settings) as (store, _):
        store.migrate()
    typer.echo(f"schema {newest_revision()}")


@app.command()
def check(settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Whether the schema is the newest and the rows are whole; exit code 1 and the reasons when not."""
    from serve.store import health

    with _open(settings, read_only=True) as (store, _):
        revision, newest = store.read(health.schema_revision), health.newest_revision()
        current = revision == newest
        sizes = store.read(health.table_sizes) if current else []
        found = (
            store.read(health.problems) if current else [f"schema {revision}, wanted {newest}; run lang1 store migrate"]
        )
    if as_json:
        tables = {name: {"rows": rows, "oldest_ms": oldest} for name, rows, oldest in sizes}
        typer.echo(json.dumps({"schema": revision, "tables": tables, "problems": found}))
    else:
        _print_rows(("table", "rows", "oldest"), [(name, f"{rows:,}", _day(oldest)) for name, rows, oldest in sizes])
        typer.echo("\n".join(found) or f"sound, schema {revision}")
    if found:
        raise typer.Exit(1)


@app.command()
def prune(
    older_than: Annotated[str, typer.Option(help="Age of the scores to delete, in days: 400d.")],
    audit_older_than: Annotated[str, typer.Option(help="Age of the audit rows to delete.")] = AUDIT_DAYS,
    settings: SettingsFile = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Delete scores, and what hangs on them, by age. Write-backs that are already in the EHR stay there."""
    from serve.store import retention
    from serve.store.audit import record_access

    now = time.time_ns() // 1_000_000
    before = dict.fromkeys(retention.AGE, now - _days(older_than) * _DAY_MS)
    before |= dict.fromkeys(retention.AUDIT, now - _days(audit_older_than) * _DAY_MS)
    # A used token is remembered until it expires by itself, and no longer.
    before["used_tokens"] = now
    with _open(settings, read_only=dry_run) as (store, chosen):
        if dry_run:
            counts = {name: store.read(retention.count_older, name, moment) for name, moment in before.items()}
        else:
            # First: what is cut short was begun, and the audit must say so.
            store.write(record_access, "prune", _OPERATOR, str(uuid.uuid4()))
            counts = retention.prune(store, before)
            _empty_log(chosen)
    _report(counts, "would be deleted" if dry_run else "deleted", as_json)


@app.command()
def forget(
    patient: Annotated[str, typer.Option(help="Reference as it was sent (Patient/123), or system|value.")],
    settings: SettingsFile = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Delete every row of one patient. An audit row says that it was done, without whom. The EHR keeps what it has."""
    from serve.store import retention
    from serve.store.audit import record_access

    with _open(settings, read_only=dry_run) as (store, chosen):
        if dry_run:
            counts = _rows_of(store, patient)
        else:
            # First: what is cut short was begun, and the audit must say so.
            store.write(record_access, "forget", _OPERATOR, str(uuid.uuid4()))
            counts = retention.forget(store, patient)
            _empty_log(chosen)
            if not any(counts.values()):
                typer.echo("lang1: no row is of this patient; give the name as it was sent", err=True)
    _report(counts, "would be deleted" if dry_run else "deleted", as_json)


@app.command()
def merge(
    old: Annotated[str, typer.Option("--from", help="The patient that the EHR merged away.")],
    new: Annotated[str, typer.Option("--into", help="The surviving patient.")],
    settings: SettingsFile = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Give every row of one patient to another, as the EHR did. Run it again after late messages of the old one."""
    from serve.store import patient_merge

    if old == new:
        raise typer.BadParameter("--from and --into name the same patient")
    with _open(settings, read_only=dry_run) as (store, chosen):
        if dry_run:
            counts = _rows_of(store, old)
        else:
            counts = patient_merge.merge(store, old, new, _OPERATOR, str(uuid.uuid4()))
            _relabel(store, chosen, new)
            _empty_log(chosen)
    _report(counts, "would be moved" if dry_run else "moved", as_json)


@app.command()
def relabel(settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Label every stay anew: after outcome_mapping_file, hospital_timezone or tasks_file were changed."""
    with _open(settings) as (store, chosen):
        count = _relabel(store, chosen, None)
    _report({"labels": count}, "were changed", as_json)


def _relabel(store: Store, chosen: Settings, patient: str | None) -> int:
    """Labels of one patient's stays, or of all, by the rules of the settings; how many changed."""
    from lang1.tasks import BUILT_IN, load_tasks
    from serve.outcomes.context import label_context
    from serve.outcomes.refresh import fact_sources, relabel_some
    from serve.outcomes.relabel import relabel_patients

    context = label_context(chosen, load_tasks(chosen.tasks_file) if chosen.tasks_file else BUILT_IN)
    changed = 0
    for source in store.read(fact_sources):
        if patient is not None:
            changed += len(store.write(relabel_patients, source, [patient], context))
            continue
        after: str | None = None
        while True:
            part = store.write(relabel_some, source, context, after)
            changed += len(part.labels)
            after = part.after
            if after is None:
                break
    return changed


@app.command()
def audit(
    since: Annotated[str, typer.Option(help="First day, 2026-11-01, in UTC.")],
    until: Annotated[str | None, typer.Option(help="The day after the last one.")] = None,
    patient: Annotated[
        str | None, typer.Option(help="Only events of this patient: Patient/123 or system|value.")
    ] = None,
    ndjson: Annotated[bool, typer.Option("--ndjson", help="Print FHIR AuditEvents, one a line.")] = False,
    settings: SettingsFile = None,
) -> None:
    """Who was given which scores, newest first; as FHIR AuditEvents for the hospital's audit repository."""
    from serve.routes.fhir_audit import make_observer, to_audit_event
    from serve.store.audit import AuditPage, AuditQuery, audit_page, record_access

    days = (_midnight_ms(since), _midnight_ms(until) if until else None)
    after = None
    with _open(settings) as (store, _):
        store.write(record_access, "audit", _OPERATOR, str(uuid.uuid4()))
    with _open(settings, read_only=True) as (store, chosen):
        observer = make_observer(chosen)
        while True:
            query = AuditQuery((patient,) if patient else (), (days,), count=500, after=after)
            page: AuditPage = store.read(audit_page, query)
            for event in page.events:
                if ndjson:
                    sys.stdout.write(json.dumps(to_audit_event(event, observer)) + "\n")
                else:
                    at = datetime.fromtimestamp(event.recorded_ms / 1000, UTC).isoformat(timespec="seconds")
                    typer.echo(
                        f"{at}  {event.action:<10}  {event.source}  {event.prediction or '-'}  {event.request_id}"
                    )
            after = page.after
            if after is None:
                return


@contextmanager
def _open(settings: Path | None, *, read_only: bool = False) -> Iterator[tuple[Store, Settings]]:
    """The service's database; `read_only` takes no lock from it. A database error becomes one line and exit code 1."""
    from serve.errors import StoreUnavailableError
    from serve.settings import load_settings
    from serve.store.core import Store

    chosen = load_settings(settings)
    try:
        store = Store(chosen.resolved_database_url, read_only=read_only)
        try:
            yield store, chosen
        finally:
            store.close()
    except StoreUnavailableError as error:
        typer.echo(f"lang1: the database cannot be used: {error}; run it again, what was done stays done", err=True)
        raise typer.Exit(1) from None


def _rows_of(store: Store, patient: str) -> dict[str, int]:
    from serve.store import retention

    tables = [table.name for table in retention.subject_tables()]
    return {name: store.read(retention.count_of_subject, name, patient) for name in tables}


def _empty_log(settings: Settings) -> None:
    from serve.store.retention import truncate_log

    if not truncate_log(settings.resolved_database_url):
        typer.echo("lang1: a reader keeps the write-ahead log; deleted bytes leave it at the next checkpoint", err=True)


def _days(text: str) -> int:
    found = _DAYS.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"an age is a number of days such as 400d; got {text}")
    return int(found[1])


def _midnight_ms(day: str) -> int:
    try:
        moment = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise typer.BadParameter(f"a day is written 2026-11-01; got {day}") from None
    return int(moment.timestamp() * 1000)


def _day(moment_ms: int | None) -> str:
    return "" if moment_ms is None else datetime.fromtimestamp(moment_ms / 1000, UTC).date().isoformat()


def _report(counts: dict[str, int], what: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(counts))
        return
    _print_rows(("table", what), [(name, f"{count:,}") for name, count in counts.items()])


def _print_rows(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
