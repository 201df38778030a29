"""The application builder that `serve run serve.app:build_app key=value`, `serve deploy` files and the CLI share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ray import serve as ray_serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig

from serve.app_names import INGRESS, SCORER, STORE
from serve.ingress import IngressReplica
from serve.scorer import ScorerReplica, ScorerSettings
from serve.settings import Settings, load_settings
from serve.store.actor import StoreReplica

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def logging_config(settings: Settings) -> LoggingConfig:
    """Ray Serve's logs.

    No access log: it holds paths, and a path like `RiskAssessment/{id}` names a patient's record.
    """
    return LoggingConfig(encoding="JSON", log_level=settings.log_level, enable_access_log=False)


def build_app(args: Settings | Mapping[str, Any] | None = None) -> Application:
    """The Ray Serve application from settings, or from `key=value` arguments over environment and file.

    Raises SettingsError. The metrics folder must be the same for all replicas of a node; `serve.run` wipes it at a
    start.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    settings = args if isinstance(args, Settings) else load_settings(**(args or {}))
    settings.resolved_metrics_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    env = {"env_vars": {METRICS_VARIABLE: str(settings.resolved_metrics_dir), "OMP_NUM_THREADS": "1"}}
    scorer_env = {"env_vars": env["env_vars"] | {"OMP_NUM_THREADS": str(settings.threads_per_scorer)}}
    shared: dict[str, Any] = {
        "logging_config": logging_config(settings),
        "graceful_shutdown_timeout_s": settings.drain_s,
        "max_queued_requests": -1,  # our own queue is the bounded one, and it answers with a code
    }
    scorer = ray_serve.deployment(
        name=SCORER,
        num_replicas=settings.scorer_replicas,
        max_ongoing_requests=10_000,
        ray_actor_options={
            "num_cpus": settings.scorer_cpus,
            "num_gpus": settings.scorer_gpus,
            "runtime_env": scorer_env,
        },
        user_config={"bundle": str(settings.bundle.expanduser().absolute())},
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_wait_loop_s=0.2,
        **shared,
    )(ScorerReplica).bind(_scorer_settings(settings))
    store = ray_serve.deployment(
        name=STORE,
        num_replicas=settings.store_replicas,
        max_ongoing_requests=10_000,
        ray_actor_options={"num_cpus": 0.1, "runtime_env": env},
        graceful_shutdown_wait_loop_s=0.2,
        **shared,
    )(StoreReplica).bind(settings.resolved_database_url, None if settings.sink == "none" else settings.sink)
    return ray_serve.deployment(
        name=INGRESS,
        num_replicas=settings.ingress_replicas,
        max_ongoing_requests=settings.max_ongoing_requests,
        ray_actor_options={"num_cpus": 0.1, "runtime_env": env},
        graceful_shutdown_wait_loop_s=0.2,
        **shared,
    )(ray_serve.ingress()(IngressReplica)).bind(settings, scorer, store, started)


def _scorer_settings(settings: Settings) -> ScorerSettings:
    return ScorerSettings(
        bundle=str(settings.bundle.expanduser().absolute()),
        tasks_file=str(settings.tasks_file.expanduser().absolute()) if settings.tasks_file else None,
        device=settings.device,
        dtype=settings.dtype,
        num_threads=settings.threads_per_scorer,
        max_batch_tokens=settings.max_batch_tokens,
        max_queued_notes=settings.max_queued_notes,
    )
