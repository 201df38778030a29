"""`lang1 demo`: starts the service, posts two notes as an EHR would, prints the risks, stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lang1 import DEMO_BUNDLE

if TYPE_CHECKING:
    import httpx

START_LIMIT_S = 180.0
STOP_LIMIT_S = 40.0


def demo(
    port: Annotated[int | None, typer.Option(help="TCP port.", show_default="a free one")] = None,
    keep_log: Annotated[Path | None, typer.Option(help="Keep the service's output in this file.")] = None,
) -> None:
    """Start the service with the demo bundle, score a discharge summary and an H&P over HTTP, print the risks."""
    import httpx
    from rich.console import Console

    console = Console(width=100, highlight=False, soft_wrap=True)
    chosen_port = port or _free_port()
    with tempfile.TemporaryDirectory(prefix="lang1-demo-") as scratch:
        log = keep_log or Path(scratch) / "service.log"
        console.print(f"Starting the service on http://127.0.0.1:{chosen_port} (SQLite in a temporary folder) ...")
        started = time.monotonic()
        with (
            _running_service(chosen_port, Path(scratch), log),
            httpx.Client(base_url=f"http://127.0.0.1:{chosen_port}", timeout=60, trust_env=False) as client,
        ):
            console.print(f"Ready after {time.monotonic() - started:.1f} s.\n")
            for name in ("discharge-summary.json", "history-and-physical.json"):
                document = json.loads((resources.files("serve") / "examples" / name).read_text(encoding="utf-8"))
                _score_and_print(console, client, document)
            model = client.get("/v1/model").json()["model"]
    console.print(f"Model {model['name']} {model['version']}, bundle sha256 {model['bundle_sha256'][:16]}...")
    console.print(
        "[yellow]A demonstration model, trained on invented patients: answers are tagged HTEST, "
        "never for care.[/yellow]\n"
    )
    console.print("The service is stopped. Next:")
    console.print("  make serve                                      the same service, staying up on port 8000")
    console.print("  curl -H 'Content-Type: application/fhir+json' --data @serve/examples/discharge-summary.json \\")
    console.print("       'http://127.0.0.1:8000/fhir/DocumentReference/$score'")
    console.print("  .venv/bin/lang1 score FILE...                   score notes without a server")
    console.print("  .venv/bin/lang1 bundle inspect                  what the demo model is and how well it ranks")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running_service(port: int, scratch: Path, log: Path) -> Iterator[None]:
    """`lang1 serve` as a child process, ready to answer; stopped by its process id at the end."""
    import httpx

    # The demo is the demo: a hospital's own settings must not send its invented notes to a real database.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LANG1_")}
    environment["LANG1_STATE_DIR"] = str(scratch / "state")
    environment["LANG1_MONITOR_EVERY_S"] = "null"  # there is nothing to watch in two notes
    command = [sys.executable, "-m", "lang1.cli.main", "serve", "--port", str(port), "--host", "127.0.0.1"]
    command += ["--bundle", str(DEMO_BUNDLE)]
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)  # noqa: S603 - ours
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            if child.poll() is not None:
                _fail(f"the service ended with exit code {child.returncode} before it was ready", log)
            if time.monotonic() > deadline:
                _fail(f"the service was not ready after {START_LIMIT_S:.0f} s", log)
            try:
                if (
                    httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5, trust_env=False).status_code
                    == httpx.codes.OK
                ):
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        yield
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                child.kill()


def _fail(reason: str, log: Path) -> None:
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
    typer.echo(f"lang1: {reason}; its last output:\n{tail}", err=True)
    raise typer.Exit(1)


def _score_and_print(console: Any, client: httpx.Client, document: dict[str, Any]) -> None:
    from rich.table import Column, Table

    body = json.dumps(document)
    headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
    sent = time.monotonic()
    response = client.post("/fhir/DocumentReference/$score", content=body, headers=headers)
    took_ms = (time.monotonic() - sent) * 1000
    if response.status_code != 200:
        typer.echo(f"lang1: the service answered {response.status_code}: {response.text}", err=True)
        raise typer.Exit(1)
    coding = document["type"]["coding"][0]
    console.print(
        f"[bold]{coding['display']}[/bold] (LOINC {coding['code']}): "
        f"{len(response.json()['entry'])} RiskAssessments in {took_ms:.0f} ms"
    )
    table = Table("risk", "level", Column("probabilities", no_wrap=True), "trained on note type", show_lines=True)
    for entry in response.json()["entry"]:
        resource = entry["resource"]
        predictions = resource["prediction"]
        shown = "\n".join(f"{float(p['probabilityDecimal']):6.1%}  {p['outcome']['text']}" for p in predictions)
        levels = {p["qualitativeRisk"]["coding"][0]["code"] for p in predictions if "qualitativeRisk" in p}
        match = next(
            extension["valueBoolean"]
            for extension in resource["extension"]
            if "valueBoolean" in extension and "note-type-match" in extension["url"].replace("_", "-")
        )
        table.add_row(
            resource["code"]["text"], "/".join(sorted(levels)), shown, "yes" if match else "no: read with care"
        )
    console.print(table)
    console.print()
