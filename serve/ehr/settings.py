"""Settings of the service as a client of the hospital's FHIR server."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fhir_adapters.client.errors import ClientConfigError
from fhir_adapters.client.urls import Base, origin_of
from serve.auth.addresses import is_loopback


class EhrSettings(BaseModel):
    """How the FHIR server at `fhir_base_url` is reached."""

    model_config = ConfigDict(frozen=True)

    ehr_client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="Client id of this service at the EHR's authorisation server (SMART Backend Services); needs "
        "`ehr_key_file`. Unset: requests go without a token.",
    )
    ehr_key_file: Path | None = Field(
        default=None,
        description="Private key that signs the client's assertions: PEM without a passphrase, or a JWK; RSA from 2048 "
        "bits (RS384) or EC P-384 (ES384). Read again when it changes. A secret.",
    )
    ehr_key_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="`kid` of the key in assertions and in the published JWKS. Unset: the JWK's own, else the key's "
        "RFC 7638 thumbprint, which changes with the key.",
    )
    ehr_token_url: str | None = Field(
        default=None,
        description="Token endpoint, which is also the assertions' `aud`. Unset: as "
        "`{fhir_base_url}/.well-known/smart-configuration` names it.",
    )
    ehr_scopes: str = Field(
        default="system/DocumentReference.rs system/Binary.rs system/Encounter.rs system/RiskAssessment.crus",
        pattern=r"^[\x21-\x7e]+( [\x21-\x7e]+)*$",
        description="Scopes that tokens are asked for, with spaces between; ask for what the sink and the intake need.",
    )
    ehr_ca_file: Path | None = Field(
        default=None,
        description="PEM file of the authorities that signed the EHR's TLS certificates. Unset: the system's.",
    )
    ehr_tls_cert_file: Path | None = Field(
        default=None, description="PEM client certificate that is shown to the EHR, for mutual TLS."
    )
    ehr_tls_key_file: Path | None = Field(
        default=None,
        description="PEM private key of `ehr_tls_cert_file`, without a passphrase. Unset: in that file. A secret.",
    )
    ehr_allow_http: bool = Field(
        default=False,
        description="Send tokens to an http `fhir_base_url` off this machine: where a service mesh encrypts.",
    )
    ehr_connect_timeout_s: float = Field(
        default=5.0, gt=0, le=120, description="Seconds to connect to the EHR, or to wait for a free connection to it."
    )
    ehr_timeout_s: float = Field(
        default=30.0, gt=0, le=600, description="Seconds of a whole call to the EHR, with its retries and its body."
    )
    ehr_max_connections: int = Field(
        default=16, ge=2, le=1000, description="Connections to the EHR that one process holds at once."
    )
    ehr_max_response_bytes: int = Field(
        default=16 * 2**20, ge=65_536, description="Largest answer of the EHR, in bytes; bulk files have no such cap."
    )
    ehr_bulk_hosts: tuple[str, ...] = Field(
        default=(),
        description="Origins beside that of `fhir_base_url` from which bulk export files are taken, as a JSON list. "
        "They get the access token.",
    )

    @field_validator("ehr_token_url")
    @classmethod
    def _safe_token_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            Base.of(value)
        except ClientConfigError:
            raise ValueError("not a plain URL; give https://host/path, without user, query or fragment") from None
        if not _is_private(value):
            raise ValueError("must be https (http only to a loopback address)")
        return value

    @field_validator("ehr_bulk_hosts")
    @classmethod
    def _bulk_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            try:
                origin_of(origin)
            except ClientConfigError:
                raise ValueError("each must be an origin: scheme and host, as https://files.example.org") from None
        return value

    @model_validator(mode="after")
    def _check_ehr(self) -> EhrSettings:
        if (self.ehr_client_id is None) != (self.ehr_key_file is None):
            raise ValueError("ehr_client_id and ehr_key_file go together; set both or neither")
        if self.ehr_tls_key_file is not None and self.ehr_tls_cert_file is None:
            raise ValueError("ehr_tls_key_file needs ehr_tls_cert_file")
        return self

    def check_base(self, fhir_base_url: str | None) -> None:
        """Raises ValueError where the FHIR base cannot be used, or is no place to send a token to."""
        if fhir_base_url is None:
            if self.ehr_client_id is not None:
                raise ValueError("ehr_client_id needs fhir_base_url")
            return
        try:
            Base.of(fhir_base_url)
        except ClientConfigError as error:
            raise ValueError(f"fhir_base_url: {error}") from None
        if self.ehr_client_id is not None and not self.ehr_allow_http and not _is_private(fhir_base_url):
            raise ValueError(
                "fhir_base_url is http and ehr_client_id sends tokens there; give https, or set ehr_allow_http where a "
                "service mesh encrypts"
            )


def _is_private(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme.lower() == "https" or is_loopback(parts.hostname or "")
