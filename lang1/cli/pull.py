"""`lang1 pull`: notes out of a bulk export, or files of one, into a running service."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from serve.intake.feeding import ServiceFeed, Tally
    from serve.settings import Settings

app = typer.Typer(help="Bring notes into a running service.", no_args_is_help=True)

_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})")

StateOption = Annotated[
    Path, typer.Option(help="File that holds how far it came: the same command again goes on there.")
]
ServiceOption = Annotated[str | None, typer.Option(help="URL of the service.", show_default="as the settings say")]
TokenOption = Annotated[Path | None, typer.Option(help="File with a bearer token for the service, read at each call.")]
CaOption = Annotated[
    Path | None, typer.Option(help="PEM file of the authorities that signed the service's certificate.")
]
SettingsOption = Annotated[Path | None, typer.Option(help="YAML file of settings; see docs/settings.md.")]
BatchOption = Annotated[
    int, typer.Option(min=1, max=1000, help="Resources a call, at most the max_batch_entries there.")
]
ParallelOption = Annotated[int, typer.Option(min=1, max=64, help="Calls at once.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")]


@app.command()
def bulk(
    state: StateOption,
    since: Annotated[
        str | None,
        typer.Option(help="FHIR instant: only what changed since.", show_default="the end of the last export, if any"),
    ] = None,
    level: Annotated[str, typer.Option(help="Patient, Group/<id>, or nothing for the whole system.")] = "",
    resource_type: Annotated[list[str] | None, typer.Option("--type", help="Resource type; may be repeated.")] = None,
    type_filter: Annotated[
        list[str] | None, typer.Option(help="Search such as DocumentReference?type=…; may be repeated.")
    ] = None,
    service: ServiceOption = None,
    token_file: TokenOption = None,
    ca_file: CaOption = None,
    settings: SettingsOption = None,
    batch: BatchOption = 50,
    parallel: ParallelOption = 4,
    wait_s: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for the FHIR server to make the export.")
    ] = 86_400,
    as_json: JsonOption = False,
) -> None:
    """Export notes from the FHIR server of the settings (fhir_base_url) and have the service score them.

    Exit code 0 when it came to its end and something was taken in, or there was nothing; 1 when it broke off (the same
    command goes on) or everything was refused; 2 for a wrong call.
    """
    if since is not None and not _INSTANT.fullmatch(since):
        raise typer.BadParameter("since is a FHIR instant, as 2026-01-31T00:00:00Z")
    if not re.fullmatch(r"(Patient|Group/[A-Za-z0-9\-.]{1,64})?", level):
        raise typer.BadParameter("level is Patient, Group/<id>, or nothing")
    types = resource_type or ["DocumentReference"]
    for each in types:
        if not re.fullmatch(r"[A-Z][A-Za-z]{1,63}", each):
            raise typer.BadParameter("type is a FHIR resource type, as DocumentReference")
    from fhir_adapters.client.bulk import BulkExport
    from fhir_adapters.client.bulk_state import ExportState
    from lang1.cli.progress import progress_bar
    from serve.ehr.connection import make_client
    from serve.intake.pulling import PullState, pull_export
    from serve.settings import load_settings

    chosen = load_settings(settings)
    client = make_client(chosen)
    if client is None:
        raise typer.BadParameter("the settings name no fhir_base_url to export from")
    held = PullState(state)
    export = BulkExport(client, allowed_origins=chosen.ehr_bulk_hosts)
    feed = _feed(chosen, service, token_file, ca_file)

    def start(after: str | None) -> ExportState:
        return export.start(level, types=types, since=since or after, type_filters=type_filter or ())

    try:
        with progress_bar("resources", total=None) as advance:
            tally = pull_export(
                export, feed, held, start=start, wait=lambda each: export.wait(each, timeout_s=wait_s),
                parallel=parallel, max_entries=batch, advance=advance,
            )  # fmt: skip
    finally:
        feed.close()
        client.close()
    _report(tally, as_json)


@app.command()
def files(
    paths: Annotated[list[Path], typer.Argument(help="NDJSON files.", metavar="FILE...")],
    state: StateOption,
    service: ServiceOption = None,
    token_file: TokenOption = None,
    ca_file: CaOption = None,
    settings: SettingsOption = None,
    batch: BatchOption = 50,
    parallel: ParallelOption = 4,
    as_json: JsonOption = False,
) -> None:
    """Have the service score notes from NDJSON files, as an export writes them. Exit codes as for bulk."""
    for path in paths:
        if not path.is_file():
            raise typer.BadParameter(f"{path} is not a file")
    from lang1.cli.progress import progress_bar
    from serve.intake.feeding import Tally
    from serve.intake.pulling import PullState, pull_file
    from serve.settings import load_settings

    held = PullState(state)
    feed = _feed(load_settings(settings), service, token_file, ca_file)
    tally = Tally()
    try:
        with progress_bar("resources", total=None) as advance:
            for path in paths:
                tally.add(pull_file(path, feed, held, parallel=parallel, max_entries=batch, advance=advance))
    finally:
        feed.close()
    _report(tally, as_json)


def _feed(settings: Settings, service: str | None, token_file: Path | None, ca_file: Path | None) -> ServiceFeed:
    from serve.intake.feeding import ServiceFeed

    url = service or f"http://{settings.host}:{settings.port}"
    if not re.fullmatch(r"https?://[^\s/]+(/[^\s?#]*)?", url):
        raise typer.BadParameter("service is a URL, as http://127.0.0.1:8000")
    return ServiceFeed(url, token_file=token_file, ca_file=ca_file)


def _report(tally: Tally, as_json: bool) -> None:
    refused = sum(tally.refused.values())
    if as_json:
        typer.echo(json.dumps({"taken": tally.taken, "refused": dict(sorted(tally.refused.items()))}))
    else:
        codes = ", ".join(f"{code} {count}" for code, count in sorted(tally.refused.items()))
        typer.echo(
            f"{tally.total} resources: {tally.taken} taken in, {refused} refused{f' ({codes})' if codes else ''}"
        )
    if tally.total and not tally.taken:
        raise typer.Exit(1)
