"""Start the service on this machine: Ray, Ray Serve and the application; stop what was started, and only that."""

from __future__ import annotations

import errno
import logging
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from serve.app_names import APPLICATION
from serve.auth.gate import check_authentication
from serve.errors import SettingsError
from serve.metrics_folder import drop_earlier_runs
from serve.ray_environment import set_local_ray_environment
from serve.rollout.checking import check_registry, replicas_of
from serve.settings import Settings

OBJECT_STORE_BYTES = 200 * 2**20
READY_TIMEOUT_S = 120.0
PORT_WAIT_S = 10.0
"""The processes of a service that was killed go within about 2 s; who still listens after this is somebody else."""


class Service:
    """A running service. `url` is where it listens; `stop` ends Serve and the Ray that was started here."""

    def __init__(self, settings: Settings, *, owns_ray: bool, session_dir: str) -> None:
        self.settings = settings
        self.url = f"http://{settings.host}:{settings.port}"
        self.session_dir = session_dir
        """Folder of Ray's logs for this run."""
        self._owns_ray = owns_ray
        self._stopped = threading.Lock()

    def stop(self) -> None:
        """Drain (up to `drain_s` seconds) and stop. A second call does nothing."""
        import ray
        from ray import serve as ray_serve

        if not self._stopped.acquire(blocking=False):
            return
        ray_serve.shutdown()  # type: ignore[no-untyped-call]
        if self._owns_ray:
            ray.shutdown()


def run_service(
    settings: Settings, *, block: bool = True, on_ready: Callable[[], None] | None = None, num_cpus: float | None = None
) -> Service:
    """Start, wait until `/readyz` answers 200, call `on_ready`; with `block`, wait for SIGTERM or SIGINT and drain.

    Raises SettingsError for a bundle that is not there, for keys that cannot be used and for a port that is taken,
    RuntimeError when the service does not become ready.
    """
    check_registry(settings)
    if settings.registry is None and not (settings.bundle.expanduser() / "lang1.json").is_file():
        raise SettingsError(f"bundle: {settings.bundle} holds no lang1.json; set bundle to a model bundle's folder")
    check_authentication(settings)
    _wait_for_port(settings.host, settings.port)
    set_local_ray_environment(settings.resolved_state_dir)
    # Inherited by every process of Ray: a crash would write the notes in memory to the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    stop_asked = threading.Event()
    if block:
        _stop_on_signals(stop_asked)
    service = _start(settings, num_cpus, stop_asked if block else None)
    try:
        _wait_ready(service, stop_asked)
        if on_ready is not None:
            on_ready()
        if block:
            stop_asked.wait()
    except BaseException:
        service.stop()
        raise
    if block:
        service.stop()
    return service


def _start(settings: Settings, num_cpus: float | None, stop_asked: threading.Event | None) -> Service:
    import ray
    from ray import serve as ray_serve

    from serve.app import application, logging_config

    owns_ray = not ray.is_initialized()
    if owns_ray:
        drop_earlier_runs(settings.resolved_metrics_dir)
        ray.init(
            address="local",
            include_dashboard=False,
            num_cpus=_cpus_needed(settings, num_cpus),
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.WARNING,
            _node_ip_address="127.0.0.1",
        )
        if stop_asked is not None:
            _stop_on_signals(stop_asked)  # again: ray.init puts its own SIGTERM handler in, which leaves at once
    service = Service(settings, owns_ray=owns_ray, session_dir=_session_dir())
    try:
        ray_serve.start(
            http_options={"host": settings.host, "port": settings.port, "request_timeout_s": None},
            logging_config=logging_config(settings),
        )
        ray_serve.run(application(settings), name=APPLICATION, route_prefix="/", blocking=False)
    except BaseException:
        service.stop()
        raise
    return service


def _wait_for_port(host: str, port: int) -> None:
    """Return once nobody listens there: Ray's proxy would share the port with whoever does, and answer half the calls.

    Raises SettingsError when it stays taken.
    """
    until = time.monotonic() + PORT_WAIT_S
    while True:
        try:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended just now are none
                probe.bind((host, port))
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SettingsError(f"host: cannot listen on {host} port {port} ({error.strerror})") from None
        if time.monotonic() > until:
            raise SettingsError(f"port: {port} on {host} is taken by another program; end it, or set another port")
        time.sleep(0.1)


def _session_dir() -> str:
    import ray

    node: Any = ray._private.worker._global_node
    return str(node.get_session_dir_path()) if node else ""


def _cpus_needed(settings: Settings, given: float | None) -> int:
    # Shares, not cores: a machine of two cores must hold every replica, and threads are set apart from this.
    loops = settings.has_intake + (settings.sink != "none") + (settings.monitor_every_s is not None)
    needed = settings.scorer_cpus * settings.scorer_replicas + 0.1 * (
        settings.ingress_replicas + settings.store_replicas + loops
    )
    if settings.registry is not None:
        needed += settings.scorer_cpus * replicas_of(settings) + 0.1
    return int(max(given or 0, needed + 1))


def _stop_on_signals(stop_asked: threading.Event) -> None:
    def ask(_signal: int, _frame: FrameType | None) -> None:
        stop_asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)


def _wait_ready(service: Service, stop_asked: threading.Event) -> None:
    import httpx

    until = time.monotonic() + READY_TIMEOUT_S
    last = "no answer"
    with httpx.Client(timeout=5, trust_env=False) as client:
        while time.monotonic() < until and not stop_asked.is_set():
            try:
                answer = client.get(f"{service.url}/readyz")
                if answer.status_code == 200:
                    return
                last = f"status {answer.status_code}"
            except httpx.HTTPError as error:
                last = type(error).__name__
            stop_asked.wait(0.05)
    if not stop_asked.is_set():
        raise RuntimeError(
            f"not ready after {READY_TIMEOUT_S:g} s ({last}); see the logs under {service.session_dir}/logs"
        )
