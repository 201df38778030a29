"""The folder of a node's metrics files: one below `metrics_dir` for every run of Ray, shared by its processes.

prometheus-client sums all files of a folder, so files of an earlier run must not lie in it; a folder a run needs no
wiping, on any node, whoever starts the service.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from serve.settings import process_environment, set_process_environment

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def use_metrics_folder() -> None:
    """Make this run's folder and point prometheus-client at it. A replica calls it before `monitoring` is imported.

    The variable is already there when the process starts (prometheus-client reads that at its import) and names the
    folder above. Without the variable, as in a test without Ray, metrics stay in the process.
    """
    import ray

    above = process_environment().get(METRICS_VARIABLE)
    if above is None:
        return
    folder = Path(above) / ray.get_runtime_context().get_session_name()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    set_process_environment({METRICS_VARIABLE: str(folder)})


def drop_earlier_runs(metrics_dir: Path) -> None:
    """Remove what earlier runs left. Only for the process that starts the node's Ray."""
    metrics_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in metrics_dir.glob("session_*"):
        shutil.rmtree(folder, ignore_errors=True)
