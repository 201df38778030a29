"""The application that `lang1 serve`, `serve run serve.app:build_app name=value` and Serve config files start."""

# No `from __future__ import annotations`: Ray looks at build_app's annotation itself, which would be a string.
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from pydantic import BaseModel, ConfigDict, Field
from ray import serve as ray_serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig

from serve.app_names import CHALLENGER, GUARD, INGRESS, INTAKE, MONITOR, RETRAINING, SCORER, STORE, WRITER
from serve.ingress import IngressReplica
from serve.metrics_folder import METRICS_VARIABLE
from serve.ray_environment import set_ray_environment
from serve.scorer import ScorerReplica, ScorerSettings
from serve.settings import Settings, load_settings
from serve.store.actor import StoreReplica


class AppArgs(BaseModel):
    """Arguments of the builder: any setting by its name, over the environment and the file.

    Ray logs the arguments: give a database URL with a password as LANG1_DATABASE_URL, on the node that builds.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    settings_file: Path | None = Field(default=None, description="YAML file of settings.")

    def settings(self) -> Settings:
        """The settings. Raises SettingsError."""
        return load_settings(self.settings_file, **(self.model_extra or {}))


def logging_config(settings: Settings) -> LoggingConfig:
    """Ray Serve's logs, without the access log: a path like `RiskAssessment/{id}` names a patient's record."""
    return LoggingConfig(encoding="JSON", log_level=settings.log_level, enable_access_log=False)


def build_app(args: AppArgs) -> Application:
    """The builder that Ray Serve's command line and config files name. Raises SettingsError.

    Where Ray is already running, it must have been started with the variables of `serve.ray_environment`.
    """
    if not ray.is_initialized():
        set_ray_environment()  # `serve run` builds first, and starts Ray after
    return application(args.settings())


def application(settings: Settings) -> Application:
    """Ingress, scorers and store with their options."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
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
        user_config=_model_source(settings),
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
    rollout = _rollout(settings, env, scorer_env)
    return ray_serve.deployment(
        name=INGRESS,
        num_replicas=settings.ingress_replicas,
        max_ongoing_requests=settings.max_ongoing_requests,
        ray_actor_options={"num_cpus": 0.1, "runtime_env": env},
        graceful_shutdown_wait_loop_s=0.2,
        **shared,
    )(ray_serve.ingress()(IngressReplica)).bind(
        settings, scorer, store, started, _loops(settings, scorer, store, rollout, env), rollout
    )


def _model_source(settings: Settings) -> dict[str, Any]:
    folder = settings.resolved_registry
    if folder is None:
        return {"bundle": str(settings.bundle.expanduser().absolute())}
    return {"registry": str(folder), "follow_s": settings.rollout_follow_s}


def _rollout(settings: Settings, env: dict[str, Any], scorer_env: dict[str, Any]) -> list[Any]:
    """Challenger and guard, where models come from a registry."""
    folder = settings.resolved_registry
    if folder is None:
        return []
    from serve.rollout.challenger import ChallengerReplica
    from serve.rollout.checking import replicas_of
    from serve.rollout.guard import GuardReplica

    shared: dict[str, Any] = {
        "logging_config": logging_config(settings),
        "graceful_shutdown_timeout_s": settings.drain_s,
        "graceful_shutdown_wait_loop_s": 0.2,
        "max_ongoing_requests": 10_000,
        "health_check_period_s": 5,
    }
    challenger = ray_serve.deployment(
        name=CHALLENGER,
        num_replicas=replicas_of(settings),
        ray_actor_options={
            "num_cpus": settings.scorer_cpus,
            "num_gpus": settings.scorer_gpus,
            "runtime_env": scorer_env,
        },
        **shared,
    )(ChallengerReplica).bind(
        replace(_scorer_settings(settings), publishes=False), str(folder), settings.rollout_follow_s
    )
    guard = ray_serve.deployment(
        name=GUARD, num_replicas=1, ray_actor_options={"num_cpus": 0.1, "runtime_env": env}, **shared
    )(GuardReplica).bind(settings, challenger)
    return [challenger, guard]


def _loops(settings: Settings, scorer: Any, store: Any, rollout: list[Any], env: dict[str, Any]) -> list[Any]:
    """Deployments that work by themselves, one replica each: what is fetched, what is written back."""
    classes: dict[str, tuple[type, tuple[Any, ...]]] = {}
    if settings.has_intake:
        from serve.intake.actor import IntakeReplica

        classes[INTAKE] = (IntakeReplica, (settings, scorer, store, rollout))
    if settings.sink != "none":
        from serve.outbox.actor import WriterReplica

        classes[WRITER] = (WriterReplica, (settings, store, scorer))
    if settings.monitor_every_s is not None:
        from serve.monitor.actor import MonitorReplica

        classes[MONITOR] = (MonitorReplica, (settings, scorer, store))
    if settings.has_retraining_loop:
        from serve.retraining.actor import RetrainingReplica

        classes[RETRAINING] = (RetrainingReplica, (settings, scorer, store))
    return [
        ray_serve.deployment(
            name=name,
            num_replicas=1,
            ray_actor_options={"num_cpus": 0.1, "runtime_env": env},
            logging_config=logging_config(settings),
            graceful_shutdown_timeout_s=settings.drain_s,
            graceful_shutdown_wait_loop_s=0.2,
            health_check_period_s=5,
        )(replica).bind(*arguments)
        for name, (replica, arguments) in classes.items()
    ]


def _scorer_settings(settings: Settings) -> ScorerSettings:
    return ScorerSettings(
        tasks_file=str(settings.tasks_file.expanduser().absolute()) if settings.tasks_file else None,
        device=settings.device,
        dtype=settings.dtype,
        num_threads=settings.threads_per_scorer,
        max_batch_tokens=settings.max_batch_tokens,
        max_queued_notes=settings.max_queued_notes,
    )
