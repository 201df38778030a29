"""Variables that Ray must be started with: it reads them at its import, in every process of the node.

`lang1 serve` sets them. Elsewhere: `env $(python -m serve.ray_environment) serve run serve-config.yaml`, and the same
before `ray start`.
"""

from __future__ import annotations

import sys

from serve.app_names import EDGE_CALLBACK
from serve.settings import process_environment, set_default_environment, set_process_environment

EDGE_VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"

REQUIRED = {
    "RAY_USAGE_STATS_ENABLED": "0",
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


def set_ray_environment() -> None:
    """Set them in this process, for the Ray that it will start; an operator's own value of a default wins."""
    set_process_environment(REQUIRED)
    set_default_environment(DEFAULTS)


def check_ray_environment() -> None:
    """Raise RuntimeError in a process of a Ray that was started without the edge: its own logs and error bodies would
    show what must not be shown.
    """
    if process_environment().get(EDGE_VARIABLE) != EDGE_CALLBACK:
        raise RuntimeError(
            f"Ray was started without {EDGE_VARIABLE}={EDGE_CALLBACK}; "
            "start it with the variables that `python -m serve.ray_environment` prints"
        )


if __name__ == "__main__":
    sys.stdout.write("".join(f"{name}={value}\n" for name, value in (REQUIRED | DEFAULTS).items()))
