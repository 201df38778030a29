"""What the service adds to the bare forward pass, and how many notes a second it scores and records, over HTTP.

    python -m bench.service_latency [--bundle FOLDER] [--calls 200]

Starts `lang1 serve` with its default settings on a free port and a temporary state folder, and stops it. Every answer
is durable: one fsync a transaction. The bare pass is timed first, alone, in this process: same note, same threads.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import httpx
import torch
from rich.console import Console
from rich.table import Table

from lang1 import DEMO_BUNDLE
from lang1.notes import ClinicalNote, clean_text
from lang1.scorer import PackedScorer
from serve.settings import load_settings

EXAMPLE = Path(__file__).parent.parent / "serve" / "examples" / "discharge-summary.json"
NOTE_TYPE = "18842-5"
NOTES_PER_CALL, CLIENTS = 32, 4
START_LIMIT_S, STOP_LIMIT_S = 240.0, 60.0


def note_text() -> str:
    attachment = json.loads(EXAMPLE.read_text(encoding="utf-8"))["content"][0]["attachment"]
    return base64.b64decode(attachment["data"]).decode()


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def bare_pass(bundle: Path, calls: int) -> dict[str, float]:
    """p50 of one note's forward pass, and of that with its tokenising."""
    torch.set_num_threads(load_settings(bundle=bundle).threads_per_scorer)
    scorer = PackedScorer.load(bundle)
    note = ClinicalNote("", clean_text(note_text()), NOTE_TYPE)
    prompt = scorer.prepare(note)
    for _ in range(10):
        scorer.score([prompt])
    passes, whole = [], []
    for _ in range(calls):
        passes.append(milliseconds(lambda: scorer.score([prompt])))
        whole.append(milliseconds(lambda: scorer.score([scorer.prepare(note)])))
    return {
        "note_tokens": prompt.note_tokens,
        "prompt_tokens": prompt.total_tokens,
        "pass_p50_ms": statistics.median(passes),
        "prepare_and_pass_p50_ms": statistics.median(whole),
    }


@contextmanager
def service(bundle: Path) -> Iterator[str]:
    """URL of a running service, which is stopped at the end by its process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="lang1-bench-") as scratch:
        log = Path(scratch) / "service.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LANG1_")}
        environment["LANG1_STATE_DIR"] = str(Path(scratch) / "state")
        command = [sys.executable, "-m", "lang1.cli.main", "serve", "--bundle", str(bundle), "--port", str(port)]
        with log.open("wb") as output:
            child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)  # noqa: S603
        try:
            wait_ready(f"http://127.0.0.1:{port}", child, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                child.kill()


def wait_ready(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until and child.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(0.2)
    raise SystemExit(f"the service did not become ready:\n{log.read_text(errors='replace')[-2000:]}")


def over_http(url: str, calls: int) -> dict[str, float]:
    text = note_text()
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:

        def post(*ids: str) -> None:
            notes = [{"id": each, "text": text, "note_type": NOTE_TYPE} for each in ids]
            answer = client.post("/v1/score", json={"notes": notes})
            if answer.status_code != httpx.codes.OK or any("error" in each for each in answer.json()["results"]):
                raise SystemExit(f"a call failed with status {answer.status_code}")

        for i in range(20):
            post(f"warm-{i}")
        new = [milliseconds(lambda i=i: post(f"new-{i}")) for i in range(calls)]  # type: ignore[misc]
        again = [milliseconds(lambda i=i: post(f"new-{i}")) for i in range(calls)]  # type: ignore[misc]
        many = max(CLIENTS * 2, calls // 10)
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            started = time.perf_counter()
            list(pool.map(lambda call: post(*(f"many-{call}-{i}" for i in range(NOTES_PER_CALL))), range(many)))
            seconds = time.perf_counter() - started
    return {
        "score_p50_ms": statistics.median(new),
        "score_p95_ms": statistics.quantiles(new, n=20)[-1],
        "resend_p50_ms": statistics.median(again),
        "notes_per_second": many * NOTES_PER_CALL / seconds,
    }


def machine() -> dict[str, object]:
    packages = ("ray", "torch", "fastapi", "sqlalchemy", "lang1")
    return {
        "cpus": os.cpu_count(), "usable_cpus": len(os.sched_getaffinity(0)), "architecture": platform.machine(),
        "load_average": os.getloadavg(), "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO_BUNDLE)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    bundle = arguments.bundle.absolute()
    before = machine()
    bare = bare_pass(bundle, arguments.calls)
    with service(bundle) as url:
        model = httpx.get(f"{url}/v1/model", timeout=30, trust_env=False).json()["model"]
        measured = over_http(url, arguments.calls)
    measured["added_p50_ms"] = measured["score_p50_ms"] - bare["pass_p50_ms"]
    result = {"model": model, "calls": arguments.calls, "clients": CLIENTS, "notes_per_call": NOTES_PER_CALL,
              "bare": bare, "service": measured, "machine": before}  # fmt: skip
    out = arguments.out or Path(__file__).parent / "results" / f"service-{model['name']}.json"
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    table = Table("measured", "value")
    table.add_row("bare forward pass, one note, p50", f"{bare['pass_p50_ms']:.1f} ms")
    table.add_row(
        "POST /v1/score, one note, p50 / p95", f"{measured['score_p50_ms']:.1f} / {measured['score_p95_ms']:.1f} ms"
    )
    table.add_row("added by the service, p50, durable", f"{measured['added_p50_ms']:.1f} ms")
    table.add_row("the same note again, p50", f"{measured['resend_p50_ms']:.1f} ms")
    table.add_row(f"{CLIENTS} clients x {NOTES_PER_CALL} notes", f"{measured['notes_per_second']:.1f} notes/s")
    console = Console()
    console.print(table)
    console.print(f"written to {out}")


if __name__ == "__main__":
    main()
