"""The client of the configured FHIR server."""

from __future__ import annotations

from typing import Any

from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import ClientConfigError
from fhir_adapters.client.keys import KeyFile, public_jwks, read_signing_key
from fhir_adapters.client.smart import BackendServices
from fhir_adapters.client.tls import tls_context
from fhir_adapters.client.tokens import NoToken, TokenSource
from fhir_adapters.client.wire import Timeouts, Wire
from serve.errors import SettingsError
from serve.settings import Settings


def make_client(settings: Settings) -> FhirClient | None:
    """A client of `fhir_base_url`, with tokens where `ehr_client_id` is set; None without a FHIR server.

    Raises SettingsError for a key, certificate or URL that cannot be used. Nothing is asked of the server.
    """
    base_url = settings.fhir_base_url
    try:
        settings.check_base(base_url)
        if base_url is None:
            return None
        timeouts = Timeouts(
            connect_s=min(settings.ehr_connect_timeout_s, settings.ehr_timeout_s),
            read_s=settings.ehr_timeout_s,
            total_s=settings.ehr_timeout_s,
        )
        tls = tls_context(
            settings.ehr_ca_file, cert_file=settings.ehr_tls_cert_file, key_file=settings.ehr_tls_key_file
        )
        wire = Wire(timeouts=timeouts, tls=tls, max_connections=settings.ehr_max_connections)
        return FhirClient(
            base_url,
            token_source=_tokens(settings, base_url, wire),
            timeouts=timeouts,
            max_response_bytes=settings.ehr_max_response_bytes,
            wire=wire,
        )
    except (ClientConfigError, ValueError) as error:
        raise SettingsError(str(error)) from None


def _tokens(settings: Settings, base_url: str, wire: Wire) -> TokenSource:
    if settings.ehr_client_id is None or settings.ehr_key_file is None:
        return NoToken()
    return BackendServices(
        base_url,
        client_id=settings.ehr_client_id,
        key=KeyFile(settings.ehr_key_file, settings.ehr_key_id),
        scopes=settings.ehr_scopes,
        token_url=settings.ehr_token_url,
        wire=wire,
    )


def client_jwks(settings: Settings) -> dict[str, Any] | None:
    """The public JWK set that the EHR registers for this service; None where it has no key. Raises SettingsError."""
    if settings.ehr_key_file is None:
        return None
    try:
        return public_jwks(read_signing_key(settings.ehr_key_file, settings.ehr_key_id))
    except ClientConfigError as error:
        raise SettingsError(str(error)) from None
