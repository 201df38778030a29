"""A service under test: a child process over real HTTP, ended by its process id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

START_LIMIT_S = 150
STOP_LIMIT_S = 40
_RUN = (
    "import sys; from pathlib import Path\n"
    "from serve.run import run_service; from serve.settings import load_settings\n"
    "run_service(load_settings(Path(sys.argv[1])))"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningService:
    """`url`, a client, the folder of its logs and its processes. Starts at once; `stop` ends what it started."""

    def __init__(self, folder: Path, bundle: Path, **settings: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.state_dir = folder / "state"
        self.database = self.state_dir / "lang1.sqlite3"
        self.output = folder / "output.log"
        self._file = folder / "settings.yaml"
        values = {"bundle": str(bundle), "state_dir": str(self.state_dir), "port": self.port}
        # A process less to start; the service of the session has its monitor.
        values |= {"monitor_every_s": None} | settings
        self._file.write_text(yaml.safe_dump(values))
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
        self.start()

    def start(self) -> None:
        until = time.monotonic() + START_LIMIT_S
        # What a killed service left behind still answers for a moment.
        while self._listened_to() and time.monotonic() < until:
            time.sleep(0.05)  # polls with a limit
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LANG1_")}
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _RUN, str(self._file)],
                stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=self._file.parent, start_new_session=True,
            )  # fmt: skip
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            with suppress(httpx.TransportError):
                if self.client.get("/readyz").status_code == 200:
                    return
            time.sleep(0.1)  # polls with a limit
        tail = self.output.read_text(errors="replace")[-2000:]
        self.stop()
        raise AssertionError(f"the service did not become ready; its output ends with:\n{tail}")

    def _listened_to(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> int:
        """SIGTERM, wait for the drain; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)  # its own session: start_new_session
                self.process.wait(5)
        return int(self.process.returncode)

    @property
    def log_dir(self) -> Path:
        """Ray's log folder of this run: Ray ends a session folder's name with the process id."""
        (session,) = Path("/tmp/ray").glob(f"session_*_{self.process.pid}")  # noqa: S108
        return session / "logs"

    def replica_pids(self, deployment: str) -> list[int]:
        """Processes of a deployment's replicas that descend from this service."""
        found = []
        for process in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if f":{deployment}" in title and title.startswith("ray::Serve") and self._owns(int(process.name)):
                    found.append(int(process.name))
        return found

    def _owns(self, pid: int) -> bool:
        while pid > 1:
            if pid == self.process.pid:
                return True
            status = Path(f"/proc/{pid}/status").read_text()
            pid = int(next(line for line in status.splitlines() if line.startswith("PPid")).split()[1])
        return False

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a sample over all label sets that have these labels."""
        from prometheus_client.parser import text_string_to_metric_families

        families = text_string_to_metric_families(self.client.get("/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
