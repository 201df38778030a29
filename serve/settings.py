"""Every setting of the service, in one frozen model; the only file that reads the environment.

Order of precedence: arguments, `LANG1_*` variables, the YAML file (`LANG1_SETTINGS_FILE` or `--settings`), defaults.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from lang1 import DEMO_BUNDLE
from serve.auth.addresses import is_loopback as is_loopback
from serve.auth.settings import AuthSettings
from serve.beds.settings import BedSettings
from serve.ehr.settings import EhrSettings
from serve.errors import SettingsError
from serve.intake.settings import IntakeSettings
from serve.monitor.settings import MonitorSettings
from serve.outbox.settings import OutboxSettings
from serve.outcomes.settings import OutcomeSettings
from serve.retraining.settings import RetrainingSettings
from serve.rollout.settings import RolloutSettings

ENV_PREFIX = "LANG1_"
SETTINGS_FILE_VARIABLE = "LANG1_SETTINGS_FILE"
DATABASE_FILE = "lang1.sqlite3"
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?")


class Settings(
    AuthSettings,
    EhrSettings,
    IntakeSettings,
    OutboxSettings,
    OutcomeSettings,
    BedSettings,
    MonitorSettings,
    RetrainingSettings,
    RolloutSettings,
    BaseSettings,
):
    """The service's settings. A field's unit is in its name; its description is its documentation.

    Each group stands beside its owner, as a base class of this one.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid", env_parse_none_str="null")

    bundle: Path = Field(default=DEMO_BUNDLE, description="Folder of the model bundle; its hashes are checked at load.")
    state_dir: Path = Field(
        default=Path("~/.local/state/lang1"),
        description="Folder for the embedded database and the metrics files; made with mode 0700.",
    )
    database_url: str | None = Field(
        default=None,
        repr=False,
        description="SQLAlchemy URL: `sqlite:////path` or `postgresql+psycopg://…`. "
        f"Unset: SQLite in `{DATABASE_FILE}` under the state folder. A password in it is a secret.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on; without authentication only a loopback address starts. The service speaks "
        "plain HTTP: for any other address TLS ends before it, in an Ingress, a service mesh or a sidecar.",
    )
    port: int = Field(default=8000, ge=1, le=65535, description="TCP port to listen on.")
    fhir_base_url: str | None = Field(
        default=None,
        description="Base URL of the FHIR server that owns the notes; attachments may be fetched from it alone. "
        "Unset: attachments must be inline.",
    )
    public_base_url: str | None = Field(
        default=None,
        description="URL under which clients reach `/fhir`, for paging links and fullUrls. Unset: `http://host:port/fhir`.",
    )
    tasks_file: Path | None = Field(
        default=None, description="YAML file with a hospital's own tasks, after the built-in ones."
    )
    source: str = Field(
        default="anonymous",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Name of the sending system while there is no authentication; part of the idempotency key.",
    )

    scorer_replicas: int = Field(default=1, ge=1, le=64, description="Scorer processes; each holds the model once.")
    ingress_replicas: int = Field(default=1, ge=1, le=64, description="HTTP processes behind the proxy.")
    store_replicas: int = Field(
        default=1, ge=1, le=16, description="Store writers. More than one needs PostgreSQL; SQLite has one writer."
    )
    scorer_cpus: float = Field(
        default=0.5, gt=0, le=64, description="CPU share that Ray reserves for a scorer replica."
    )
    scorer_gpus: float = Field(default=0.0, ge=0, le=8, description="GPU share that Ray reserves for a scorer replica.")
    num_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Threads of a scorer's forward pass. Unset: the node's cores divided by the scorer replicas.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where the model runs.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(default="auto", description="Precision of the forward pass.")

    max_batch_tokens: int = Field(
        default=4096, ge=64, le=1_048_576, description="Most tokens (notes and questions) in one forward pass."
    )
    max_queued_notes: int = Field(
        default=512, ge=1, le=100_000, description="Notes that may wait at a scorer replica; more get 503 throttled."
    )
    deadline_s: float = Field(
        default=30.0, gt=0, le=600, description="Seconds from arrival to answer; later is 504 and the work is dropped."
    )
    drain_s: float = Field(
        default=20.0, gt=0, le=600, description="Seconds that a stopping replica may finish its work."
    )
    max_ongoing_requests: int = Field(
        default=1000, ge=1, le=100_000, description="Requests that one ingress replica holds at once."
    )

    max_body_bytes: int = Field(
        default=16 * 2**20, ge=1024, description="Largest request body, in bytes; more gets 413."
    )
    max_notes_per_call: int = Field(default=64, ge=1, le=1024, description="Most notes in one `POST /v1/score`.")
    max_batch_entries: int = Field(default=100, ge=1, le=10_000, description="Most entries in one batch Bundle.")
    max_attachment_bytes: int = Field(default=10 * 2**20, ge=1024, description="Largest decoded attachment, in bytes.")
    max_text_chars: int = Field(default=1_000_000, ge=100, description="Longest decoded note text, in characters.")
    parser_timeout_s: float = Field(
        default=5.0, gt=0, le=120, description="Seconds that one attachment parser may run."
    )
    max_parsers: int = Field(
        default=4,
        ge=1,
        le=256,
        description="Attachments that one ingress replica fetches or parses at once; others wait, within the deadline.",
    )

    include_superseded: bool = Field(default=False, description="Score notes with `status: superseded`.")
    include_preliminary: bool = Field(
        default=False, description="Score notes with `docStatus: preliminary`, and mark them."
    )
    allow_restricted: bool = Field(default=False, description="Score notes with confidentiality label R or V.")
    probability_scale: Literal[1, 100] = Field(
        default=1,
        description="`probabilityDecimal` runs from 0 to 1, or from 0 to 100: R4's text and examples disagree.",
    )

    cds_allowed_origins: tuple[str, ...] = Field(
        default=(),
        description="Origins whose pages may call `/cds-services` from a browser (CORS), as a JSON list. "
        "None by default: EHR servers need none.",
    )
    metrics_dir: Path | None = Field(
        default=None,
        description="Folder of the metrics files of this node, wiped at the start. Unset: under the state folder.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Level of the service's logs."
    )

    @field_validator("cds_allowed_origins")
    @classmethod
    def _whole_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin; give scheme and host, as https://ehr.example.org")
        return value

    @field_validator("probability_scale", mode="before")
    @classmethod
    def _number_from_text(cls, value: object) -> object:
        # Environment variables are text, and a Literal of numbers takes none.
        return int(value) if isinstance(value, str) and value.isdigit() else value

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if not is_loopback(self.host) and not self.authenticates:
            raise ValueError(
                f"host {self.host} is not a loopback address and there is no authentication; "
                "set auth_issuers, or host to 127.0.0.1"
            )
        root = urlsplit(self.public_root)
        if self.oidc_issuer is not None and root.scheme != "https" and not is_loopback(root.hostname or ""):
            raise ValueError("oidc_issuer needs a public_base_url with https: a login must not cross a network open")
        self.check_base(self.fhir_base_url)
        if self.has_intake and self.fhir_base_url is None:
            raise ValueError("notifications and poll_every_s need fhir_base_url; set it to the FHIR server's base URL")
        if self.store_replicas > 1 and self.resolved_database_url.startswith("sqlite"):
            raise ValueError("store_replicas above 1 needs PostgreSQL (database_url); SQLite has one writer")
        return self

    @property
    def resolved_state_dir(self) -> Path:
        return self.state_dir.expanduser().absolute()

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.resolved_state_dir / DATABASE_FILE}"

    @property
    def resolved_metrics_dir(self) -> Path:
        return (self.metrics_dir or self.resolved_state_dir / "metrics").expanduser().absolute()

    @property
    def resolved_public_base_url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.public_base_url or f"http://{host}:{self.port}/fhir").rstrip("/")

    @property
    def public_root(self) -> str:
        """The public URL above all routes: that of FHIR without its `/fhir`."""
        return self.resolved_public_base_url.removesuffix("/fhir").rstrip("/")

    @property
    def threads_per_scorer(self) -> int:
        """Threads of one scorer: as set, or this node's usable cores shared between its scorers."""
        return self.num_threads or max(1, len(os.sched_getaffinity(0)) // self.scorer_replicas)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment; the file's values are merged by `load_settings`."""
        return init_settings, env_settings


def load_settings(file: Path | None = None, **given: Any) -> Settings:
    """The settings from arguments, environment, file and defaults. Raises SettingsError naming the setting at fault."""
    named = file or (Path(os.environ[SETTINGS_FILE_VARIABLE]) if os.environ.get(SETTINGS_FILE_VARIABLE) else None)
    known = Settings.model_fields.keys()
    from_file = _read_file(named, known) if named else {}
    if unknown := next((name for name in given if name not in known), None):
        raise SettingsError(f"unknown setting {unknown!r}; known: {', '.join(known)}")
    for name in os.environ:
        if name.startswith(ENV_PREFIX) and name != SETTINGS_FILE_VARIABLE and name not in _NOT_SETTINGS:
            field = name.removeprefix(ENV_PREFIX).lower()
            if field not in known:
                raise SettingsError(f"unknown environment variable {name}; settings are {ENV_PREFIX}<NAME>")
            from_file.pop(field, None)
    try:
        return Settings(**{**from_file, **given})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}") from None


# Variables with the prefix that belong to tests and scripts.
_NOT_SETTINGS = frozenset({"LANG1_REQUIRE_ALL"})


def _read_file(path: Path, known: Any) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"settings file {path}: cannot be read as YAML ({type(error).__name__})") from None
    if not isinstance(values, dict):
        raise SettingsError(f"settings file {path}: the top level must be a mapping of settings")
    if unknown := next((name for name in values if name not in known), None):
        raise SettingsError(f"settings file {path}: unknown key {unknown!r}; known: {', '.join(known)}")
    return values


def process_environment() -> Mapping[str, str]:
    """The variables of this process, for the few modules that hand them to a child process."""
    return dict(os.environ)


def set_process_environment(values: Mapping[str, str]) -> None:
    """Set variables that libraries read at import (Ray, prometheus-client); call it before they are imported."""
    os.environ.update(values)


def set_default_environment(values: Mapping[str, str]) -> None:
    """Like `set_process_environment`, where the operator's own value wins."""
    for name, value in values.items():
        os.environ.setdefault(name, value)
