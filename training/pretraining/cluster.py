"""The Ray that workers run on: one of this machine alone, which a run starts and ends, or a cluster that is there.

Ray reads its variables when it is imported, so `set_ray_environment` comes before that. A Ray of this machine listens
on loopback and asks for a token: who reaches a Ray's ports runs any code.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from training.pretraining.errors import PretrainError

LOCAL = "local"
_STARTS = 3
TOKEN_FILE = ".ray_token"  # noqa: S105
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    # The workers import torch and LitGPT; from a cold disk that takes longer than Ray's minute.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
}
_LOOPBACK = {
    # Ray's switch for desktops, which works anywhere: every port of Ray listens on 127.0.0.1 alone.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "GLOO_SOCKET_IFNAME": "lo",
    # Ray asks the cloud's metadata address at its start; a proxy that leads nowhere stops that.
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1,localhost,::1",
    "RAY_worker_niceness": "0",
    "RAY_AUTH_MODE": "token",
}


def set_ray_environment(address: str, out: Path) -> None:
    """Set what Ray and its workers read. Raises PretrainError when Ray was imported before for a local start."""
    os.environ.update(_QUIET)
    if address != LOCAL:
        return
    if "ray" in sys.modules:
        raise PretrainError(
            "Ray is imported already, so that a Ray of this machine alone cannot be started; use a new process"
        )
    os.environ.update(_LOOPBACK)
    token = out / TOKEN_FILE
    if not token.exists():
        descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token.resolve())


@contextmanager
def ray_cluster(address: str, out: Path, workers: int, gpus: int) -> Iterator[None]:
    """Ray is up inside: a new one for `LOCAL`, ended after; else the cluster at `address` ("auto": this node's)."""
    set_ray_environment(address, out)
    import ray

    # A place more than there are workers: Ray Train's controller needs one to start on.
    mine: dict[str, Any] = {}
    if address == LOCAL:
        mine = {"num_cpus": workers + 1, "num_gpus": gpus, "include_dashboard": False}
    for attempt in range(1, _STARTS + 1):
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False, **mine)
            break
        except Exception as error:  # Ray raises bare Exception when a node is not up in 30 s, as on a busy machine
            ray.shutdown()
            if attempt == _STARTS or address != LOCAL:
                raise PretrainError(f"Ray did not start or answer at {address} ({type(error).__name__})") from None
    try:
        # Ray reports lost workers on standard output, which is for the answer.
        with redirect_stdout(sys.stderr):
            yield
    finally:
        ray.shutdown()
