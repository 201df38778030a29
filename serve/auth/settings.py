"""Settings of authentication: who may call, and what proves it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from serve.auth.addresses import trusted_url

Algorithm = Literal["RS256", "RS384", "ES384"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = ("RS256", "RS384", "ES384")
CDS_ALGORITHMS: Final[tuple[Algorithm, ...]] = ("ES384", "RS384")
SOURCE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class KeyPlace(BaseModel):
    """Where the public keys of an issuer are: a JWK Set at a URL or in a file, one of the two."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(min_length=1, max_length=1024)
    """Equal to the token's `iss`, character by character."""
    jwks_url: str | None = None
    """https, or http to a loopback address."""
    jwks_file: Path | None = None

    @field_validator("jwks_url")
    @classmethod
    def _safe_url(cls, value: str | None) -> str | None:
        return None if value is None else trusted_url(value)

    @model_validator(mode="after")
    def _one_place(self) -> KeyPlace:
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise ValueError("give either jwks_url or jwks_file")
        return self


class TokenIssuer(KeyPlace):
    """One authorisation server whose access tokens are taken."""

    audience: tuple[str, ...] = Field(min_length=1)
    """The token's `aud` holds one of these. A single string is a list of one."""
    algorithms: tuple[Algorithm, ...] = Field(default=ALGORITHMS, min_length=1)
    client_claim: str | None = None
    """Claim that names the client. Unset: `client_id`, else `azp`, else `sub`."""
    scope_claims: tuple[str, ...] = Field(default=("scope", "scp"), min_length=1)
    """Claims that hold scopes, as a string with spaces or a list. Azure's application roles are in `roles`."""
    token_endpoint: str | None = None
    """Shown to clients in `/.well-known/smart-configuration`; never called."""

    @field_validator("audience", mode="before")
    @classmethod
    def _list_of_one(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("audience")
    @classmethod
    def _no_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(value):
            raise ValueError("an audience must not be empty")
        return value

    @field_validator("token_endpoint")
    @classmethod
    def _safe_endpoint(cls, value: str | None) -> str | None:
        return None if value is None else trusted_url(value)


class CdsClient(KeyPlace):
    """One EHR whose CDS Hooks JWTs are taken."""


_OBJECTS = WithJsonSchema({"type": "array", "items": {"type": "object"}})


class AuthSettings(BaseModel):
    """Who may call. With none of `auth_issuers`, `cds_clients` and `oidc_issuer` there is no authentication."""

    model_config = ConfigDict(frozen=True)

    auth_issuers: Annotated[tuple[TokenIssuer, ...], _OBJECTS] = Field(
        default=(),
        description="Authorisation servers whose bearer tokens are taken, as a JSON list of "
        "`{issuer, audience, jwks_url or jwks_file}` and, where wanted, `algorithms` (of RS256, RS384, ES384), "
        "`client_claim`, `scope_claims` (for example with `roles`), `token_endpoint`. "
        "With none, and neither cds_clients nor oidc_issuer: no authentication, on a loopback address only.",
    )
    auth_sources: dict[str, str] = Field(
        default={},
        description="Source name of each client id, as a JSON object; clients of one EHR share a source. A key is a "
        "client id or `issuer|client`; for CDS Hooks the JWT's `iss`, or `iss|tenant`. "
        "Unset: the client id itself, or a hash of it where it does not fit a source name.",
    )
    auth_leeway_s: int = Field(default=30, ge=0, le=300, description="Seconds by which clocks may differ.")
    auth_max_token_hours: float = Field(
        default=24.0, gt=0, le=8760, description="Longest time until `exp` of a bearer token, in hours."
    )
    auth_ca_file: Path | None = Field(
        default=None,
        description="PEM file of the CA that signed the certificates of issuers. Unset: the system's CAs.",
    )
    jwks_stale_hours: float = Field(
        default=24.0,
        ge=0,
        le=720,
        description="Hours for which known keys still count while their issuer cannot be reached.",
    )

    cds_clients: Annotated[tuple[CdsClient, ...], _OBJECTS] = Field(
        default=(),
        description="EHRs that may call CDS Hooks, as a JSON list of `{issuer, jwks_url or jwks_file}`.",
    )
    cds_audience: str | None = Field(
        default=None,
        description="Public URL above `/cds-services`; a CDS JWT's `aud` is this and the service's path. "
        "Unset: public_base_url without its `/fhir`.",
    )

    metrics_access: Literal["open", "loopback", "scope"] = Field(
        default="loopback",
        description="Who reads `/metrics`: anyone who reaches the port (`open`); connections to a loopback address, "
        "others with the scope `lang1/metrics.read` (`loopback`); only with the scope, once there is authentication "
        "(`scope`).",
    )
    notification_secret_file: Path | None = Field(
        default=None,
        description="File with the secret (32 characters or more) that the FHIR server sends as "
        "`Authorization: Bearer` with notifications: a Subscription's header cannot hold a token that expires.",
    )

    oidc_issuer: str | None = Field(
        default=None, description="OpenID provider by which people log in to pages. Unset: no login."
    )
    oidc_client_id: str | None = Field(default=None, description="This service's client id at oidc_issuer.")
    oidc_client_secret_file: Path | None = Field(
        default=None, description="File with the client secret. Unset: a public client, by PKCE alone."
    )
    oidc_scopes: str = Field(
        default="openid profile", pattern=r"^openid( [!-~]+)*$", description="Scopes asked for at the login."
    )
    oidc_groups_claim: str = Field(
        default="groups", min_length=1, description="Claim of the ID token that lists a person's groups or roles."
    )
    oidc_allowed_groups: tuple[str, ...] = Field(
        default=(), description="Groups whose members may read the bed board, as a JSON list; needed with oidc_issuer."
    )
    session_key_file: Path | None = Field(
        default=None,
        description="File with the key of session cookies: 32 random bytes in base64 (`openssl rand -base64 32`), one "
        "a line; the first seals, all open. Needed with oidc_issuer.",
    )
    session_hours: float = Field(default=8.0, gt=0, le=24, description="Hours until a person must log in again.")

    @field_validator("cds_audience")
    @classmethod
    def _no_slash(cls, value: str | None) -> str | None:
        return None if value is None else trusted_url(value).rstrip("/")

    @field_validator("oidc_issuer")
    @classmethod
    def _safe_issuer(cls, value: str | None) -> str | None:
        return None if value is None else trusted_url(value)

    @field_validator("auth_sources")
    @classmethod
    def _source_names(cls, value: dict[str, str]) -> dict[str, str]:
        for client, source in value.items():
            if not SOURCE.fullmatch(source):
                raise ValueError(f"the source of client {client!r} must be 1 to 64 letters, digits, dots, _ or -")
        return value

    @model_validator(mode="after")
    def _check_authentication(self) -> AuthSettings:
        for setting, issuers in (("auth_issuers", self.auth_issuers), ("cds_clients", self.cds_clients)):
            names = [each.issuer for each in issuers]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"{setting}: issuer {twice} is there twice; join its audiences in one entry")
        _check_source_keys(self.auth_sources, self.auth_issuers, self.cds_clients)
        if self.oidc_issuer is not None:
            for name in ("oidc_client_id", "oidc_allowed_groups", "session_key_file"):
                if not getattr(self, name):
                    raise ValueError(f"oidc_issuer needs {name}; set it")
        return self

    @property
    def authenticates(self) -> bool:
        """Whether callers must prove who they are. What no configured means can prove is then refused."""
        return bool(self.auth_issuers or self.cds_clients or self.oidc_issuer)


def _check_source_keys(
    sources: Mapping[str, str], issuers: tuple[TokenIssuer, ...], clients: tuple[CdsClient, ...]
) -> None:
    # One authorisation server must not be able to name a client of another.
    if len(issuers) < 2:
        return
    known = tuple(each.issuer for each in (*issuers, *clients))
    of_cds = {each.issuer for each in clients}
    for key in sources:
        if key not in of_cds and not key.startswith(tuple(f"{name}|" for name in known)):
            raise ValueError(f"auth_sources: with several auth_issuers the key {key!r} must be issuer|client")


def read_secret(path: Path, setting: str, min_chars: int) -> str:
    """The stripped text of a secret's file. Raises ValueError naming the setting, never the content."""
    try:
        text = path.expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{setting}: {path} cannot be read as text ({type(error).__name__})") from None
    if len(text) < min_chars:
        raise ValueError(f"{setting}: {path} holds under {min_chars} characters; make a longer secret")
    return text
