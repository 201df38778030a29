"""Variables that Ray must be started with: it reads them at its import, in every process of the node.

`lang1 serve` sets them. Elsewhere: `env $(python -m serve.ray_environment) serve run serve-config.yaml`, and the same
before `ray start`, where the nodes also share a token (`ray get-auth-token --generate`, or RAY_AUTH_TOKEN_PATH): who
reaches Ray's ports of a cluster without one runs any code. KubeRay sets mode and token itself (`authOptions`).
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from serve.app_names import EDGE_CALLBACK
from serve.settings import process_environment, set_default_environment, set_process_environment

EDGE_VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"

REQUIRED = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Where `ray start` made the cluster, Ray posts even that usage reports are disabled: to a closed port, then.
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    EDGE_VARIABLE: EDGE_CALLBACK,
    # Ray prints the arguments of failed tasks; nothing of them goes to a terminal.
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_DEDUP_LOGS": "0",
}
# One event loop a replica: each hop between Ray's own loop and the user's costs a millisecond. The other parts of
# RAY_SERVE_THROUGHPUT_OPTIMIZED stay off: direct ingress opens a port a replica, and its log buffer loses lines on
# a kill.
DEFAULTS = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_FREEZE_GC_ON_STARTUP": "1",
    # Ray runs its workers at nice 15, so that any other busy process of the machine would starve the replicas.
    "RAY_worker_niceness": "0",
    # Idle workers made in advance fit none of our replicas (each has its own environment) and cost 2 s of the start.
    "RAY_prestart_worker_first_driver": "0",
}
AUTH_MODE_VARIABLE = "RAY_AUTH_MODE"
TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
AUTHENTICATION = {AUTH_MODE_VARIABLE: "token"}
# Ray's switch for desktops, which works anywhere: the node's address is then 127.0.0.1, and every port of Ray listens
# on it alone. `_node_ip_address` does not do it: Ray puts the machine's outer address in its place.
LOCAL_ONLY = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray asks the cloud's metadata address and name at its start, whatever is set. A proxy that leads nowhere stops
    # that, and every other library that would call home; the service's own clients take no proxy from here.
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1,localhost,::1",
}
TOKEN_FILE = "ray_auth_token"  # noqa: S105


def set_ray_environment() -> None:
    """Set them in this process, for the Ray that it will start; an operator's own value of a default wins."""
    set_process_environment(REQUIRED)
    set_default_environment(DEFAULTS)
    if "ray" not in sys.modules:
        # An imported Ray has read the mode already, and hangs on a change; unset, it turns the token on by itself.
        set_process_environment(AUTHENTICATION)


def set_local_ray_environment(state_dir: Path) -> None:
    """The same for a Ray of this machine alone: all its ports on loopback, and a token of its own in `state_dir`."""
    set_ray_environment()
    set_process_environment(LOCAL_ONLY)
    if not any(process_environment().get(name) for name in TOKEN_VARIABLES):
        # Ray's own place for it is the home folder, readable by all and shared with every other Ray of the user.
        set_process_environment({"RAY_AUTH_TOKEN_PATH": str(_token_file(state_dir))})


def _token_file(state_dir: Path) -> Path:
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = state_dir / TOKEN_FILE
    if not path.is_file() or not path.stat().st_size:
        new = state_dir / f"{TOKEN_FILE}.{os.getpid()}"
        new.touch(mode=0o600)
        new.write_text(secrets.token_hex(32), encoding="ascii")
        new.replace(path)
    return path


def check_ray_environment() -> None:
    """Raise RuntimeError in a process of a Ray that was started without the edge: its own logs and error bodies would
    show what must not be shown.
    """
    if process_environment().get(EDGE_VARIABLE) != EDGE_CALLBACK:
        raise RuntimeError(
            f"Ray was started without {EDGE_VARIABLE}={EDGE_CALLBACK}; "
            "start it with the variables that `python -m serve.ray_environment` prints"
        )


def check_ray_authentication() -> None:
    """Raise RuntimeError in a process of a Ray that takes anyone who reaches its ports."""
    if process_environment().get(AUTH_MODE_VARIABLE) != AUTHENTICATION[AUTH_MODE_VARIABLE]:
        raise RuntimeError(
            f"Ray was started without {AUTH_MODE_VARIABLE}=token; "
            "start it with the variables that `python -m serve.ray_environment` prints, and a token"
        )


if __name__ == "__main__":
    sys.stdout.write("".join(f"{name}={value}\n" for name, value in (REQUIRED | DEFAULTS | AUTHENTICATION).items()))
