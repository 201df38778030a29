"""Settings of retraining."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from serve.auth.addresses import is_loopback

_CLUSTER_NAME: Final = re.compile(r"[a-z0-9.-]+\.svc(\.cluster\.local)?")


class RetrainingSettings(BaseModel):
    """What may ask for a retrained model, and where the job runs."""

    model_config = ConfigDict(frozen=True)

    retraining_spec: Path | None = Field(
        default=None,
        description="Absolute path of the retraining job's YAML file, on the machine where the job runs. "
        "Unset: requests are recorded, and nothing is started.",
    )
    retraining_cooldown_days: float = Field(
        default=14.0,
        ge=0,
        le=365,
        description="Days after a request in which alerts and the schedule make no other one for the same model. "
        "A person may ask at any time.",
    )
    retraining_every_days: float | None = Field(
        default=None, ge=1, le=3650, description="Days between retrainings by schedule. Unset: no schedule."
    )
    retraining_command: tuple[str, ...] = Field(
        default=("lang1", "retrain", "run"),
        min_length=1,
        description="Command of the job, as a JSON list; `--spec`, `--as-of`, `--as` and `--reason` are put behind it.",
    )
    retraining_max_tries: int = Field(
        default=3,
        ge=1,
        le=20,
        description="How often a job is started that is killed or fails; it goes on where it was.",
    )
    retraining_retry_s: float = Field(
        default=60.0, gt=0, le=86_400, description="Seconds until the second try of a job; doubled for each later one."
    )
    retraining_max_hours: float = Field(
        default=48.0, gt=0, le=720, description="Hours after which a try of the job is ended."
    )
    retraining_look_s: float = Field(
        default=10.0, ge=0.1, le=600, description="Seconds between two looks at the requests and at the job."
    )
    retraining_memory_gib: float | None = Field(
        default=None,
        gt=0,
        description="Memory of each process of a job on this machine, in GiB. Unset: half of the machine's.",
    )
    ray_jobs_url: str | None = Field(
        default=None,
        description="Base URL of the Ray dashboard to which jobs are submitted, as https://ray.example.org: https, or "
        "http to a loopback address or a name that ends in `.svc` or `.svc.cluster.local`. "
        "Unset: the job is a process of this machine, at the lowest priority.",
    )
    ray_jobs_token_file: Path | None = Field(
        default=None, description="File with the token of that Ray (RAY_AUTH_MODE=token); needed with ray_jobs_url."
    )
    ray_jobs_ca_file: Path | None = Field(
        default=None, description="PEM file of the CA that signed its certificate. Unset: the system's CAs."
    )
    ray_jobs_cpus: float = Field(default=1.0, ge=0, le=1024, description="CPUs that Ray reserves for the job.")
    ray_jobs_gpus: float = Field(default=0.0, ge=0, le=64, description="GPUs that Ray reserves for the job.")

    @field_validator("ray_jobs_url")
    @classmethod
    def _safe_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError("ray_jobs_url is not a URL; give one as https://ray.example.org") from None
        plain = parts.scheme == "http" and (is_loopback(host) or bool(_CLUSTER_NAME.fullmatch(host)))
        if not host or not (parts.scheme == "https" or plain) or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(
                "ray_jobs_url must be https, or http to a loopback address or a name of the cluster (*.svc), "
                "without user, query or fragment"
            )
        return value.rstrip("/")

    @field_validator("retraining_command")
    @classmethod
    def _no_empty_words(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(value) or any("\0" in word for word in value):
            raise ValueError("retraining_command: a word of it is empty")
        return value

    @model_validator(mode="after")
    def _check_retraining(self) -> RetrainingSettings:
        if self.ray_jobs_url is not None and self.ray_jobs_token_file is None:
            raise ValueError("ray_jobs_url needs ray_jobs_token_file; a Ray without a token runs anyone's code")
        if self.retraining_spec is not None:
            if not self.retraining_spec.is_absolute():
                raise ValueError(f"retraining_spec: {self.retraining_spec} is not an absolute path; give one")
            if self.ray_jobs_url is None and not self.retraining_spec.is_file():
                raise ValueError(f"retraining_spec: {self.retraining_spec} is not a file")
        return self

    @property
    def has_retraining_loop(self) -> bool:
        """Whether anything is to be done by itself: a job to start, or a schedule to keep."""
        return self.retraining_spec is not None or self.retraining_every_days is not None
