"""Nothing leaves the machine: a service in a network namespace, whose every outgoing packet is seen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.serve.security.egress_run import CONTROL_ADDRESS, CONTROL_HOST, RESOLVER

ROOT = Path(__file__).parents[3]
LIMIT_S = 240


def namespace() -> list[str]:
    """The command that starts another in namespaces of its own. Skips, or fails where all is required."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--net", "--mount"]
    probe = "ip link add x0 type veth peer name x1"
    if not all(shutil.which(each) for each in ("unshare", "ip", "mount")):
        reason = "no unshare, ip and mount; install util-linux and iproute2"
    else:
        tried = subprocess.run([*command, *probe.split()], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return command
        reason = f"no network namespace can be made here: {tried.stderr.strip()}"
    if os.environ.get("LANG1_REQUIRE_ALL"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def report(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("egress")
    # Proxies of the environment would take the packets to another place.
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    finished = subprocess.run(
        [*namespace(), sys.executable, "-m", "tests.serve.security.egress_run", str(bundle), str(folder)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr[-3000:]
    answer: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return answer


@pytest.mark.slow
def test_the_service_was_really_used(report: dict[str, Any]) -> None:
    statuses = report["statuses"]
    assert [name for name in ("score", "explain", "batch", "plain", "cds") if statuses[name] != 200] == []
    assert (statuses["url"], statuses["broken"]) == (422, 400)
    assert report["imports"] == ""


@pytest.mark.slow
def test_no_packet_leaves_while_the_service_runs_and_everything_is_imported(report: dict[str, Any]) -> None:
    assert report["seen"] == []


@pytest.mark.slow
def test_a_packet_that_leaves_is_seen(report: dict[str, Any]) -> None:
    seen = report["control"]
    assert f"udp {RESOLVER}:53 {CONTROL_HOST}" in seen
    assert f"tcp {CONTROL_ADDRESS}:443" in seen
    assert "udp 2001:db8:1::9:9" in seen
